// `layerpeel compare`: run folders side by side, seeds together, what is missing named.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gradientFlowSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run } from '../cli/run.js';

const flow = {
  dynamics: 'gradientFlow',
  state: { random: { classes: 3, perClass: 4, dim: 5 } },
  options: { gamma: 0.1, rates: { features: 1, prototypes: 1 } },
  ...{ times: [0, 1, 2], measure: ['loss', 'accuracy'], save: [] },
};
const descent = {
  dynamics: 'projectedDescent',
  state: { random: { classes: 3, perClass: 4, dim: 5 } },
  problem: { loss: { kind: 'cross-entropy' } },
  options: { learningRates: { features: 1, prototypes: 1 }, steps: 20, measure: { names: ['minMargin'] } },
};

let folder;
const layerpeel = (...args) => run(args, { cwd: folder });
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  await writeFile(join(folder, 'flow.json'), JSON.stringify(flow));
  await writeFile(join(folder, 'descent.json'), JSON.stringify(descent));
  const runs = [
    ['flow.json', 'a0', 'options.gamma=0', 'state.random.seed=0'],
    ['flow.json', 'a1', 'options.gamma=0', 'state.random.seed=1'],
    ['flow.json', 'b1', 'options.gamma=0.2', 'state.random.seed=1'],
    ['flow.json', 'few', 'measure=["loss"]'],
    ['descent.json', 'd'],
  ];
  for (const [config, out, ...settings] of runs) {
    const { code, stderr } = await layerpeel('simulate', config, '--out', out, ...settings.flatMap((each) => ['--set', each]));
    assert.is(code, 0, stderr);
  }
});
test.after(() => rm(folder, { recursive: true }));

test('runs that differ in their seeds alone are one row, named by what else differs, with means and paired differences', async () => {
  const { code, stdout, stderr } = await layerpeel(
    'compare',
    'a0',
    'a1',
    'b1',
    'a1',
    '--measures',
    'loss,limit.rate',
    '--out',
    'c',
    '--json',
  );
  assert.is(code, 0, stderr);
  const { rowLabels, cells, runs } = JSON.parse(stdout);
  assert.equal(rowLabels, ['gamma = 0', 'gamma = 0.2']);
  assert.equal(
    runs.map(({ id }) => id),
    ['../a0', '../a1', '../b1'],
  );
  const losses = [
    [0, 0],
    [0, 1],
    [0.2, 1],
  ].map(([gamma, seed]) => {
    const trajectory = gradientFlowSync(randomState({ classes: 3, perClass: 4, dim: 5, seed }), { ...flow.options, gamma });
    return trajectory.measureSync([2], ['loss']).loss[0];
  });
  const [first, second] = cells.filter(({ measure }) => measure === 'loss');
  assert.equal([first.values, second.values], [losses.slice(0, 2), losses.slice(2)]);
  assert.equal(second.difference.mean, losses[2] - losses[1]);
  const report = await readFile(join(folder, 'c/report.html'), 'utf8');
  assert.match(report, /<a href="\.\.\/a0\/report\.html">\.\.\/a0<\/a>/);
  assert.match(report, /aria-label="loss"/); // the curves
  assert.match(
    await readFile(join(folder, 'c/table.csv'), 'utf8'),
    /^run,run,seed,status,measure,value\r\n\.\.\/a0,gamma = 0,0,complete,loss,/,
  );
});

test('measures that only some runs have are named; runs without one in common are refused', async () => {
  const partly = await layerpeel('compare', 'a0', 'few', '--out', 'p');
  assert.is(partly.code, 0, partly.stderr);
  assert.match(partly.stderr, /Not compared, as only some of the runs have measured it: accuracy\./);
  const none = await layerpeel('compare', 'a0', 'd', '--out', 'n');
  assert.is(none.code, 1);
  assert.match(none.stderr, /The runs have no measure in common: a0 has loss, accuracy, .*; d has step, minMargin\./);
  const slip = await layerpeel('compare', 'a0', 'few', '--measures', 'los', '--out', 'n');
  assert.match(slip.stderr, /No run has the measure los; did you mean loss\?/);
  const asked = await layerpeel('compare', 'a0', 'd', '--measures', 'minMargin', '--out', 'm');
  assert.is(asked.code, 0, asked.stderr);
});

test('what diverged is a cell that says so, whatever it had come to', async () => {
  const wild = ['problem.loss={"kind":"mse"}', 'options.learningRates={"features":1e6,"prototypes":1e6}'];
  await layerpeel('simulate', 'descent.json', '--out', 'wild', ...wild.flatMap((each) => ['--set', each]));
  const { stdout, stderr } = await layerpeel('compare', 'd', 'wild', '--measures', 'minMargin', '--out', 'w', '--json');
  const { cells } = JSON.parse(stdout);
  assert.equal([cells[0].runs.complete, cells[1].runs.diverged, cells[1].values], [1, 1, []], stderr);
});

test('of a run that says no numbers at its end the last row of its columns is compared', async () => {
  await mkdir(join(folder, 'old'));
  await writeFile(join(folder, 'old/run.json'), JSON.stringify({ layerpeel: '0.1.0', command: 'train', status: 'complete' }));
  await writeFile(join(folder, 'old/config.json'), '{}');
  await writeFile(join(folder, 'old/metrics.csv'), 'epoch,"a ""b"""\r\n1,0.5\r\n2,0.25\r\n');
  const { stdout, stderr } = await layerpeel('compare', 'old', '--measures', 'a "b"', '--out', 'o', '--json');
  assert.equal(JSON.parse(stdout).cells[0].values, [0.25], stderr);
});

test('what is no run is refused', async () => {
  const { code, stderr } = await layerpeel('compare', 'a0', 'nowhere', '--out', 'n');
  assert.is(code, 1);
  assert.match(stderr, /nowhere is no run folder/);
  assert.is((await layerpeel('compare')).code, 2);
});

test.run();
