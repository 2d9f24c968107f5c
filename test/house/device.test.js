// A device in the hands of several, and of those who let go of it: memory that runs out at every allocation, workers, exits,
// arrays that are disposed of or are another device's.
import { fileURLToPath } from 'node:url';
import { lossAndGradient, matmul, openDevice, randomState, spectralProjections, structuredProducts } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { onDevice } from '../device.js';
import { refuses } from '../helpers.js';
import { startNode } from '../process.js';

const child = (name, ...args) => [fileURLToPath(new URL(`./children/${name}.js`, import.meta.url)), ...args];
const emulated = (gpu) => /emulated/.test(gpu.model);

onDevice(test, 'memory that runs out at any allocation of any function is told, and nothing is lost', async (gpu) => {
  if (!emulated(gpu)) return console.log('skipped: only an emulated device has as little memory as it is told');
  const { code, stdout, stderr } = await startNode(child('device-memory'), { env: { LAYERPEEL_EMULATED_MEMORY: `${1 << 20}` } })
    .ended;
  assert.is(code, 0, stderr);
  const refused = JSON.parse(stdout);
  for (const [name, count] of Object.entries(refused)) assert.ok(count > 0, name);
  assert.ok(Object.keys(refused).length >= 20, stdout);
});

onDevice(
  test,
  'one allocation that fails is made again; a device that cannot be opened for want of memory says so',
  async (gpu) => {
    if (!emulated(gpu)) return console.log('skipped: only on an emulated device an allocation fails when it is told to');
    const run = async (k) => {
      const { code, stdout, stderr } = await startNode(child('device-allocation'), {
        env: { LAYERPEEL_EMULATED_FAIL_MALLOC: `${k}` },
      }).ended;
      assert.is(code, 0, stderr);
      return JSON.parse(stdout);
    };
    const expected = await run(0);
    for (const k of [1, 2])
      assert.match(await run(k).then(({ code, message }) => `${code} ${message}`), /^LP_MEMORY .*cudaMallocHost/);
    for (let k = 3; k < 16; k++) assert.equal(await run(k), expected, `allocation ${k}`);
  },
);

for (const [way, expected] of Object.entries({ exit: 7, ends: 0, throws: 1, workers: 0, terminated: 0 })) {
  onDevice(test, `left in the middle of its work: ${way}`, async () => {
    const { code, signal, stderr } = await startNode(child('device-use', way)).ended;
    assert.is(code, expected, `${signal}\n${stderr}`);
    if (way === 'throws') assert.match(stderr, /out of the blue/);
    else assert.is(stderr, '');
  });
}

const plain = randomState({ classes: 3, perClass: 4, dim: 5, seed: 1 });
const put = async (gpu) => ({
  features: await gpu.put(plain.features),
  prototypes: await gpu.put(plain.prototypes),
  labels: plain.labels,
});
/** Every function that takes arrays of a device. */
const calls = {
  matmul: ({ features, prototypes }) => matmul(features, prototypes, { transposeB: true }),
  structuredProducts: (state) => structuredProducts(state, { gamma: 0.3 }),
  spectralProjections: (state) => spectralProjections(state),
  lossAndGradient: (state) => lossAndGradient({ kind: 'mse' }, state),
};

onDevice(test, 'arrays that were disposed of are named, whichever function has them', async (gpu) => {
  for (const part of ['features', 'prototypes']) {
    const state = await put(gpu);
    state[part].dispose();
    for (const [name, call] of Object.entries(calls))
      await refuses('LP_OPTION', /disposed of; put or compute it again/, () => call(state), name);
    const rest = state[part === 'features' ? 'prototypes' : 'features'];
    await refuses('LP_OPTION', /disposed of/, () => gpu.put(state[part]));
    rest.dispose();
  }
});

onDevice(test, 'an array that is disposed of while a function runs with it serves that function', async (gpu) => {
  for (const [name, call] of Object.entries(calls)) {
    const [kept, state] = [await put(gpu), await put(gpu)];
    const running = call(state);
    state.features.dispose();
    state.prototypes.dispose();
    const read = (result) => (result.read ? result : (result.features ?? result.plus1.features)).read();
    assert.equal(await read(await running), await read(await call(kept)), name);
  }
});

onDevice(test, 'arrays of a device that was closed, and of another than the rest, are refused by name', async (gpu) => {
  const before = await put(gpu);
  const running = calls.lossAndGradient(before);
  gpu.close();
  await running.then(
    () => {},
    ({ code }) => assert.is(code, 'LP_DEVICE'),
  );
  for (const [name, call] of Object.entries(calls)) await refuses('LP_DEVICE', /closed/, () => call(before), name);
  const again = await openDevice('cuda');
  assert.is(again.memory().held, 0);
  const after = await put(again);
  for (const part of ['features', 'prototypes']) {
    for (const [name, call] of Object.entries(calls)) {
      await refuses(
        'LP_DEVICE',
        /lies on cuda:0 and .* on cuda:0 as it was before it was closed/,
        () => call({ ...after, [part]: before[part] }),
        name,
      );
    }
  }
  for (const array of [before.features, before.prototypes]) array.dispose();
  assert.ok((await calls.lossAndGradient(after)).value > 0);
  again.close();
});

test.run();
