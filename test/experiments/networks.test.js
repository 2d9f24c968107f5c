// The papers' experiments with networks: the trainings that they ask for, what is said of images that are not there, and, on images of
// these tests' own, that the report has the paper's numbers beside those of its runs.
import { access, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { detection, outOfDistributionScores, readNpy } from 'layerpeel';
import sharp from 'sharp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { experiments } from '../../lib/experiments/index.js';
import { checkStudy, expand } from '../../lib/study/config.js';
import { checkTraining } from '../../lib/training/train.js';
import { run } from '../cli/run.js';
import { withFolder } from '../data/formats.js';
import { patterns } from '../training/images.js';
import { torchSuite } from '../training/torch.js';

const networks = experiments.filter((each) => each.networks);
const study = (id, config, sources) => {
  const { networks, config: paper } = experiments.find((each) => each.id === id);
  return networks.study(config ?? paper, sources);
};
const sources = Object.fromEntries(
  ['mnist', 'kmnist', 'fashion-mnist', 'cifar10', 'cifar100', 'svhn', 'stl10'].map((name) => [
    name,
    { kind: 'folder', path: `/data/${name}` },
  ]),
);

test('every budget of every experiment asks for trainings that can be begun', () => {
  assert.ok(networks.length >= 20);
  for (const { id, networks: own, config } of networks) {
    assert.equal(own.budgets.paper, config);
    for (const [budget, parameters] of Object.entries(own.budgets)) {
      const cells = expand(checkStudy(own.study(parameters, sources), { path: id, code: 'LP_CONFIG' }));
      for (const cell of cells) checkTraining(cell.config);
      assert.is(new Set(cells.map((cell) => cell.id)).size, cells.length, `${id}, ${budget}`);
    }
  }
});

test('the protocols are those of the papers', () => {
  const cell = (id, label, levels = {}) => {
    const asked = study(id, undefined, sources);
    const cells = expand(checkStudy(asked, { path: id, code: 'LP_CONFIG' }));
    return cells.find(
      (each) =>
        each.levels[0].label === label &&
        Object.values(levels).every((value) => each.levels.some((level) => level.label === value)),
    ).config;
  };
  // UL App. C.2: 200 epochs, momentum 0.9, cosine from 0.1 by epoch, weight decay 5e-4, batches of 256; PAL: no ReLU, a simplex ETF.
  const ul = cell('ul-table2', 'UL (PAL), λ = 5e-7', { ratio: '50' });
  assert.equal(ul.optimizer, {
    learningRate: { kind: 'cosine', value: 0.1, period: 200 },
    ratePer: 'epoch',
    momentum: 0.9,
    weightDecay: 5e-4,
  });
  assert.equal([ul.epochs, ul.batch, ul.model.kind], [200, 256, 'resnet18']);
  assert.equal(ul.data.imbalance, { kind: 'long-tailed', ratio: 50 });
  assert.equal(ul.loss, { kind: 'unhinged', gamma: 1 / 9 });
  assert.equal(ul.model.classifier, { kind: 'fixed-etf' });
  assert.equal(ul.regularization, { weight: 5e-7 });
  assert.is(cell('ul-table2', 'CE').regularization, undefined);
  const rescaled = cell('ul-fig2-cifar100', 'UL (FNPAL), RLR');
  assert.equal(
    [rescaled.rescaled, rescaled.model],
    [true, { kind: 'resnet34', classifier: { kind: 'fixed-etf' }, head: { normalize: true } }],
  );
  assert.is(rescaled.loss.gamma, 1 / 99);
  assert.is(cell('ul-table4', 'CE', { kind: 'step', ratio: '20' }).data.imbalance.kind, 'step');
  // LP App. D: a rate of 0.01, momentum 0.3, batches of 128, no weight decay, no augmentation.
  const lp = cell('lp-fig4', '0');
  assert.equal(
    [lp.optimizer, lp.batch, lp.model, lp.data],
    [{ learningRate: 0.01, momentum: 0.3 }, 128, { kind: 'vgg13' }, sources.mnist],
  );
  // ETF App. D: 200 epochs, batches of 128, weight decay 2e-4, divided by 10 at 160 and 180.
  const etf = cell('etf-cifar10-lt', 'dot regression, fixed ETF', { ratio: '100' });
  assert.equal(etf.optimizer, {
    learningRate: { kind: 'steps', value: 0.1, factor: 0.1, milestones: [160, 180] },
    momentum: 0.9,
    weightDecay: 2e-4,
  });
  assert.equal([etf.model.kind, etf.batch, etf.loss.kind, etf.data.augmentation.mixup], ['resnet32', 128, 'dot-regression', 1]);
  assert.equal(study('etf-svhn-lt', undefined, { svhn: { kind: 'svhn', path: '/data/svhn' } }).base.data.split, ['train', 'extra']);
});

test('what is not there is said before anything runs, with what to put where', () =>
  withFolder({}, async (folder) => {
    await mkdir(join(folder, 'data/cifar10/train'), { recursive: true });
    const { code, stderr } = await run(['reproduce', 'ul-table3', '--out', 'out'], { cwd: folder });
    assert.is(code, 1);
    assert.match(
      stderr,
      /CIFAR-10 in data.cifar10: data_batch_…, test_batch\.bin; or images as train\/<class>\/ and test\/<class>\//,
    );
    assert.match(stderr, /SVHN in data.svhn: train_32x32…, test_32x32…; or images/);
    assert.ok(
      await access(join(folder, 'out')).then(
        () => false,
        () => true,
      ),
      'no folder is made',
    );
  }));

test('what is not for an experiment, or no value, is wrong usage', async () => {
  const refused = async (args, pattern, wanted = 2) => {
    const { code, stderr } = await run(['reproduce', ...args]);
    assert.is(code, wanted, stderr);
    assert.match(stderr, pattern);
  };
  await refused(['ul-fig5', '--budget', 'small'], /--budget is for experiments with networks, and ul-fig5 is computed/);
  await refused(['ul-fig5', '--jobs', '2'], /--jobs is for experiments with networks/);
  await refused(['ul-fig5', '--data', 'images'], /--data is for experiments with networks/);
  await refused(['lp-fig1', '--budget', 'tiny'], /--budget is 'tiny'; expected one of 'smoke', 'small', 'paper'|--budget/);
});

test('the help names the parameters and the images', async () => {
  const { code, stdout } = await run(['reproduce', 'ul-table2', '--help']);
  assert.is(code, 0);
  for (const part of [/network +"resnet18"/, /imbalances, ρ +\[100,50,20,10,1\]/, /CIFAR-10 in data.cifar10/])
    assert.match(stdout, part);
});

test.run();

const trainings = torchSuite('experiments with networks');

/** Images of a set as `train/<class>/` and `test/<class>/`. */
async function imageFolder(path, seed) {
  for (const [split, perClass] of [
    ['train', 4],
    ['test', 2],
  ]) {
    const { images, labels, shape } = patterns({ classes: 10, perClass, seed, noise: 60 });
    const [, height, width, channels] = shape;
    for (const [i, label] of labels.entries()) {
      const folder = join(path, split, `c${label}`);
      await mkdir(folder, { recursive: true });
      const pixels = Buffer.from(images.slice(i * height * width * channels, (i + 1) * height * width * channels));
      await writeFile(join(folder, `${i}.png`), await sharp(pixels, { raw: { width, height, channels } }).png().toBuffer());
    }
  }
}

/** A column of a run's `metrics.csv`, at its end. */
async function lastOf(folder, name) {
  const [head, ...rows] = (await readFile(join(folder, 'metrics.csv'), 'utf8')).trim().split('\r\n');
  return Number(rows.at(-1).split(',')[head.split(',').indexOf(name)]);
}

const small = ['--budget', 'smoke', '--set', 'network=mlp', '--set', 'largest=4', '--set', 'epochs=2'];

trainings(
  'a table has the paper’s numbers beside those of its runs, statements are judged by them, and it goes on in its folder',
  () =>
    withFolder({}, async (folder) => {
      await imageFolder(join(folder, 'data/cifar10'), 1);
      const args = ['reproduce', 'ul-table2', ...small, '--set', 'imbalances=[2,1]', '--out', 'out', '--json'];
      const methods = ['CE', 'UL (PAL)'];
      const all = [...args, '--set', `methods=${JSON.stringify(methods)}`, '--set', 'seeds=[0]'];
      const first = await run(all, { cwd: folder });
      assert.is(first.code, 0, first.stderr);
      const { verdicts, report } = JSON.parse(first.stdout);
      const runs = await readdir(join(folder, 'out/study/runs'));
      assert.is(runs.length, 2 * 2);
      const accuracy = async (method, ratio) => {
        const own = runs.filter((name) => name.startsWith(`method-${method}`) && name.includes(`ratio-${ratio}_`));
        assert.is(own.length, 1, method);
        return lastOf(join(folder, 'out/study/runs', own[0]), 'testAccuracy');
      };
      const [entropy, unhinged] = [await accuracy('CE', 1), await accuracy('UL-PAL', 1)];
      // At ρ = 1 the paper has cross-entropy ahead: 95.28 and 95.23.
      const verdict = verdicts.find(({ claim }) => claim === 'unhinged loss against cross-entropy at ρ = 1');
      assert.is(verdict.paper, '95.23 < 95.28');
      assert.is(verdict.holds, unhinged < entropy);
      // ρ = 2 is not in the paper.
      assert.not(verdicts.some(({ claim }) => / at ρ = 2$/.test(claim)));
      const falling = verdicts.find(({ claim }) => claim.startsWith('CE: accuracy falls from ρ = 1 to 2'));
      assert.is(falling.holds, (await accuracy('CE', 2)) < entropy);
      const html = await readFile(report, 'utf8');
      for (const text of ['95.28', '95.23', 'no reproduction', 'study/report.html']) assert.ok(html.includes(text), text);

      // Seeds more: what is there is not trained again.
      const before = await readFile(join(folder, 'out/study/runs', runs[0], 'run.json'), 'utf8');
      const again = await run([...all, '--set', 'seeds=[0,1]', '--force'], { cwd: folder });
      assert.is(again.code, 0, again.stderr);
      assert.is((await readdir(join(folder, 'out/study/runs'))).length, 2 * 2 * 2);
      assert.is(await readFile(join(folder, 'out/study/runs', runs[0], 'run.json'), 'utf8'), before);
    }),
);

trainings('a method that there is not is named, with the nearest', () =>
  withFolder({}, async (folder) => {
    await imageFolder(join(folder, 'data/cifar10'), 1);
    const { code, stderr } = await run(['reproduce', 'ul-table2', ...small, '--set', 'methods=["UL (PAI)"]', '--out', 'out'], {
      cwd: folder,
    });
    assert.is(code, 1);
    assert.match(stderr, /methods\[0\] is "UL \(PAI\)"; did you mean UL \(PAL\)\?/);
  }),
);

trainings('detection is that of the exported scores, in distribution positive', () =>
  withFolder({}, async (folder) => {
    await imageFolder(join(folder, 'data/cifar10'), 1);
    await imageFolder(join(folder, 'data/svhn'), 2);
    const args = ['reproduce', 'ul-table3', ...small, '--set', 'methods=["CE","CE, λ = 1e-5"]', '--out', 'out', '--json'];
    const { code, stdout, stderr } = await run(args, { cwd: folder });
    assert.is(code, 0, stderr);
    const { verdicts } = JSON.parse(stdout);
    const of = verdicts.find(({ claim }) => claim === 'CE: feature regularization, auroc, energy');
    assert.is(of.paper, '94.6 > 91.94');
    const rows = (await readFile(join(folder, 'out/metrics.csv'), 'utf8')).trim().split('\r\n');
    const names = [...rows[0].matchAll(/"([^"]*)"|([^,]+)/g)].map(([, quoted, bare]) => quoted ?? bare);
    for (const line of rows.slice(1)) {
      const cells = [...line.matchAll(/"([^"]*)"|([^,]+)/g)].map(([, quoted, bare]) => quoted ?? bare);
      const arrays = join(folder, 'out/study/runs', cells[0], 'arrays');
      const scores = async (kind) =>
        outOfDistributionScores({
          logits: await readNpy(join(arrays, `${kind}logits${kind ? '-svhn' : ''}.npy`)),
          features: await readNpy(join(arrays, `${kind}features${kind ? '-svhn' : ''}.npy`)),
        });
      const [inside, outside] = [await scores(''), await scores('ood-')];
      for (const [score, title] of Object.entries({ maxSoftmax: 'softmax', energy: 'energy', featureNorm: 'feature norm' })) {
        const expected = detection(inside[score], outside[score], { positive: 'in-distribution' });
        for (const kind of ['fpr95', 'auroc', 'aupr']) {
          assert.is(Number(cells[names.indexOf(`${kind}, ${title}`)]), expected[kind], `${kind}, ${title}`);
        }
      }
    }
    const figures = await readdir(join(folder, 'out/figures'));
    assert.is(figures.filter((name) => /featureNorm|energy|maxSoftmax/.test(name)).length, 6);
  }),
);

trainings('measures of collapse are judged by how they go along the epochs', () =>
  withFolder({}, async (folder) => {
    await imageFolder(join(folder, 'data/mnist'), 1);
    const { code, stdout, stderr } = await run(['reproduce', 'lp-fig1', ...small, '--out', 'out', '--json'], { cwd: folder });
    assert.is(code, 0, stderr);
    const { verdicts } = JSON.parse(stdout);
    assert.is(verdicts.length, 6);
    const [run0] = await readdir(join(folder, 'out/study/runs'));
    const [head, ...rows] = (await readFile(join(folder, 'out/study/runs', run0, 'metrics.csv'), 'utf8')).trim().split('\r\n');
    const column = rows.map((row) => Number(row.split(',')[head.split(',').indexOf('withinClassVariation')]));
    const judged = verdicts.find(({ claim }) => claim === 'within-class variation');
    assert.is(judged.holds, column.at(-1) < column[0]);
    assert.is((await readdir(join(folder, 'out/figures'))).length, 6);
  }),
);

trainings.run();
