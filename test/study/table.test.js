// Tables of runs: means, deviations and paired differences by hand, and the same table as CSV, Markdown and LaTeX.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bestOf, cellText, summary, tabulate, toCsv, toLatex, toMarkdown } from '../../lib/study/table.js';
import { near } from '../helpers.js';

const run = (method, rho, seed, accuracy, more = {}) => ({
  id: `${method}-${rho}-${seed}`,
  levels: { method, rho, seed },
  status: 'complete',
  measures: { accuracy, loss: 1 - accuracy },
  ...more,
});
const lost = { status: 'failed', reason: 'no file', measures: {} };
const runs = [
  ...[0.5, 0.6, 0.7].map((value, seed) => run('CE', '10', String(seed), value)),
  ...[0.4, 0.2].map((value, seed) => run('CE', '100', String(seed), value)),
  ...[0.6, 0.9, 0.8].map((value, seed) => run('a_b', '10', String(seed), value)),
  run('a_b', '100', '0', 0, { status: 'diverged', measures: {} }),
  run('a_b', '100', '1', 0.5),
  run('a_b', '100', '2', 0.7),
  run('x|y', '10', '0', 0, lost),
];
const layout = {
  axes: ['method', 'rho', 'seed'],
  seed: 'seed',
  rows: ['method'],
  columns: ['rho'],
  measures: ['accuracy'],
  best: {},
};
const table = tabulate(runs, layout);
const cell = (row, column, of = table) => of.cells.find((each) => each.row === row && each.column === column);

test('a mean has the digits that its deviation leaves, down to its second', () => {
  const of = (mean, deviation) => cellText({ ...cell('CE', '10'), mean, deviation });
  assert.equal([of(0.123456, 0.0123), of(1234.5678, 1.26), of(0.5, 0)], ['0.123 ± 0.012', '1234.6 ± 1.3', '0.5 ± 0']);
});

test('means and sample deviations are those of the values', () => {
  const { mean, deviation, count, values, runs: ended } = cell('CE', '10');
  assert.equal(values, [0.5, 0.6, 0.7]);
  near(mean, 0.6, 1e-15, 'mean');
  near(deviation, 0.1, 1e-15, 'deviation'); // √((0.01 + 0 + 0.01)/2)
  assert.is(count, 3);
  assert.equal(ended, { complete: 3, diverged: 0, failed: 0, missing: 0 });
  near(cell('CE', '100').deviation, Math.SQRT2 / 10, 1e-15, 'of two');
  assert.ok(Number.isNaN(summary([3]).deviation) && summary([3]).mean === 3);
});

test('differences are of pairs of one seed and column', () => {
  assert.is(cell('CE', '10').difference, undefined);
  const of10 = cell('a_b', '10').difference; // 0.1, 0.3, 0.1
  near(of10.mean, 0.5 / 3, 1e-15, 'mean');
  near(of10.deviation, Math.sqrt(2 * (0.1 - 0.5 / 3) ** 2 + (0.3 - 0.5 / 3) ** 2) / Math.SQRT2, 1e-14, 'deviation');
  // Seed 0 diverged, and CE has no seed 2: seed 1 is left.
  assert.equal([cell('a_b', '100').difference.count, cell('a_b', '100').difference.mean.toFixed(12)], [1, '0.300000000000']);
});

test('the best of a column is that of the means, by what the measure is', () => {
  assert.equal(
    ['CE', 'a_b', 'x|y'].flatMap((row) => ['10', '100'].map((column) => cell(row, column).best)),
    [false, false, true, true, false, false],
  );
  const losses = tabulate(runs, { ...layout, measures: ['loss'] });
  assert.ok(cell('a_b', '10', losses).best && !cell('CE', '10', losses).best);
  const turned = tabulate(runs, { ...layout, best: { accuracy: 'smallest' } });
  assert.ok(cell('CE', '10', turned).best && !cell('a_b', '10', turned).best);
  assert.equal(
    ['testAccuracy', 'nc1', 'testLoss', 'logNorm', 'calibration.ece', 'minMargin'].map((name) => bestOf(name, {})),
    ['largest', 'smallest', 'smallest', undefined, 'smallest', 'largest'],
  );
});

test('what did not end is said in its cell', () => {
  assert.is(cellText(cell('CE', '10')), '0.6 ± 0.1');
  assert.is(cellText(cell('a_b', '100')), '0.6 ± 0.14 (1 diverged)');
  assert.is(cellText(cell('x|y', '10')), 'failed');
  assert.is(cellText(cell('x|y', '100')), '–');
});

test('CSV is tidy, with all digits', () => {
  const lines = toCsv(table).split('\r\n');
  assert.is(lines[0], 'run,method,rho,seed,status,measure,value');
  assert.is(lines.length, 1 + runs.length + 1);
  assert.is(lines[1], 'CE-10-0,CE,10,0,complete,accuracy,0.5');
  assert.is(lines.at(-2), 'x|y-10-0,x|y,10,0,failed,accuracy,');
  const third = tabulate([run('"q", r', '1', '0', 1 / 3)], layout);
  assert.is(toCsv(third).split('\r\n')[1], '"""q"", r-1-0","""q"", r",1,0,complete,accuracy,0.3333333333333333');
});

test('Markdown and LaTeX escape what is theirs, with the best in bold', () => {
  const markdown = toMarkdown(table).split('\n');
  assert.is(markdown[0], '| method | accuracy, rho = 10 | accuracy, rho = 100 |');
  assert.is(markdown[3], '| a_b | **0.77 ± 0.15** | **0.6 ± 0.14 (1 diverged)** |');
  assert.is(markdown[4], '| x\\|y | failed | – |');
  const latex = toLatex(table).split('\n');
  assert.equal(latex.slice(1, 4), ['\\begin{tabular}{lcc}', '\\toprule', 'method & accuracy, rho = 10 & accuracy, rho = 100 \\\\']);
  assert.is(latex[6], 'a\\_b & \\textbf{0.77 $\\pm$ 0.15} & \\textbf{0.6 $\\pm$ 0.14 (1 diverged)} \\\\');
  const small = tabulate([run('50% & #1', '1', '0', -1.5e-9)], layout);
  assert.is(toLatex(small).split('\n')[5], '50\\% \\& \\#1 & $-$1.5$\\times 10^{-9}$ \\\\');
});

test('without columns each measure is one, without rows all runs are', () => {
  const plain = tabulate(
    runs.filter(({ levels }) => levels.rho === '10'),
    { ...layout, rows: [], columns: [], measures: ['accuracy', 'loss'] },
  );
  assert.equal(toMarkdown(plain).split('\n').slice(0, 1), ['| run | accuracy | loss |']);
  assert.is(plain.cells.length, 2);
  assert.is(plain.cells[0].count, 6);
});

test.run();
