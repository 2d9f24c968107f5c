// `--set path=value`: the entry is as if it stood in the configuration, and is checked as there.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { helpOf } from '../../lib/cli/command.js';
import { command as reproduce } from '../../lib/cli/reproduce.js';
import { experiments } from '../../lib/experiments/index.js';
import { parameterRows } from '../../lib/experiments/parameters.js';
import { run } from './run.js';

let folder;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  await writeFile(join(folder, 'c.json'), JSON.stringify(flow));
});
test.after.each(() => rm(folder, { recursive: true }));

const flow = {
  dynamics: 'gradientFlow',
  state: { random: { classes: 3, perClass: 4, dim: 5 } },
  options: { gamma: 0.1, rates: { features: 1, prototypes: 1 } },
  times: [0, 1],
  measure: ['loss'],
  save: [],
};
const layerpeel = (...args) => run(args, { cwd: folder });
const configOf = async (name) => JSON.parse(await readFile(join(folder, name, 'config.json'), 'utf8'));

test('what is set is simulated as if it stood in the file, and kept', async () => {
  const settings = [
    'options.gamma=0.25',
    'times={"to":4,"count":3}',
    'state.random.seed=7',
    'measure[0]=accuracy',
    'dtype=float32',
  ];
  const { code, stderr } = await layerpeel('simulate', 'c.json', '--out', 'a', ...settings.flatMap((each) => ['--set', each]));
  assert.is(code, 0, stderr);
  const written = {
    ...flow,
    ...{ options: { ...flow.options, gamma: 0.25 }, times: { to: 4, count: 3 }, measure: ['accuracy'], dtype: 'float32' },
    state: { random: { ...flow.state.random, seed: 7 } },
  };
  assert.equal(await configOf('a'), written);
  await writeFile(join(folder, 'd.json'), JSON.stringify(written));
  assert.is((await layerpeel('simulate', 'd.json', '--out', 'b')).code, 0);
  assert.is(await readFile(join(folder, 'a/metrics.csv'), 'utf8'), await readFile(join(folder, 'b/metrics.csv'), 'utf8'));
});

test('unknown paths, wrong types and values out of range are refused as in the file, before anything is written', async () => {
  const cases = [
    ['options.gama=1', 1, /config\.options\.gama is not known; did you mean gamma\?/],
    ['option.gamma=1', 1, /config\.option is not known; did you mean options\?/],
    ['options.gamma=-1', 1, /config\.options\.gamma is -1; expected a finite number of at least 0/],
    ['options.gamma=much', 1, /config\.options\.gamma is "much"; expected a finite number/],
    ['options.gamma=', 1, /config\.options\.gamma is ""/],
    ['dynamics=gradientFlaw', 1, /config\.dynamics is "gradientFlaw"; did you mean 'gradientFlow'\?/],
    ['times[5]=1', 1, /config\.times has 2 entries/],
    ['options.gamma.x=1', 1, /config\.options\.gamma is 0\.1, which has no x/],
    ['options.gamma', 2, /--set options\.gamma sets nothing; expected --set PATH=VALUE/],
    ['=1', 2, /--set =1 sets nothing/],
  ];
  for (const [setting, exit, message] of cases) {
    const { code, stderr } = await layerpeel('simulate', 'c.json', '--out', 'r', '--set', setting);
    assert.is(code, exit, stderr);
    assert.match(stderr, message);
  }
  assert.is((await layerpeel('measure', 'h.npy', '--set', 'a=1')).code, 2);
  assert.ok(!(await readdir(folder)).includes('r'));
});

test('a training is told what is wrong with what is set, before libtorch is looked for', async () => {
  const config = { data: { kind: 'mnist', path: '.' }, model: { kind: 'mlp' }, loss: { kind: 'mse' }, epochs: 1 };
  await writeFile(join(folder, 't.json'), JSON.stringify(config));
  const { code, stderr } = await layerpeel('train', 't.json', '--set', 'optimizer.momentom=0.9');
  assert.is(code, 1);
  assert.match(stderr, /config\.optimizer\.momentom is not known; did you mean momentum\?/);
});

test('an experiment runs in another setting, by the names of its parameters or the letters of the paper', async () => {
  const set = ['--set', 'K=4', '--set', 'perClass=3', '--set', 'steps=20'];
  const { code, stderr } = await layerpeel('reproduce', 'etf-thm2', '--out', 'r', ...set);
  assert.is(code, 0, stderr);
  assert.equal(await configOf('r'), { classes: 4, perClass: 3, dim: 32, seed: 5, steps: 20 });
  const report = await readFile(join(folder, 'r/report.html'), 'utf8');
  assert.match(report, /Not the paper’s setting: <code>classes<\/code>, <code>perClass<\/code>, <code>steps<\/code> were set/);
  assert.match(report, /3 samples of each of 4 classes/);
});

test('parameters of experiments are checked by name, type and domain', async () => {
  const cases = [
    ['lp-fig2', 'clases=4', 1, /config\.clases is not known; did you mean classes\?/],
    ['lp-fig2', 'K=2', 1, /config\.classes is 2; expected an integer of at least 3/],
    ['lp-fig2', 'K=4.5', 1, /config\.classes is 4\.5; expected an integer/],
    ['fig5', 'γ=[]', 1, /config\.gammas is an empty list/],
    ['fig5', 'gammas[1]=-1', 1, /config\.gammas\[1\] is -1; expected a finite number of at least 0/],
    ['fig5', 'gammas=0.1', 1, /config\.gammas is 0\.1; expected a list/],
    ['lp-thm34', 'descent.momentum=1', 1, /config\.descent\.momentum is 1; expected .* below 1/],
    ['lp-thm34', 'shapes[0].clases=3', 1, /config\.shapes\[0\]\.clases is not known/],
    ['lp-fig2', 'flow=1', 1, /config\.flow is 1; expected an object with lastExponent/],
    ['etf-minority', 'majority=5', 1, /config\.majority is 5 of 6 classes/],
  ];
  for (const [id, setting, exit, message] of cases) {
    const { code, stderr } = await layerpeel('reproduce', id, '--set', setting);
    assert.is(code, exit, stderr);
    assert.match(stderr, message);
  }
  assert.match((await layerpeel('reproduce', '--set', 'K=4')).stderr, /ID is missing: --set is for one experiment/);
});

test('every parameter of every experiment is listed with its meaning and its default', () => {
  const all = helpOf(reproduce);
  for (const { id, config } of experiments) {
    const rows = parameterRows(config);
    assert.ok(rows.length > 2);
    for (const [name, value, meaning] of rows) {
      assert.ok(meaning.length > 2 && value.length > 0, `${id}: ${name}`);
      assert.ok(helpOf(reproduce, [id]).includes(meaning));
    }
    assert.match(all, new RegExp(`${id} +--set ${Object.keys(config).join(', ')}`));
  }
});

test.run();
