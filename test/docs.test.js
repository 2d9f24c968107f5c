// README.md and the pages of docs/: their examples run as they stand, each a program of its own, and what they name exists.
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as layerpeel from 'layerpeel';
import * as report from 'layerpeel/report';
import * as torch from 'layerpeel/torch';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from '../lib/cli/command.js';
import { marginMeasures, trajectoryMeasures } from '../lib/dynamics/trajectory.js';
import { experiments } from '../lib/experiments/index.js';
import { checkSettings, checkTrainingLoss } from '../lib/training/config.js';
import { inFolder } from './helpers.js';
import { startNode } from './process.js';
import { patterns } from './training/images.js';
import { torchSuite } from './training/torch.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path) => readFile(join(root, path), 'utf8');
const paths = [
  'README.md',
  ...(await readdir(join(root, 'docs'))).filter((file) => file.endsWith('.md')).map((file) => `docs/${file}`),
];
const pages = new Map(await Promise.all(paths.map(async (path) => [path, await read(path)])));
const manifest = JSON.parse(await read('package.json'));
const names = [...Object.keys(layerpeel), ...Object.keys(report), ...Object.keys(torch)].filter((name) => !name.endsWith('Sync'));

/** The blocks of code of a kind, each with its place. */
const blocks = (kind) =>
  [...pages].flatMap(([path, text]) =>
    [...text.matchAll(new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, code], i) => [
      `${path}, ${kind} block ${i + 1}`,
      code,
    ]),
  );
/** All that stands between backticks on a page, outside of blocks. */
const spans = (text) => [...text.replaceAll(/^```.*?^```$/gms, '').matchAll(/`([^`]+)`/g)].map((match) => match[1]).join(' ');
const says = (text, word) => new RegExp(`(?<![\\w-])${word}(?![\\w-])`).test(spans(text));

const trained = torchSuite('pages that train');
for (const [place, code] of blocks('js')) {
  (code.includes('layerpeel/torch') ? trained : test)(`${place} runs`, () =>
    besidePackage(async (folder) => {
      await writeFile(join(folder, 'example.mjs'), code);
      const { code: exit, stdout, stderr } = await startNode(['example.mjs'], { cwd: folder }).ended;
      assert.is(exit, 0, stderr);
      assert.not.match(stdout, /undefined|\[object|NaN/);
    }),
  );
}

/** A folder in which the package, and what it installs beside it, can be imported. */
const besidePackage = (use) =>
  inFolder(async (folder) => {
    await mkdir(join(folder, 'node_modules'));
    await symlink(root, join(folder, 'node_modules/layerpeel'));
    await symlink(join(root, 'node_modules/sharp'), join(folder, 'node_modules/sharp'));
    await use(folder);
  });

for (const [place, text] of blocks('json')) {
  test(`${place} is a configuration`, async () => {
    const config = JSON.parse(text);
    if ('model' in config) {
      checkSettings(config, { path: 'config', code: 'LP_CONFIG' });
      checkTrainingLoss(config, Int32Array.of(500, 50, 5), { path: 'config', code: 'LP_CONFIG' });
      return;
    }
    await besidePackage(async (folder) => {
      await writeFile(join(folder, 'config.json'), text);
      const command = 'axes' in config ? 'study' : 'simulate';
      const { code, stderr } = await startNode([join(root, 'lib/cli/main.js'), command, 'config.json'], { cwd: folder }).ended;
      assert.is(code, 0, stderr);
    });
  });
}

for (const [place, text] of blocks('sh')) {
  test(`${place} has commands that exist`, async () => {
    for (const [, line] of text.matchAll(/npx layerpeel ([^#&>\n]+)/g)) {
      const [name, ...argv] = line.trim().split(/ +/);
      const { command } = await import(`../lib/cli/${name}.js`);
      parse(command, argv);
    }
    for (const [, script] of text.matchAll(/npm (?:run )?(\w[\w:]*)/g)) {
      assert.ok(['ci', 'install'].includes(script) || script in manifest.scripts, script);
    }
  });
}

test('the README is short, and begins with two paragraphs, a picture on white, and the two commands', async () => {
  const readme = pages.get('README.md');
  assert.ok(readme.split('\n').length <= 250);
  assert.match(readme, /^# layerpeel\n\n(?:[^\n!#]+\n)+\n(?:[^\n!#]+\n)+\n!\[[^\]]+\]\(docs\/fig1\.svg\)\n/);
  assert.match(readme, /^npm ci && npm start .*\nnpm ci && npm test /m);
  assert.match(
    await read('docs/fig1.svg'),
    /^<svg [^>]*width="(\d+)" height="(\d+)"[^>]*><rect width="\1" height="\2" fill="white"\/>/,
  );
});

test('every page has a title and an opening sentence', () => {
  for (const [path, text] of pages) assert.match(text, /^# [^\n]+\n\n[^\n#`|]*[^\n]+(\n[^\n]+)*[.:]\n\n/, path);
});

test('tables have a head and rows of one width', () => {
  for (const [path, text] of pages) {
    for (const [table] of text.replaceAll('\\|', '').matchAll(/(?:^\|.*\n)+/gm)) {
      const [head, rule, ...rows] = table.trimEnd().split('\n');
      assert.match(rule ?? '', /^\|(-+\|)+$/, `${path}: ${head}`);
      for (const row of [rule, ...rows]) assert.is(row.split('|').length, head.split('|').length, `${path}: ${row}`);
    }
  }
});

/** The heading's name in a link, as GitHub makes it. */
const slug = (heading) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-');
/** What stands under a heading, down to the next of its rank. */
function section(text, anchor) {
  const lines = text.split('\n');
  const start = lines.findIndex((line) => /^#+ /.test(line) && slug(line.replace(/^#+ /, '')) === anchor);
  if (start === -1) return undefined;
  const rank = lines[start].indexOf(' ');
  const length = lines.slice(start + 1).findIndex((line) => /^#+ /.test(line) && line.indexOf(' ') <= rank);
  return lines.slice(start, length === -1 ? undefined : start + 1 + length).join('\n');
}

/** npm packs these unasked, and the pages for those who change the package stay in its repository. */
const unlisted = ['README.md', 'LICENSE', 'CONTRIBUTING.md', 'bench/README.md'];

test('links lead to what is there, in an installed package too', () => {
  const packed = (path) => [...unlisted, ...manifest.files].some((entry) => path === entry || path.startsWith(`${entry}/`));
  for (const [path, text] of pages) {
    for (const [, target] of text.replaceAll(/^```.*?^```$/gms, '').matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const [file, anchor] = target.split('#');
      const there = file ? normalize(join(dirname(path), file)) : path;
      assert.ok(existsSync(join(root, there)) && packed(there), `${path} links to ${target}`);
      if (anchor) assert.ok(section(pages.get(there), anchor), `${path} links to ${target}`);
    }
  }
});

test('the index leads from every function to where it is described', () => {
  const index = pages.get('docs/README.md');
  for (const name of names) {
    const [, file, anchor] = new RegExp(`\\[\`${name}\`\\]\\(([\\w-]+\\.md)#([^)]+)\\)`).exec(index) ?? [];
    assert.ok(file, `docs/README.md does not list ${name}`);
    assert.ok(says(section(pages.get(`docs/${file}`), anchor), name), `${file}#${anchor} says nothing of ${name}`);
  }
  for (const path of pages.keys()) {
    if (path.startsWith('docs/') && basename(path) !== 'README.md') assert.match(index, `](${basename(path)})`, path);
  }
});

test('every field of every public interface is named', async () => {
  const all = [...pages.values()].join('\n\n');
  for (const [entry, folder] of [
    ['index.d.ts', ''],
    ['report/pages/index.d.ts', 'report/pages/'],
    ['training/index.d.ts', 'training/'],
  ]) {
    for (const [, list, from] of (await read(`lib/${entry}`)).matchAll(/export (?:type )?\{([^}]*)\} from '(.*)\.js'/g)) {
      const declared = await read(join('lib', folder, `${from}.d.ts`));
      for (const name of list.split(',').map((each) => each.replace('type ', '').trim())) {
        const [, body = ''] = new RegExp(`^export interface ${name}\\b[^{]*\\{\\n(.*?)^\\}`, 'ms').exec(declared) ?? [];
        for (const [, field] of body.matchAll(/^ {4}(?:readonly )?(\w+)\??[:(<]/gm)) {
          assert.ok(field.endsWith('Sync') || says(all, field), `no page names ${field} of ${name}`);
        }
      }
    }
  }
});

test('lists of names are whole', async () => {
  const errors = [...(await read('lib/check/errors.d.ts')).matchAll(/'(LP_\w+)'/g)].map((match) => match[1]);
  for (const [path, list] of [
    ['docs/errors.md', errors],
    ['docs/papers.md', experiments.map(({ id }) => id)],
    ['docs/trajectory.md', [...Object.keys(trajectoryMeasures), ...Object.keys(marginMeasures)]],
    ['docs/descent.md', Object.keys(layerpeel.descentMeasures)],
    ['docs/collapse.md', Object.keys(layerpeel.collapseMeasures)],
    ['docs/losses.md', layerpeel.lossKinds],
    ['docs/training.md', torch.modelKinds],
  ]) {
    assert.ok(list.length > 1);
    for (const name of list) assert.ok(says(pages.get(path), name), `${path} lacks ${name}`);
  }
});

test('the measures of collapse stand with their formulas', () => {
  const text = pages.get('docs/collapse.md').replaceAll('\\|', '|');
  for (const [name, { formula }] of Object.entries(layerpeel.collapseMeasures)) {
    assert.ok(text.includes(`| \`${name}\` | \`${formula}\` |`), `${name}: ${formula}`);
  }
});

test('a trajectory has the measures that its page says', async () => {
  const state = layerpeel.randomState({ classes: 2, perClass: 2, dim: 3 });
  const [gamma, rates, learningRates] = [0.5, { features: 1, prototypes: 1 }, { features: 0.1, prototypes: 0.1 }];
  const kernel = { shape: [4, 4], data: Float64Array.from({ length: 16 }, (_, at) => (at % 5 === 0 ? 1 : 0)) };
  const trajectories = {
    gradientFlow: await layerpeel.gradientFlow(state, { gamma, rates }),
    gradientDescent: await layerpeel.gradientDescent(state, { gamma, learningRates }),
    anchoredFlow: await layerpeel.anchoredFlow(state, { gamma, rate: 1 }),
    sphericalDescent: await layerpeel.sphericalDescent(state, { gamma, learningRate: 0.1 }),
    kernelFlow: await layerpeel.kernelFlow(state, { loss: 'unhinged', gamma, rate: 1, kernel }),
    crossEntropyFlow: await layerpeel.crossEntropyFlow(state),
  };
  const table = section(pages.get('docs/trajectory.md'), 'measures');
  const rows = [...table.matchAll(/^\| `(\w+)` \|.*\| ([^|]*) \|$/gm)];
  assert.is(rows.length, Object.keys(trajectoryMeasures).length + Object.keys(marginMeasures).length);
  for (const [, name, of] of rows) {
    for (const [dynamics, trajectory] of Object.entries(trajectories)) {
      const has = of.startsWith('all') !== of.includes(dynamics);
      const found = await trajectory.measure([1], [name]).then(
        () => true,
        ({ code }) => code !== 'LP_OPTION',
      );
      assert.is(found, has, `${name} of ${dynamics}`);
    }
  }
});

trained('the measures of a training are named', async () => {
  const config = {
    data: { train: patterns(), test: patterns() },
    model: { kind: 'mlp' },
    loss: { kind: 'cross-entropy' },
    epochs: 1,
  };
  for await (const { measures } of torch.train(config)) {
    const own = Object.keys(measures).filter((name) => !(name in layerpeel.collapseMeasures));
    for (const name of own) assert.ok(says(pages.get('docs/training.md'), name), name);
  }
});

test.run();
trained.run();
