import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collapseMeasures, gradientFlow, logMeasures, randomState, readNpy, sphericalDescent, writeNpy } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run, start } from './run.js';

const config = {
  dynamics: 'sphericalDescent',
  state: { random: { classes: 4, perClass: 3, dim: 5, seed: 7 } },
  options: { gamma: 0.1, learningRate: 0.5 },
  steps: [0, 1, 10, 100],
  when: [{ name: 'accuracy', value: 1, to: 100_000 }],
  save: ['state', 'direction', 'limit'],
};
const names = ['loss', 'accuracy', 'logNorm', 'distanceToLimit'];

let folder;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
});
test.after.each(() => rm(folder, { recursive: true }));

const write = (value) => writeFile(join(folder, 'c.json'), JSON.stringify(value));
const json = async (...path) => JSON.parse(await readFile(join(folder, ...path), 'utf8'));
const columns = async () => {
  const [head, ...rows] = (await readFile(join(folder, 'run', 'metrics.csv'), 'utf8')).trim().split('\r\n');
  return Object.fromEntries(head.split(',').map((name, i) => [name, rows.map((row) => Number(row.split(',')[i]))]));
};

test('writes what the public functions give', async () => {
  await write(config);
  const { code, stdout } = await run(['simulate', 'c.json', '--out', 'run', '--json'], { cwd: folder });
  assert.is(code, 0);
  const state = randomState(config.state.random);
  const trajectory = await sphericalDescent(state, config.options);
  const expected = await trajectory.measure(config.steps, names);
  const measured = await columns();
  assert.equal(measured.step, config.steps);
  for (const name of names) assert.equal(measured[name], Array.from(expected[name]), name);
  const result = JSON.parse(stdout);
  assert.is(result.last.loss, expected.loss[3]);
  assert.is(result.events[0].at, await trajectory.when(config.when[0]));
  const { regime, exponent, rate } = await trajectory.limit();
  assert.equal([result.limit.regime, result.limit.exponent, result.limit.rate], [regime, exponent, rate]);
  const saved = await readNpy(join(folder, 'run/arrays/state-features.npy'));
  assert.equal(saved.data, (await trajectory.at(100)).features.data);
  const { status, files } = await json('run', 'run.json');
  assert.is(status, 'complete');
  for (const file of [...names.map((name) => `figures/${name}.svg`), 'report.html', 'arrays/limit-features.npy']) {
    assert.ok(files.includes(file), file);
  }
  assert.equal(await json('run', 'config.json'), config);
});

test('a linear dynamics measures collapse too, and the logarithms of what goes to zero', async () => {
  const options = { gamma: 0.1, rates: { features: 1, prototypes: 0.5 } };
  const measure = [...Object.keys(collapseMeasures), ...Object.keys(logMeasures)];
  await write({ dynamics: 'gradientFlow', state: config.state, options, times: [0, 10, 2000], measure });
  const { code } = await run(['simulate', 'c.json', '--out', 'run'], { cwd: folder });
  assert.is(code, 0);
  const expected = await (await gradientFlow(randomState(config.state.random), options)).measure([0, 10, 2000], measure);
  const measured = await columns();
  for (const name of measure) assert.equal(measured[name], Array.from(expected[name]), name);
  for (const name of measure) assert.match(await readFile(join(folder, `run/figures/${name}.svg`), 'utf8'), /<svg/);

  await write({ ...config, measure: ['nc1'] });
  const refused = await run(['simulate', 'c.json', '--out', 'other'], { cwd: folder });
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /config\.measure\[0\] is "nc1"; expected one of 'loss'/);
});

test('what one run saved, another starts from', async () => {
  await write(config);
  await run(['simulate', 'c.json', '--out', 'run'], { cwd: folder });
  const arrays = (name) => `run/arrays/state-${name}.npy`;
  const state = Object.fromEntries(['features', 'prototypes', 'labels'].map((name) => [name, arrays(name)]));
  await write({ ...config, state, steps: [0], save: [] });
  const { stdout } = await run(['simulate', 'c.json', '--out', 'again', '--json'], { cwd: folder });
  assert.ok(Math.abs(JSON.parse(stdout).last.loss - (await columns()).loss[3]) < 1e-12);
});

test('a state that overflows is saved as its direction', async () => {
  await write({
    ...config,
    dynamics: 'gradientDescent',
    dtype: 'float32',
    options: { gamma: 0.1, learningRates: { features: 1, prototypes: 1 } },
    steps: [0, 10_000],
    save: ['state'],
  });
  const { code, stdout, stderr } = await run(['simulate', 'c.json', '--out', 'run', '--json'], { cwd: folder });
  assert.is(code, 0);
  assert.match(stderr, /does not fit its dtype; its direction is written instead/);
  assert.ok(JSON.parse(stdout).last.logNorm > 100);
  const files = await readdir(join(folder, 'run', 'arrays'));
  assert.equal(files.sort(), ['direction-features.npy', 'direction-prototypes.npy']);
  const [features, prototypes] = await Promise.all(files.map((file) => readNpy(join(folder, 'run', 'arrays', file))));
  const squares = [...features.data, ...prototypes.data].reduce((sum, value) => sum + value * value, 0);
  assert.ok(Math.abs(squares - 1) < 1e-6);
});

test('every dynamics runs from a configuration', async () => {
  const kernel = { shape: [12, 12], data: Float64Array.from({ length: 144 }, (_, i) => (i % 13 === 0 ? 2 : 1)) };
  await writeNpy(join(folder, 'k.npy'), kernel);
  const rates = { features: { kind: 'cosine', value: 1, period: 50 }, prototypes: 0.5 };
  for (const [dynamics, options] of [
    ['gradientFlow', { gamma: 0.1, rates, weightDecay: { features: 0.1, prototypes: 0 } }],
    ['gradientDescent', { gamma: 0.1, learningRates: { features: 1, prototypes: 0.5 }, momentum: 0.9, nesterov: true }],
    ['anchoredFlow', { gamma: 0.1, rate: 1, weightDecay: 0.1 }],
    ['sphericalDescent', { gamma: 0.1, learningRate: 1, rescaled: true }],
    ['kernelFlow', { loss: 'unhinged', gamma: 0.1, rate: 1, kernel: 'k.npy' }],
    ['kernelFlow', { loss: 'mse', rate: 0.1, kernel: 'k.npy' }],
  ]) {
    const clock = dynamics.endsWith('Flow') ? 'times' : 'steps';
    const { steps, when, ...rest } = config;
    await write({ ...rest, dynamics, options, [clock]: [1, 2, 10] });
    const { code, stdout, stderr } = await run(['simulate', 'c.json', '--out', 'run', '--force', '--json'], { cwd: folder });
    assert.is(code, 0, `${dynamics}: ${stderr}`);
    assert.ok(Number.isFinite(JSON.parse(stdout).last.loss), dynamics);
  }
});

test('the example is printed, as text and as JSON', async () => {
  for (const flag of [[], ['--json']]) {
    const { code, stdout } = await run(['simulate', '--example', ...flag]);
    assert.is(code, 0);
    assert.is(JSON.parse(stdout).dynamics, 'gradientDescent');
  }
});

test('a wrong configuration exits 1 with the path to what is wrong, and leaves no folder', async () => {
  for (const [change, pattern] of [
    [{ options: { gamma: -1, learningRate: 1 } }, /config\.options\.gamma is -1/],
    [{ options: { gama: 1, learningRate: 1 } }, /config\.options\.gama is not known; did you mean gamma\?/],
    [
      { options: { gamma: 0, learningRate: { kind: 'cosin', value: 1, period: 5 } } },
      /config\.options\.learningRate\.kind is "cosin"; did you mean 'cosine'\?/,
    ],
    [{ measure: ['los'] }, /config\.measure\[0\] is "los"; did you mean 'loss'\?/],
  ]) {
    await write({ ...config, ...change });
    const { code, stdout, stderr } = await run(['simulate', 'c.json', '--out', 'run', '--json'], { cwd: folder });
    assert.is(code, 1);
    assert.match(stderr, pattern);
    assert.is(JSON.parse(stdout).error.code, 'LP_CONFIG');
    assert.equal(await readdir(folder), ['c.json']);
  }
  const missing = await run(['simulate'], { cwd: folder });
  assert.is(missing.code, 2);
  assert.match(missing.stderr, /CONFIG\.json is missing/);
});

test('a run that is stopped keeps what it had measured', async () => {
  const endless = 1e13;
  await write({ ...config, steps: [0, 1, 10, endless] });
  for (const [signal, expected] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ]) {
    const { child, output, ended } = start(['simulate', 'c.json', '--out', 'run', '--json'], { cwd: folder });
    while (!output.stderr.includes(`up to step ${endless}`)) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill(signal);
    const { code, stdout, stderr } = await ended;
    assert.is(code, expected);
    assert.match(stderr, /Stopping …\nWhat was computed is kept in .*run\nStopped\.\n$/);
    assert.is(JSON.parse(stdout).error.code, 'LP_ABORTED');
    const measured = await columns();
    assert.equal(measured.step, [0, 1, 10]);
    assert.ok(measured.loss.every(Number.isFinite));
    const { status, error, files } = await json('run', 'run.json');
    assert.equal([status, error], ['stopped', `The run was stopped by ${signal}.`]);
    assert.ok(files.includes('figures/loss.svg'));
  }
});

test.run();
