// Studies: expansion, what is refused before anything runs, runs in folders and in one process, going on, boundaries.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gradientFlowSync, projectedDescentSync, randomState, study, writeNpy } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { engine } from '../../lib/engine/load.js';
import { evaluationNumbers } from '../../lib/evaluation/files.js';
import { studied } from '../../lib/study/commands.js';
import { main, run, start } from '../cli/run.js';
import { near, refuses } from '../helpers.js';

let folder;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
});
test.after.each(() => rm(folder, { recursive: true }));

const rates = { features: 1, prototypes: 1 };
const flow = {
  dynamics: 'gradientFlow',
  state: { random: { classes: 3, perClass: 4, dim: 5 } },
  ...{ options: { gamma: 0.1, rates }, times: [0, 2], measure: ['loss'], save: [] },
};
const descent = {
  dynamics: 'projectedDescent',
  state: { random: { classes: 3, perClass: 4, dim: 5 } },
  problem: { loss: { kind: 'cross-entropy' } },
  options: { learningRates: { features: 0.5, prototypes: 0.5 }, steps: 60 },
};
const numerical = { command: 'simulate', folders: false };
const values = ({ table }) => table.cells.map(({ values: own }) => own);

test('a study of flows has what their limits and measures are, in the order of its axes', async () => {
  const gammas = [0, 0.05, 0.2];
  const config = {
    ...{ ...numerical, base: { ...flow, when: [{ name: 'accuracy', value: 1, to: 100 }] } },
    axes: { 'options.gamma': gammas, 'state.random.seed': [4, 5] },
    measures: ['loss', 'logNorm', 'limit.rate', 'limit.exponent', 'when[0]'],
  };
  const { table } = await study(config);
  assert.equal(
    [table.rowLabels, table.seed, table.rows, table.runs.length],
    [['0', '0.05', '0.2'], 'state.random.seed', ['options.gamma'], 6],
  );
  for (const gamma of gammas) {
    const expected = [4, 5].map((seed) => {
      const trajectory = gradientFlowSync(randomState({ classes: 3, perClass: 4, dim: 5, seed }), { gamma, rates });
      const { loss, logNorm } = trajectory.measureSync([2], ['loss', 'logNorm']);
      const { rate, exponent } = trajectory.limitSync();
      return [loss[0], logNorm[0], rate, exponent, trajectory.whenSync({ name: 'accuracy', value: 1, to: 100 }) ?? Number.NaN];
    });
    for (const [m, measure] of config.measures.entries()) {
      const found = table.cells.find((cell) => cell.row === String(gamma) && cell.measure === measure);
      assert.equal(
        found.values,
        expected.map((row) => row[m]),
        `${measure} at ${gamma}`,
      );
    }
  }
});

test('iterated runs of several shapes are those of projectedDescent; one that diverges is a cell that says so', async () => {
  const config = {
    ...{ ...numerical, base: descent },
    axes: {
      'state.random.perClass': [2, 4],
      method: {
        slow: {},
        MSE: { 'problem.loss': { kind: 'mse' }, 'problem.weightDecay': 0.01 },
        wild: { 'problem.loss': { kind: 'mse' }, 'options.learningRates': { features: 1e6, prototypes: 1e6 } },
      },
    },
    ...{ rows: 'method', columns: 'state.random.perClass', measures: ['loss', 'minMargin', 'step'] },
  };
  const { table } = await study(config);
  for (const perClass of [2, 4]) {
    const state = randomState({ classes: 3, perClass, dim: 5 });
    for (const [method, problem] of Object.entries({
      slow: { loss: { kind: 'cross-entropy' } },
      MSE: { loss: { kind: 'mse' }, weightDecay: 0.01 },
    })) {
      const [end] = projectedDescentSync(
        { ...problem, state },
        { ...descent.options, measure: { names: ['loss', 'minMargin'], every: 60 } },
      );
      for (const measure of ['loss', 'minMargin']) {
        const found = table.cells.find(
          (cell) => cell.row === method && cell.column === String(perClass) && cell.measure === measure,
        );
        assert.equal(found.values, [end.measures[measure].at(-1)], `${method}, ${perClass}`);
      }
    }
  }
  assert.equal(
    table.runs.map(({ status }) => status),
    ['complete', 'complete', 'diverged', 'complete', 'complete', 'diverged'],
  );
  const wild = table.cells.filter(({ row, measure }) => row === 'wild' && measure !== 'step');
  assert.ok(wild.every(({ values: [...own], runs }) => own.length === 0 && runs.diverged === 1));
});

test('runs of other lengths are each as long as it says, with rules that stop them and without', async () => {
  const state = randomState({ classes: 3, perClass: 4, dim: 5 });
  for (const rules of [{}, { measure: { names: ['loss'], every: 1 }, stop: { stationary: 1e-12 } }]) {
    const base = { ...descent, options: { ...descent.options, ...rules } };
    const { table } = await study({ ...numerical, base, axes: { 'options.steps': [5, 60, 7] }, measures: ['loss', 'step'] });
    const expected = [5, 60, 7].map((steps) => {
      const options = { ...base.options, steps, measure: { names: ['loss'], every: steps } };
      return [...projectedDescentSync({ ...descent.problem, state }, options)].at(-1).measures.loss.at(-1);
    });
    assert.equal(
      table.cells.filter(({ measure }) => measure === 'loss').map(({ values: [value] }) => value),
      expected,
    );
  }
});

test('runs have folders of their own names: by the last names of axes where these differ, with a digest where they are long', async () => {
  const long = (end) => `${'decay '.repeat(30)}${end}`;
  const axes = { method: { [long('a')]: {}, [long('b')]: { 'options.gamma': 0.2 } } };
  const { table } = await study({ ...numerical, base: flow, axes });
  const [a, b] = table.runs.map(({ id }) => id);
  assert.ok(a !== b && a.length < 140 && /^method-decay-decay-.*-[0-9a-f]{10}$/.test(a), a);
  const twins = {
    ...numerical,
    base: descent,
    axes: { 'options.learningRates.features': [1, 2], 'problem.moves.features': [true] },
  };
  const { table: both } = await study({ ...twins, measures: ['loss'] });
  assert.equal(
    both.runs.map(({ id }) => id),
    [1, 2].map((rate) => `options.learningRates.features-${rate}_problem.moves.features-true`),
  );
});

test('the boundary is where the norm neither grows nor falls: the critical weight decay', async () => {
  const gammas = [0.02, 0.1, 0.3];
  const config = {
    ...{ ...numerical, base: flow },
    axes: { 'options.weightDecay': [0, 0.5, 1], 'options.gamma': gammas },
    ...{ rows: 'options.gamma', columns: 'options.weightDecay', measures: ['limit.exponent'] },
    boundary: { axis: 'options.weightDecay', measure: 'limit.exponent', tolerance: 1e-9 },
  };
  const { boundary, table } = await study(config);
  assert.is(table.runs.length, 9); // those of the bisection are not among them
  const falling = { ...config, axes: { ...config.axes, 'options.weightDecay': [0.5, 1, 0] } };
  assert.equal(
    (await study(falling)).boundary.map(({ at }) => at),
    boundary.map(({ at }) => at),
  );
  for (const [i, gamma] of gammas.entries()) {
    const { levels, at, from, to, rising } = boundary[i];
    assert.equal(levels, { 'options.gamma': String(gamma) });
    near(at, (1 + gamma) / (3 * Math.sqrt(4)), 1e-9, `λ* at γ = ${gamma}`); // UL Cor. 5: (1+γ)/(C√N)
    assert.ok(!rising && from < to && to - from <= 0.5e-9 * 1.001);
  }
  const { boundary: none } = await study({ ...config, boundary: { ...config.boundary, value: 5 } });
  assert.ok(none.length === 3 && none.every(({ at }) => Number.isNaN(at)));
});

test('what cannot be is told with its place, and all runs that cannot be built by name, before any runs', async () => {
  const base = { ...numerical, base: flow, axes: { 'options.gamma': [0, 1] } };
  const cases = [
    [{ ...base, command: 'simulat' }, /study\.command is "simulat"; did you mean 'simulate'\?/],
    [{ ...base, axis: {} }, /study\.axis is not known; did you mean axes\?/],
    [{ ...base, axes: {} }, /study\.axes is empty/],
    [{ ...base, axes: { 'options.gamma': [] } }, /study\.axes\["options\.gamma"\] is empty/],
    [{ ...base, axes: { 'options.gamma': [1, 1] } }, /has 1 twice/],
    [{ ...base, axes: { 'options.gamma': 3 } }, /expected an object/],
    [
      { ...base, axes: { 'options.gama': [1, 2] } },
      /2 of 2 runs cannot be built, and none was begun: config\.options\.gama is not known; did you mean gamma\? \(all\)/,
    ],
    [{ ...base, axes: { 'options.gamma.a': [1, 2] } }, /base\.options\.gamma is 0\.1, which has no a/],
    [
      { ...base, axes: { 'options.gamma': [0, -1, 'x'] } },
      /2 of 3 runs .*gamma is -1; expected .* \(gamma--1\); .*gamma is "x"; expected .* \(gamma-x\)/,
    ],
    [{ ...base, columns: 'option.gamma' }, /study\.columns is "option\.gamma"; did you mean 'options\.gamma'\?/],
    [{ ...base, rows: 'options.gamma', columns: 'options.gamma' }, /laid out twice/],
    [{ ...base, rows: [] }, /The axis options\.gamma is neither in study\.rows/],
    [{ ...base, measures: ['los'] }, /config\.measure\[1\] is "los"; did you mean 'loss'\?/],
    [{ ...base, measures: ['limit.rat'] }, /No run has the measure limit\.rat; did you mean limit\.rate\?/],
    [{ ...base, best: { loss: 'least' } }, /study\.best\.loss is "least"/],
    [{ ...base, boundary: { axis: 'options.gamma' } }, /study\.boundary\.measure is missing/],
    [
      { ...base, axes: { m: { a: {}, b: {} } }, boundary: { axis: 'm', measure: 'loss' } },
      /expected an axis of at least two numbers/,
    ],
    [{ ...base, command: 'train', base: {} }, /folders is false, but runs of train need theirs/],
  ];
  for (const [config, message] of cases) await refuses('LP_CONFIG', message, () => study(config));
  await refuses('LP_OPTION', /options\.out is missing/, () => study({ ...base, folders: true }));
  await refuses('LP_OPTION', /options\.jobs is 0/, () => study(base, { jobs: 0 }));
  const network = { data: { kind: 'idx', path: 'x' }, model: { kind: 'mlp' }, loss: { kind: 'mse' }, epochs: 2 };
  const trained = { command: 'train', base: network, axes: { 'loss.kind': ['mse', 'msee'], seed: [0, -1] } };
  await refuses('LP_CONFIG', /3 of 4 runs cannot be built/, () => study(trained, { out: join(folder, 'none') }));
  assert.equal(await readdir(folder), []);
  const evaluated = { command: 'evaluate', base: { input: 'r', labels: 'y.npy' }, axes: { temperatur: [1, 2] } };
  await refuses('LP_CONFIG', /config\.temperatur is not known; did you mean temperature\?/, () =>
    study(evaluated, { out: join(folder, 'none') }),
  );
  await mkdir(join(folder, 'mine'));
  await writeFile(join(folder, 'mine/thesis.txt'), '');
  await refuses('LP_FILE', /mine holds files of no study/, () => study(base, { out: join(folder, 'mine') }));
});

test('measures without folders are kept, and only what is missing or stale is computed', async () => {
  const out = join(folder, 'st');
  const config = { ...numerical, base: flow, axes: { 'options.gamma': [0, 0.1] } };
  const first = await study(config, { out });
  const lines = async () => (await readFile(join(out, 'measures.jsonl'), 'utf8')).split('\n').filter(Boolean);
  assert.is((await lines()).length, 2);
  const more = { ...config, axes: { 'options.gamma': [0, 0.1, 0.2] } };
  const second = await study(more, { out });
  assert.is((await lines()).length, 3);
  assert.equal(values(second).slice(0, 2), values(first));
  // A process that was killed leaves a part of a line.
  await writeFile(join(out, 'measures.jsonl'), `${(await lines()).slice(0, 1).join('\n')}\n{"id":"gam`);
  assert.equal(values(await study(more, { out })), values(second));
  const whole = (await lines()).flatMap((line) => (line.endsWith('}') ? [JSON.parse(line).id] : []));
  assert.equal(whole.sort(), ['gamma-0', 'gamma-0.1', 'gamma-0.2']);
  assert.equal(values(await study(more, { out })), values(second));
  const changed = { ...more, base: { ...flow, times: [0, 3] } };
  await refuses('LP_CONFIG', /changed under 3 of its finished runs: gamma-0, gamma-0\.1, gamma-0\.2; .*--rerun stale/, () =>
    study(changed, { out }),
  );
  assert.not.equal(values(await study(changed, { out, rerun: 'stale' })), values(second));
});

test('each run has a folder; what is there is not run again, what failed is a cell, what is stale is told', async () => {
  await writeFile(
    join(folder, 's.json'),
    JSON.stringify({ command: 'simulate', base: flow, axes: { 'options.gamma': [0, 0.1], 'state.random.seed': [0, 1] } }),
  );
  const done = await run(['study', 's.json', '--out', 'st', '--jobs', '2', '--json'], { cwd: folder });
  assert.is(done.code, 0, done.stderr);
  const { cells, runs } = JSON.parse(done.stdout);
  assert.equal(
    runs.map(({ id, status }) => `${id} ${status}`),
    ['gamma-0_seed-0', 'gamma-0_seed-1', 'gamma-0.1_seed-0', 'gamma-0.1_seed-1'].map((id) => `${id} complete`),
  );
  const { table } = await study({ ...numerical, base: flow, axes: { 'options.gamma': [0, 0.1], 'state.random.seed': [0, 1] } });
  assert.equal(
    cells.map(({ values: own }) => own),
    table.cells.map(({ values: own }) => own),
  );
  const report = await readFile(join(folder, 'st/report.html'), 'utf8');
  assert.match(report, /<a href="runs\/gamma-0_seed-1\/report\.html">gamma-0_seed-1<\/a>/);
  assert.ok((await readdir(join(folder, 'st'))).includes('table.tex'));
  const [, threads] = /threads<\/[^>]*>\s*<[^>]*>(\d+)/.exec(
    await readFile(join(folder, 'st/runs/gamma-0_seed-0/report.html'), 'utf8'),
  );
  assert.is(Number(threads), Math.max(1, Math.floor(engine().info().threads / 2)));
  const stamp = () => readFile(join(folder, 'st/runs/gamma-0_seed-0/run.json'), 'utf8');
  const before = await stamp();
  assert.is((await run(['study', 's.json', '--out', 'st'], { cwd: folder })).code, 0);
  assert.is(await stamp(), before);

  // One value more, of which the file is not there: that one fails, and is not tried again unless that is asked for.
  const missing = { features: 'h.npy', prototypes: 'h.npy', labels: 'y.npy' };
  const states = { command: 'simulate', base: flow, axes: { start: { random: {}, file: { 'options.kernel': 'k' } } } };
  await writeFile(
    join(folder, 'bad.json'),
    JSON.stringify({ ...states, axes: { start: { random: {}, file: { state: missing } } } }),
  );
  const bad = await run(['study', 'bad.json', '--out', 'bad'], { cwd: folder });
  assert.is(bad.code, 1);
  assert.match(bad.stderr, /1 of 2 runs cannot be built, and none was begun: config\.state\.features: .*h\.npy.* \(start-file\)/);

  const other = {
    command: 'simulate',
    base: { ...flow, times: [0, 9] },
    axes: { 'options.gamma': [0, 0.1], 'state.random.seed': [0, 1] },
  };
  await writeFile(join(folder, 's.json'), JSON.stringify(other));
  const stale = await run(['study', 's.json', '--out', 'st'], { cwd: folder });
  assert.is(stale.code, 1);
  assert.match(stale.stderr, /changed under 4 of its finished runs: gamma-0_seed-0, .*--rerun stale/);
  assert.is(await stamp(), before);
  assert.is((await run(['study', 's.json', '--out', 'st', '--rerun', 'stale', '--jobs', '2'], { cwd: folder })).code, 0);
  assert.not.equal(await stamp(), before);
});

test('a study that is stopped stops its runs, keeps its table, and goes on', async () => {
  const endless = {
    ...descent,
    options: { ...descent.options, steps: 1e9, snapshots: 20_000, measure: { names: ['loss'], every: 1e6 } },
  };
  const config = { command: 'simulate', base: endless, axes: { 'options.steps': [10, 1e9], 'options.momentum': [0, 0.5] } };
  await writeFile(
    join(folder, 's.json'),
    JSON.stringify({ ...config, rows: 'options.momentum', columns: 'options.steps', measures: ['loss'] }),
  );
  const { child, ended, output } = start(['study', 's.json', '--out', 'st', '--jobs', '2'], { cwd: folder });
  const checkpoint = join(folder, 'st/runs/steps-1000000000_momentum-0/checkpoint.safetensors');
  for (let tries = 0; !(await readFile(checkpoint).catch(() => undefined)); tries++) {
    assert.ok(tries < 1200, output.stderr);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  child.kill('SIGTERM');
  const { code, stderr } = await ended;
  assert.is(code, 143, stderr);
  const status = async (id) => JSON.parse(await readFile(join(folder, 'st/runs', id, 'run.json'), 'utf8')).status;
  assert.is(await status('steps-1000000000_momentum-0'), 'stopped');
  const csv = await readFile(join(folder, 'st/table.csv'), 'utf8');
  assert.match(csv, /steps-10_momentum-0,10,0,complete,loss,0\.\d+/);
  assert.match(csv, /steps-1000000000_momentum-0,1000000000,0,missing,loss,\r\n/);
});

test('the example runs', async () => {
  const { stdout } = await run(['study', '--example']);
  const { base, axes, ...rest } = JSON.parse(stdout);
  const { table } = await study({ ...rest, base, axes, folders: false });
  assert.is(table.runs.length, 24);
  assert.ok(table.cells.every(({ runs }) => runs.failed === 0));
  assert.ok(main);
});

test('what failed stays so until it is asked for again', async () => {
  const labels = Int32Array.from({ length: 12 }, (_, i) => i % 3);
  const logits = { shape: [12, 3], data: Float64Array.from({ length: 36 }, (_, k) => Math.sin(k)) };
  await writeNpy(join(folder, 'y.npy'), { shape: [12], data: labels });
  await writeNpy(join(folder, 'a.npy'), logits);
  await writeNpy(join(folder, 'b.npy'), { ...logits, data: logits.data.with(3, Number.NaN) });
  const config = {
    ...{ command: 'evaluate', base: { labels: 'y.npy', resamples: 0 } },
    axes: { logits: { a: { input: 'a.npy' }, b: { input: 'b.npy' } } },
  };
  const options = { out: join(folder, 'st'), relativeTo: folder };
  const statuses = async (more) => (await study(config, { ...options, ...more })).table.runs.map(({ status }) => status);
  assert.equal(await statuses(), ['complete', 'failed']);
  await writeNpy(join(folder, 'b.npy'), logits);
  assert.equal(await statuses(), ['complete', 'failed']);
  const stamp = () => readFile(join(folder, 'st/runs/logits-a/run.json'), 'utf8');
  const before = await stamp();
  assert.equal(await statuses({ rerun: 'failed' }), ['complete', 'complete']);
  assert.is(await stamp(), before);
});

test('a study of evaluations takes every number that the command does', async () => {
  const check = studied.evaluate.checker();
  for (const name of Object.keys(evaluationNumbers)) await check({ input: 'run', [name]: 1 });
  await refuses('LP_CONFIG', /neighbours.*neighbors/, () => check({ input: 'run', neighbours: 5 }));
});

test.run();
