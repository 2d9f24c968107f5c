// Ways in which a device is left: the process exits or ends in the middle of its work, a worker with its own is terminated, two
// workers share it.
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { batchedDescent, lossAndGradient, matmul, openDevice, randomState } from 'layerpeel';
import * as assert from 'uvu/assert';

const plain = randomState({ classes: 3, perClass: 7, dim: 5, seed: 1 });
const problem = { loss: { kind: 'cross-entropy' }, state: plain };
const there = { device: 'cuda' };

/** Steps that nobody waits for the end of; resolves when they are being made. */
async function endless() {
  const options = { learningRates: { features: 0.1, prototypes: 0.1 }, steps: 1e9, ...there };
  await new Promise((resolve) => {
    (async () => {
      for await (const _ of batchedDescent([problem], { ...options, onProgress: resolve }));
    })();
  });
}

/** The loss of a state of this device, twenty times in a row. */
async function losses() {
  const gpu = await openDevice('cuda');
  const state = { ...plain, features: await gpu.put(plain.features), prototypes: await gpu.put(plain.prototypes) };
  const values = [];
  for (let i = 0; i < 20; i++) values.push((await lossAndGradient({ kind: 'cross-entropy' }, state)).value);
  return values;
}

const worker = (way) => new Worker(fileURLToPath(import.meta.url), { workerData: way });
const message = (from) =>
  new Promise((resolve, reject) => {
    from.once('message', resolve);
    from.once('error', reject);
  });

const ways = {
  async exit() {
    await endless();
    process.exit(7);
  },
  async ends() {
    const gpu = await openDevice('cuda');
    await gpu.put(plain.features); // is alive when the process ends, as is the product that nobody waits for
    matmul(plain.features, plain.features, { transposeB: true, ...there });
  },
  async throws() {
    await endless();
    throw new Error('out of the blue');
  },
  async workers() {
    const expected = (await lossAndGradient({ kind: 'cross-entropy' }, plain, { device: 'cpu' })).value;
    const all = await Promise.all([losses(), message(worker('losses')), message(worker('losses'))]);
    for (const value of all.flat()) assert.ok(Math.abs(value - expected) < 1e-13);
    for (const values of all) assert.equal(values, all[0]);
  },
  async terminated() {
    const gpu = await openDevice('cuda');
    const { free } = gpu.memory();
    const expected = await losses();
    for (let i = 0; i < 5; i++) {
      const other = worker('endless');
      await message(other);
      await other.terminate();
      assert.equal(await losses(), expected);
    }
    gpu.close();
    const again = await openDevice('cuda');
    assert.is(again.memory().held, 0);
    assert.is(again.memory().free, free);
  },
};
const works = {
  async endless() {
    await endless();
    parentPort.postMessage('running');
  },
  async losses() {
    parentPort.postMessage(await losses());
  },
};
await (isMainThread ? ways[process.argv[2]] : works[workerData])();
