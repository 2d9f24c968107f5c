// `layerpeel simulate` of projected descent: what it writes, how it goes on, how it ends, what it refuses.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadCheckpoint, projectedDescentSync, randomState, readNpy } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run, start } from './run.js';

const random = { classes: 4, perClass: 6, dim: 5, seed: 7 };
const config = {
  dynamics: 'projectedDescent',
  state: { random },
  problem: { loss: { kind: 'cross-entropy' }, constraints: { features: { kind: 'ball', radius: 2 } } },
  options: { learningRates: { features: 1, prototypes: 0.2 }, momentum: 0.9, steps: 900 },
};
const with_ = (more) => ({ ...config, ...more });
const steps = (count) => with_({ options: { ...config.options, steps: count } });
const last = (iterator) => {
  let snapshot;
  for (snapshot of iterator);
  return snapshot;
};

let folder;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
});
test.after.each(() => rm(folder, { recursive: true }));
const write = (value, name = 'c.json') => writeFile(join(folder, name), JSON.stringify(value));
const simulate = (...args) => run(['simulate', 'c.json', ...args], { cwd: folder });

test('writes what the function gives, and goes on bit for bit', async () => {
  const { end, first } = { end: 1500, first: 900 };
  await write(config);
  const one = await simulate('--out', 'one', '--json');
  assert.is(one.code, 0);
  assert.is(JSON.parse(one.stdout).reason, 'steps');
  const problem = { ...config.problem, state: randomState(random) };
  assert.equal(
    await readNpy(join(folder, 'one/arrays/state-features.npy')),
    last(projectedDescentSync(problem, config.options)).state.features,
  );
  const lines = (await readFile(join(folder, 'one/metrics.csv'), 'utf8')).trim().split('\r\n');
  assert.is(lines[0], 'step,loss,accuracy,minMargin,gradientNorm');
  assert.is(Number(lines.at(-1).split(',')[0]), first);
  await write(steps(end));
  const two = await simulate('--resume', 'one', '--out', 'two');
  assert.is(two.code, 0);
  assert.match(two.stdout, /Step 1500: All steps are done/);
  const whole = last(projectedDescentSync(problem, { ...config.options, steps: end }));
  assert.equal((await loadCheckpoint(join(folder, 'two/checkpoint.safetensors'))).state, whole.state);
  await write(with_({ options: { ...config.options, momentum: 0.5 } }));
  const other = await simulate('--resume', 'one', '--out', 'three');
  assert.is(other.code, 1);
  assert.match(other.stderr, /config.options.resume is of a run with momentum 0.9/);
});

test('stopped or killed, it leaves a run that goes on', async () => {
  await write(steps(2e9));
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGKILL', undefined],
  ]) {
    const { child, ended } = start(['simulate', 'c.json', '--out', signal], { cwd: folder });
    const path = join(folder, signal, 'checkpoint.safetensors');
    let checkpoint;
    for (let tries = 0; !checkpoint?.step && tries < 400; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      checkpoint = await loadCheckpoint(path).catch(() => undefined);
    }
    child.kill(signal);
    assert.ok(checkpoint?.step, 'a checkpoint within twenty seconds');
    const result = await ended;
    if (code) assert.is(result.code, code);
    const { step } = await loadCheckpoint(path);
    assert.ok(step >= checkpoint.step);
    await write(steps(step + 100), 'more.json');
    const more = await run(['simulate', 'more.json', '--resume', signal, '--out', `${signal}-more`, '--json'], { cwd: folder });
    assert.is(more.code, 0, more.stderr);
    assert.is(JSON.parse(more.stdout).step, step + 100);
  }
});

test('says why a run has ended, and where a configuration is wrong', async () => {
  const wild = { loss: { kind: 'mse' }, moves: { prototypes: false } };
  await write(with_({ problem: wild, options: { learningRates: { features: 1000 }, steps: 5000 } }));
  const diverged = await simulate('--out', 'wild');
  assert.is(diverged.code, 0);
  assert.match(diverged.stdout, /not finite; this is the last state whose loss is.*below .* stable/s);
  for (const [value, pattern] of [
    [with_({ problem: { ...config.problem, loss: { kind: 'hing' } } }), /config.problem.loss.kind is "hing"; did you mean 'hinge'/],
    [with_({ options: { ...config.options, stepz: 3 } }), /config.options.stepz is not known; did you mean steps/],
    [with_({ problems: {} }), /config.problems is not known; did you mean problem/],
    [with_({ problem: undefined }), /config.problem is missing/],
    [with_({ state: { random: { ...random, classes: 1 } } }), /config.state.random.classes is 1/],
  ]) {
    await write(value);
    const { code, stderr } = await simulate('--out', 'bad');
    assert.is(code, 1);
    assert.match(stderr, pattern);
  }
  await write({
    dynamics: 'gradientDescent',
    state: { random },
    options: { gamma: 0.1, learningRates: { features: 1, prototypes: 1 } },
    steps: [1],
  });
  assert.is((await simulate('--resume', 'wild')).code, 2);
});

test.run();
