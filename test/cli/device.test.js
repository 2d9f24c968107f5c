// `--device` of the commands that have it: refused with a sentence where there is none of that name, before anything is computed or
// written; else what the CPU computes, to rounding, and noted where the run is.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomState, readNpy, writeNpy } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lack, onDevice } from '../device.js';
import { distance } from '../helpers.js';
import { run } from './run.js';

const { features, prototypes, labels } = randomState({ classes: 3, perClass: 5, dim: 4, seed: 2 });
const biases = { shape: [3], data: Float64Array.of(0.1, 0.2, -0.3) };
const iterated = {
  dynamics: 'projectedDescent',
  state: { features: 'h.npy', prototypes: 'w.npy', labels: 'y.npy' },
  problem: { loss: { kind: 'cross-entropy' }, constraints: { features: { kind: 'ball', radius: 2 } } },
  options: { learningRates: { features: 0.5, prototypes: 0.2 }, steps: 40 },
};
const exact = {
  dynamics: 'gradientFlow',
  state: { random: { classes: 3, perClass: 2, dim: 4 } },
  options: { gamma: 0.1, rates: { features: 1, prototypes: 1 } },
  times: [1],
};
const outputs = ['--features', 'h.npy', '--prototypes', 'w.npy', '--biases', 'b.npy', '--labels', 'y.npy', '--resamples', '0'];
const commands = {
  simulate: ['simulate', 'iterated.json'],
  evaluate: ['evaluate', ...outputs, '--train-features', 'h.npy', '--train-labels', 'y.npy', '--ood-features', 'w.npy'],
  reproduce: [
    'reproduce',
    'etf-minority',
    ...['learnable.steps=60', 'fixed.steps=30', 'energies=[1]', 'ratios=[1, 10]'].flatMap((each) => ['--set', each]),
  ],
};

let folder;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  for (const [name, array] of Object.entries({ h: features, w: prototypes, b: biases }))
    await writeNpy(join(folder, `${name}.npy`), array);
  await writeNpy(join(folder, 'y.npy'), { shape: [labels.length], data: labels });
  await writeFile(join(folder, 'iterated.json'), JSON.stringify(iterated));
  await writeFile(join(folder, 'exact.json'), JSON.stringify(exact));
});
test.after.each(() => rm(folder, { recursive: true }));

const ran = (args, out, env) => run([...args, '--out', out], { cwd: folder, env });
const json = async (...path) => JSON.parse(await readFile(join(folder, ...path), 'utf8'));

test('a device that is not there is refused with the reason, and nothing is left', async () => {
  for (const [name, args] of Object.entries(commands)) {
    const before = await readdir(folder);
    const { code, stderr } = await ran([...args, '--device', 'cuda:999'], 'out');
    assert.is(code, 1, name);
    assert.match(stderr, lack ? /CUDA|driver|device|GPU/ : /There is no device cuda:999/);
    assert.equal(await readdir(folder), before, name);
  }
});

test('names of no device, and what is never computed there, are wrong usage', async () => {
  for (const [args, message] of [
    [[...commands.simulate, '--device', 'cudo'], /--device is "cudo"; did you mean 'cuda'\?/],
    [[...commands.evaluate, '--device', 'gpu'], /--device is "gpu"; .*'auto', 'cpu', 'cuda'/],
    [[...commands.reproduce, '--device'], /--device needs a value/],
    [['simulate', 'exact.json', '--device', 'cuda'], /--device is cuda, but gradientFlow is computed on the CPU; leave it out/],
    [['measure', 'h.npy', '--labels', 'y.npy', '--device', 'cuda'], /There is no option --device/],
  ]) {
    const before = await readdir(folder);
    const { code, stderr } = await ran(args, 'out');
    assert.is(code, 2, args.join(' '));
    assert.match(stderr, message);
    assert.equal(await readdir(folder), before);
  }
});

test('auto keeps small work on the CPU, bit for bit, and is noted as any name is', async () => {
  for (const [name, args] of Object.entries(commands)) {
    for (const device of ['cpu', 'auto']) {
      const { code, stderr } = await ran([...args, '--device', device], device);
      assert.is(code, 0, `${name}: ${stderr}`);
      assert.is((await json(device, 'run.json')).device, device);
    }
    const read = (device) => readFile(join(folder, device, 'metrics.csv'), 'utf8');
    assert.is(await read('auto'), await read('cpu'), name);
    for (const device of ['cpu', 'auto']) await rm(join(folder, device), { recursive: true });
  }
  assert.is((await ran(['simulate', 'exact.json', '--device', 'auto'], 'exact')).code, 0);
  await ran(commands.simulate, 'environment', { LAYERPEEL_DEVICE: 'cpu' });
  assert.is((await json('environment', 'run.json')).device, 'cpu');
  await ran(commands.simulate, 'none', { LAYERPEEL_DEVICE: '' });
  assert.not('device' in (await json('none', 'run.json')));
});

onDevice(test, 'what runs there gives what the CPU gives, to rounding', async () => {
  for (const [name, args] of Object.entries(commands)) {
    for (const device of ['cpu', 'cuda']) {
      const { code, stderr } = await ran([...args, '--device', device], device);
      assert.is(code, 0, `${name}: ${stderr}`);
      assert.is((await json(device, 'run.json')).device, device);
    }
    const [there, here] = await Promise.all(
      ['cuda', 'cpu'].map(async (device) =>
        (await readFile(join(folder, device, 'metrics.csv'), 'utf8')).split(/[\r\n,]+/).map(Number),
      ),
    );
    const numbers = here.flatMap((x, i) => (Number.isFinite(x) ? [[there[i], x]] : []));
    assert.ok(numbers.length > 0, name);
    for (const [a, b] of numbers) assert.ok(Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(b)), `${name}: ${a} for ${b}`);
    if (name === 'simulate') {
      assert.is((await json('cuda', 'config.json')).options.device, 'cuda');
      const [a, b] = await Promise.all(['cuda', 'cpu'].map((device) => readNpy(join(folder, device, 'arrays/state-features.npy'))));
      assert.ok(distance(a.data, b.data) > 0, 'other bits: it was computed there');
    }
    for (const device of ['cpu', 'cuda']) await rm(join(folder, device), { recursive: true });
  }
});

onDevice(test, 'what a device does not have is refused where it was asked for', async () => {
  await writeFile(
    join(folder, 'batches.json'),
    JSON.stringify({ ...iterated, options: { ...iterated.options, batch: { size: 2 } } }),
  );
  const { code, stderr } = await ran(['simulate', 'batches.json', '--device', 'cuda'], 'out');
  assert.is(code, 1);
  assert.match(stderr, /config\.options\.device is "cuda", but a device has no .*batch/);
});

test.run();
