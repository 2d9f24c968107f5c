import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { detection, evaluateSync, randomState, readNpy, writeNpy, writeNpz } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array, golden } from '../helpers.js';
import { run } from './run.js';

const [{ logits: rows, labels: classes, ece, counts: binCounts }] = golden('evaluation');
const [logits, labels] = [array(rows), Int32Array.from(classes)];

let folder;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  await writeNpy(join(folder, 'z.npy'), logits);
  await writeNpy(join(folder, 'y.npy'), { shape: [labels.length], data: labels });
});
test.after.each(() => rm(folder, { recursive: true }));

const evaluate = (args) => run(['evaluate', ...args], { cwd: folder });

/** Columns of a CSV file by their names. */
async function columnsOf(name) {
  const [head, ...lines] = (await readFile(join(folder, 'run', name), 'utf8')).trim().split('\r\n');
  return Object.fromEntries(head.split(',').map((key, i) => [key, lines.map((line) => Number(line.split(',')[i]))]));
}

test('evaluates the golden logits: a table, one JSON document, a run folder', async () => {
  const args = ['z.npy', '--labels', 'y.npy', '--counts', '500,100,99,20,19,0', '--resamples', '50', '--seed', '3', '--out', 'run'];
  const { code, stdout } = await evaluate([...args, '--json']);
  assert.is(code, 0);
  const { calibration, accuracy, intervals, groups, predicted } = JSON.parse(stdout);
  const expected = evaluateSync({ logits, labels, counts: [500, 100, 99, 20, 19, 0] }, { resamples: 50, seed: 3 });
  assert.ok(Math.abs(calibration.ece - ece) <= 1e-10);
  assert.equal(calibration.reliability.counts, binCounts);
  assert.is(accuracy, expected.accuracy);
  assert.equal(intervals, JSON.parse(JSON.stringify(expected.intervals)));
  assert.equal(groups.medium.classes, [1, 2, 3]);
  assert.is(predicted, undefined);

  const { status, files } = JSON.parse(await readFile(join(folder, 'run/run.json'), 'utf8'));
  assert.is(status, 'complete');
  for (const file of [
    'config.json',
    'metrics.csv',
    'intervals.csv',
    'classes.csv',
    'reliability.csv',
    'reliability-fitted.csv',
    'report.html',
  ])
    assert.ok(files.includes(file), file);
  for (const figure of ['classes', 'reliability', 'reliability-fitted', 'confidences'])
    assert.ok(files.includes(`figures/${figure}.svg`));
  const config = JSON.parse(await readFile(join(folder, 'run/config.json'), 'utf8'));
  assert.equal([config.logits, config.labels, config.seed], ['z.npy', 'y.npy', 3]);
  assert.equal((await columnsOf('metrics.csv'))['calibration.ece'], [calibration.ece]);
  assert.equal((await columnsOf('intervals.csv')).accuracy, intervals.accuracy);
  assert.equal((await columnsOf('reliability.csv')).samples, binCounts);
  assert.equal([...(await readNpy(join(folder, 'run/arrays/predicted.npy'))).data], [...expected.predicted]);

  const table = await evaluate([...args, '--force']);
  assert.match(table.stdout, /^ {2}accuracy +[\d.]+% \([\d.]+% … [\d.]+%\)$/m);
  assert.match(table.stdout, /^ {2}ECE at T = 1 +20\.02%/m);
  assert.match(table.stdout, /^ {2}accuracy of few /m);
  assert.match(table.stdout, /Report: .*run\/report\.html\n$/);
});

test('features, prototypes and samples out of distribution, from one file', async () => {
  const { features, prototypes, labels: y } = randomState({ classes: 4, perClass: 20, dim: 8, seed: 2 });
  const strange = { shape: [30, 8], data: Float32Array.from({ length: 240 }, (_, i) => Math.sin(i)) };
  await writeNpz(join(folder, 'a.npz'), { h: features, w: prototypes, y: { shape: [80], data: y }, o: strange });
  const args = [
    '--features',
    'a.npz:h',
    '--prototypes',
    'a.npz:w',
    '--labels',
    'a.npz:y',
    '--ood-features',
    'a.npz:o',
    '--resamples',
    '20',
  ];
  const { code, stdout } = await evaluate([...args, '--out', 'run']);
  assert.is(code, 0);
  assert.match(stdout, /argmax ⟨w − w̄, h − h̄⟩ \+ b +[\d.]+% +[\d.]+% +\d+ decided otherwise/);
  for (const score of ['Max softmax', 'Energy', 'Feature norm'])
    for (const positive of ['in', 'out of'])
      assert.match(stdout, new RegExp(`^ {2}${score} +${positive} distribution( +[\\d.]+% \\(.*?\\)){3}$`, 'm'));
  assert.match(stdout, /Warning: Features are centred by the mean of these same features/);
  const report = await readFile(join(folder, 'run/report.html'), 'utf8');
  for (const text of ['Out-of-distribution detection', 'Positive class', 'Decision rules', 'Before trusting a number', '95% kept'])
    assert.ok(report.includes(text), text);
  assert.not.match(report, /NaN|undefined/);
  const { inDistribution, outOfDistribution } = await columnsOf('scores-energy.csv');
  const sum = (values) => values.reduce((all, value) => all + value, 0);
  assert.equal([sum(inDistribution), sum(outOfDistribution)], [80, 30]);
});

test('sets by name, near and far, with the training set', async () => {
  const trained = randomState({ classes: 4, perClass: 20, dim: 8, seed: 2 });
  const [near, far] = [3, 4].map((seed) => randomState({ classes: 4, perClass: 9, dim: 8, seed, scale: seed }).features);
  const { features, prototypes, labels: y } = trained;
  await writeNpz(join(folder, 'a.npz'), { h: features, w: prototypes, y: { shape: [80], data: y }, near, far });
  const training = ['--train-features', 'a.npz:h', '--train-labels', 'a.npz:y'];
  const arrays = ['--features', 'a.npz:h', '--prototypes', 'a.npz:w', '--labels', 'a.npz:y', '--resamples', '9'];
  const parameters = ['--neighbors', '3', '--vim-dim', '2', '--neco-dim', '2', '--nci-alpha', '0.1'];
  const args = [...arrays, ...training, ...parameters, '--ood-features', 'near:a=a.npz:near,far:b=a.npz:far', '--out', 'run'];
  const { code, stdout, stderr } = await evaluate([...args, '--json']);
  assert.is(code, 0, stderr);
  const found = JSON.parse(stdout);
  const expected = evaluateSync(
    {
      ...trained,
      training: { features, labels: y },
      outOfDistribution: [
        { name: 'a', distance: 'near', features: near },
        { name: 'b', distance: 'far', features: far },
      ],
    },
    { resamples: 9, neighbors: 3, vimDim: 2, necoDim: 2, nciAlpha: 0.1 },
  );
  const plain = (value) => JSON.parse(JSON.stringify(value, (_, each) => (ArrayBuffer.isView(each) ? [...each] : each)));
  assert.equal(found.outOfDistributionSets, plain(expected.outOfDistributionSets));
  assert.equal(found.outOfDistributionMeans, plain(expected.outOfDistributionMeans));
  const path = 'outOfDistributionSets.b.scores.vim.inDistributionPositive.auroc';
  assert.is((await columnsOf('metrics.csv'))[path][0], found.outOfDistributionSets.b.scores.vim.inDistributionPositive.auroc);
  assert.equal((await columnsOf('intervals.csv'))[path], found.intervals[path]);
  const { files } = JSON.parse(await readFile(join(folder, 'run/run.json'), 'utf8'));
  for (const file of ['scores-a-neco.csv', 'figures/scores-b-knn.svg']) assert.ok(files.includes(file), file);
  const report = await readFile(join(folder, 'run/report.html'), 'utf8');
  for (const text of ['Set', 'b (far)', 'mean of all', 'NECO, a']) assert.ok(report.includes(text), text);
  // Logits and features of one set, and another by its logits alone.
  await writeNpy(join(folder, 'o.npy'), { shape: [36, 4], data: Float64Array.from({ length: 144 }, (_, i) => Math.sin(i)) });
  const both = [...arrays, '--ood-features', 'a=a.npz:near', '--ood-logits', 'far:a=o.npy,b=o.npy', '--json', '--out', 'both'];
  const { outOfDistributionSets: sets } = JSON.parse((await evaluate(both)).stdout);
  assert.equal([sets.a.distance, Object.keys(sets.a.scores).length, Object.keys(sets.b.scores).length], ['far', 4, 3]);
  const { stdout: table } = await evaluate([...both.filter((word) => word !== '--json'), '--force']);
  assert.match(table, /^ {2}a \(far\) +Feature norm +in distribution( +[\d.]+% \(.*?\)){3}$/m);
  assert.match(table, /^ {2}mean of all +Max logit +out of distribution( +[\d.]+%){3}$/m);

  for (const [more, pattern] of [
    [['--ood-features', 'close:a=a.npz:far'], /--ood-features has "close:a=a\.npz:far"; expected NAME=FILE, near:NAME=FILE/],
    [['--ood-features', 'a=a.npz:far,a=a.npz:near'], /the set a twice/],
    [['--ood-features', 'near:a=a.npz:far', '--ood-logits', 'far:a=o.npy'], /near in one place and far in another/],
    [['--ood-features', 'a.npz:far', '--ood-logits', 'a=o.npy'], /--ood-features has "a\.npz:far"; expected NAME=FILE/],
    [['--ood-features', 'a.npz:far', '--train-features', 'a.npz:h'], /--train-labels is missing/],
    [['--ood-features', 'a b=a.npz:far'], /sets\[0\]\.name is "a b"; expected letters/],
    [['--ood-features', 'a.npz:far', '--neighbors', '0'], /--neighbors is 0; expected an integer of at least 1/],
  ]) {
    const { code: status, stderr: said } = await evaluate([...arrays, ...more]);
    assert.is(status, 2, said);
    assert.match(said, pattern);
  }
  const wrong = await evaluate([...arrays, ...training, '--ood-features', 'a=o.npy']);
  assert.is(wrong.code, 1);
  assert.match(wrong.stderr, /outOfDistribution\.a\.features have 4 columns, but features have 8/);
});

test('a temperature of a validation set, and decisions for unequal classes', async () => {
  const fitted = { shape: [60, 6], data: logits.data.slice(0, 360).map((value) => 3 * value) };
  await writeNpy(join(folder, 'v.npy'), fitted);
  await writeNpy(join(folder, 'w.npy'), { shape: [60], data: labels.slice(0, 60) });
  const counts = ['--counts', '500,100,99,20,19,1', '--adjustment-tau', '1.5', '--resamples', '0', '--out', 'run'];
  const args = ['z.npy', '--labels', 'y.npy', '--fit-logits', 'v.npy', '--fit-labels', 'w.npy', ...counts];
  const { code, stdout, stderr } = await evaluate([...args, '--json']);
  assert.is(code, 0, stderr);
  const { temperature, fitted: at, fittedTo, decisions } = JSON.parse(stdout);
  const expected = evaluateSync({ logits: fitted, labels: labels.slice(0, 60) }, { resamples: 0 });
  assert.equal([fittedTo, temperature], ['validation', expected.temperature]);
  assert.is(at.temperature, expected.temperature.temperature);
  assert.equal(Object.keys(decisions), ['plain', 'logitAdjustment']);
  assert.ok(decisions.logitAdjustment.changed > 0);
  const table = await evaluate([...args, '--force']);
  assert.match(table.stdout, /^ {2}decision +accuracy +balanced +many +medium +few *$/m);
  assert.match(table.stdout, /^ {2}argmax z − τ log π( +[\d.]+%){5} +\d+ decided otherwise$/m);
  const report = await readFile(join(folder, 'run/report.html'), 'utf8');
  for (const text of ['fitted to a validation set', 'Of medium']) assert.ok(report.includes(text), text);
  const alone = await evaluate(['z.npy', '--labels', 'y.npy', '--fit-logits', 'v.npy']);
  assert.is(alone.code, 2);
  assert.match(alone.stderr, /--fit-labels is missing: --fit-logits is given/);
});

test('a run folder is evaluated, and options take the place of its files', async () => {
  await mkdir(join(folder, 'trained/arrays'), { recursive: true });
  for (const [from, to] of [
    ['z', 'logits'],
    ['y', 'labels'],
  ])
    await rename(join(folder, `${from}.npy`), join(folder, `trained/arrays/${to}.npy`));
  const args = ['trained', '--resamples', '0', '--json'];
  const plain = await evaluate([...args, '--out', 'run']);
  assert.is(plain.code, 0);
  assert.ok(Math.abs(JSON.parse(plain.stdout).calibration.ece - ece) <= 1e-10);
  await writeNpy(join(folder, 'y.npy'), { shape: [labels.length], data: labels.map((label) => (label + 1) % 6) });
  const other = await evaluate([...args, '--labels', 'y.npy', '--out', 'run', '--force']);
  assert.ok(JSON.parse(other.stdout).accuracy < JSON.parse(plain.stdout).accuracy);
  const empty = await evaluate(['run']);
  assert.is(empty.code, 1);
  assert.match(empty.stderr, /run is no run folder that can be evaluated/);
  assert.match((await run(['evaluate', 'nowhere'], { cwd: folder })).stderr, /nowhere is no run folder/);
});

test('classes have their names, and stand by their training samples, the largest first', async () => {
  const names = 'bird,cat,"deer, red",dog,frog,ship';
  const list = JSON.stringify(['bird', 'cat', 'deer, red', 'dog', 'frog', 'ship']);
  await mkdir(join(folder, 'trained/arrays'), { recursive: true });
  for (const [from, to] of [
    ['z', 'logits'],
    ['y', 'labels'],
  ])
    await rename(join(folder, `${from}.npy`), join(folder, `trained/arrays/${to}.npy`));
  await writeFile(join(folder, 'trained/classes.json'), list);
  const args = ['trained', '--resamples', '0', '--counts', '20,500,99,0,100,19', '--out', 'run', '--force'];
  assert.is((await evaluate(args)).code, 0);
  const { perClass, counts } = evaluateSync({ logits, labels }, { resamples: 0 });
  const rows = (await readFile(join(folder, 'run/classes.csv'), 'utf8')).trim().split('\r\n');
  assert.is(rows.shift(), 'class,name,training,samples,accuracy');
  const quoted = ['bird', 'cat', '"deer, red"', 'dog', 'frog', 'ship'];
  const sizes = [20, 500, 99, 0, 100, 19];
  assert.equal(
    rows,
    sizes.map((size, c) => [c, quoted[c], size, counts[c], perClass[c]].join(',')),
  );
  const figure = await readFile(join(folder, 'run/figures/classes.svg'), 'utf8');
  const order = ['cat (500)', 'frog (100)', 'deer, red (99)', 'bird (20)', 'ship (19)', 'dog (0)'];
  const at = order.map((name) => figure.indexOf(`>${name}<`));
  assert.ok(at[0] > 0 && at.every((place, i) => i === 0 || place > at[i - 1]), `${at}`);

  assert.is((await evaluate([...args, '--classes', 'a,b,c,d,e,f'])).code, 0);
  assert.match(await readFile(join(folder, 'run/classes.csv'), 'utf8'), /\r\n2,c,99,/);
  for (const [value, pattern] of [
    ['a,b', /--classes has 2 names; expected 6, one a class/],
    [names, /--classes has 7 names/],
    ['nowhere.json', /--classes is nowhere\.json; expected a JSON list of names/],
  ]) {
    const refused = await evaluate([...args, '--classes', value]);
    assert.is(refused.code, 2);
    assert.match(refused.stderr, pattern);
  }
});

test('a single sample, decided right, makes a report too', async () => {
  await writeNpy(join(folder, 'z.npy'), array([[3, 1]]));
  await writeNpy(join(folder, 'y.npy'), { shape: [1], data: Int32Array.of(0) });
  const { code, stdout } = await evaluate([
    'z.npy',
    '--labels',
    'y.npy',
    '--ood-logits',
    'z.npy',
    '--resamples',
    '0',
    '--out',
    'run',
  ]);
  assert.is(code, 0);
  assert.match(stdout, /Warning: Every sample is decided right/);
  assert.ok(!(await readdir(join(folder, 'run'))).includes('intervals.csv'));
});

test('help, faults of usage, faults of data', async () => {
  const help = await evaluate(['--help']);
  assert.is(help.code, 0);
  assert.match(help.stdout, /--ood-logits FILE/);
  for (const [args, pattern] of [
    [['z.npy'], /--labels is missing/],
    [['--labels', 'y.npy'], /LOGITS\.npy is missing/],
    [['z.npy', '--labels', 'y.npy', '--bins', 'many'], /--bins is many; expected a number/],
    [['z.npy', '--labels', 'y.npy', '--temperature', '0'], /--temperature is 0/],
    [['z.npy', '--labels', 'y.npy', '--bins', '0'], /--bins is 0; expected an integer of at least 1 and at most 1000000\./],
    [
      ['z.npy', '--labels', 'y.npy', '--energy-temperature', '-1'],
      /--energy-temperature is -1; expected a finite number above 0\./,
    ],
    [['z.npy', '--labels', 'y.npy', '--counts', '1,,2'], /--counts is 1,,2/],
    [['z.npy', '--labels', 'y.npy', '--ood', 'z.npy'], /There is no option --ood/],
  ]) {
    const { code, stderr } = await evaluate(args);
    assert.is(code, 2, args.join(' '));
    assert.match(stderr, pattern);
  }
  for (const [args, pattern] of [
    [['z.npy', '--labels', 'z.npy'], /labels are integers/],
    [['g.npy', '--labels', 'y.npy'], /g\.npy cannot be read/],
    [['y.npy', '--labels', 'y.npy'], /y\.npy/],
    [['z.npy', '--labels', 'y.npy', '--counts', '5,4'], /counts have 2 entries; expected 6/],
    [['z.npy', '--labels', 'y.npy', '--prototypes', 'z.npy'], /prototypes are given without features/],
  ]) {
    const { code, stderr, stdout } = await evaluate([...args, '--out', 'run']);
    assert.is(code, 1, args.join(' '));
    assert.match(stderr, pattern);
    assert.match(stderr, /^layerpeel: [^\n]+\n$/);
    assert.is(stdout, '');
  }
  assert.not.ok((await readdir(folder)).includes('run'));
});

test('bare scores are compared by either convention, infinite ones too', async () => {
  const scores = { in: [3, 2, Number.POSITIVE_INFINITY, 1.5], out: [Number.NEGATIVE_INFINITY, 1, 2, 1.2, 0] };
  for (const [name, values] of Object.entries(scores))
    await writeNpy(join(folder, `${name}.npy`), { shape: [values.length, 1], data: Float64Array.from(values) });
  const args = ['--scores', 'in.npy', '--ood-scores', 'out.npy', '--resamples', '20', '--out', 'run'];
  const { code, stdout, stderr } = await evaluate([...args, '--json']);
  assert.is(code, 0, stderr);
  const { outOfDistribution, intervals } = JSON.parse(stdout);
  for (const [convention, positive] of [
    ['inDistributionPositive', 'in-distribution'],
    ['outOfDistributionPositive', 'out-of-distribution'],
  ]) {
    const { threshold, ...want } = detection(scores.in, scores.out, { positive });
    const { threshold: at, ...got } = outOfDistribution.score[convention];
    assert.equal(got, want);
    assert.is(at, threshold);
    assert.is(intervals[`outOfDistribution.score.${convention}.auroc`].length, 2);
  }
  assert.is(
    (await columnsOf('metrics.csv'))['outOfDistribution.score.inDistributionPositive.auroc'][0],
    outOfDistribution.score.inDistributionPositive.auroc,
  );
  const { files, status } = JSON.parse(await readFile(join(folder, 'run/run.json'), 'utf8'));
  assert.is(status, 'complete');
  for (const file of ['scores-score.csv', 'intervals.csv', 'figures/scores-score.svg', 'report.html'])
    assert.ok(files.includes(file), file);
  const plain = await evaluate([...args.slice(0, 4), '--out', 'plain']);
  assert.match(plain.stdout, /Score +in distribution +\d/);

  for (const [wrong, pattern] of [
    [['--scores', 'in.npy'], /--ood-scores is missing/],
    [['--ood-scores', 'in.npy'], /--scores is missing/],
    [['z.npy', '--scores', 'in.npy', '--ood-scores', 'out.npy'], /--scores stands alone, but z\.npy is given/],
    [['--labels', 'y.npy', '--scores', 'in.npy', '--ood-scores', 'out.npy'], /--scores stands alone, but --labels is given/],
  ]) {
    const { code: status, stderr: said } = await evaluate(wrong);
    assert.is(status, 2, said);
    assert.match(said, pattern);
  }
  assert.match(
    (await evaluate(['--scores', 'z.npy', '--ood-scores', 'out.npy'])).stderr,
    /z\.npy: its shape is .*; scores are of shape \[n\]/,
  );
});

test('several runs are evaluated each in its folder and laid out, seeds together; one that cannot be is a cell that says so', async () => {
  const shifted = (by) => ({ shape: logits.shape, data: logits.data.map((value, k) => (k % 7 === by ? value + 2 : value)) });
  const bad = { shape: logits.shape, data: logits.data.map((value, k) => (k === 3 ? Number.NaN : value)) };
  const runs = { ce0: ['ce', 0, shifted(0)], ce1: ['ce', 1, shifted(1)], ul: ['ul', 0, logits], bad: ['bad', 0, bad] };
  for (const [name, [kind, seed, array]] of Object.entries(runs)) {
    await mkdir(join(folder, name, 'arrays'), { recursive: true });
    await writeFile(join(folder, name, 'config.json'), JSON.stringify({ loss: { kind }, seed }));
    await writeFile(join(folder, name, 'run.json'), JSON.stringify({ layerpeel: '0.1.0', command: 'train', status: 'complete' }));
    await writeNpy(join(folder, name, 'arrays/logits.npy'), array);
    await writeNpy(join(folder, name, 'arrays/labels.npy'), { shape: [labels.length], data: labels });
  }
  const args = ['ce0', 'ce1', 'ul', 'bad', 'ce0', '--resamples', '0', '--measures', 'accuracy,calibration.ece', '--out', 'run'];
  const { code, stdout, stderr } = await evaluate([...args, '--json']);
  assert.is(code, 0, stderr);
  const { cells, runs: rows } = JSON.parse(stdout);
  const alone = (array) => evaluateSync({ logits: array, labels }, { resamples: 0 });
  const expected = [[shifted(0), shifted(1)], [logits], []].map((arrays) => arrays.map(alone));
  for (const [measure, of] of [
    ['accuracy', ({ accuracy }) => accuracy],
    ['calibration.ece', ({ calibration }) => calibration.ece],
  ]) {
    assert.equal(
      cells.filter((cell) => cell.measure === measure).map(({ values }) => values),
      expected.map((all) => all.map(of)),
    );
  }
  assert.equal(
    rows.map(({ status, href }) => [status, href]),
    ['ce0', 'ce1', 'ul', 'bad'].map((name) => [name === 'bad' ? 'failed' : 'complete', `runs/${name}/report.html`]),
  );
  assert.match(rows[3].reason, /is NaN/);
  const statusOf = async (path) => JSON.parse(await readFile(join(folder, path, 'run.json'), 'utf8')).status;
  assert.equal(
    [await statusOf('run'), await statusOf('run/runs/ul'), await statusOf('run/runs/bad')],
    ['complete', 'complete', 'failed'],
  );
  assert.ok((await readdir(join(folder, 'run/runs/ul'))).includes('report.html'));
  const text = await evaluate(['ul', 'bad', '--resamples', '0', '--out', 'text']);
  assert.match(text.stdout, /bad failed: .*is NaN/);

  for (const [wrong, status, pattern] of [
    [['bad', 'bad/.', '--out', 'none'], 1, /is NaN/],
    [['ul', 'ce0', '--out', 'run'], 1, /holds a finished run/],
    [['ul', '.'], 2, /\. is no run folder; several are evaluated by their folders/],
    [['ul', '--measures', 'accuracy'], 2, /--measures is of several runs/],
    [['ul', 'ce0', '--measures', 'acuracy', '--out', 'typo'], 1, /No run has the measure acuracy; did you mean accuracy\?/],
  ]) {
    const { code: ended, stderr: said } = await evaluate(wrong);
    assert.is(ended, status, said);
    assert.match(said, pattern);
  }
});

test.run();
