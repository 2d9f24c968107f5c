// Calls, aborts, loops that are left, workers and trainings, round and round for some minutes: memory, open files and threads
// in the last third are what they were in the second. `npm run soak -- [--minutes 3]`; trainings where libtorch is installed. Linux.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import * as lp from 'layerpeel';
import { train } from 'layerpeel/torch';

const { values: options } = parseArgs({ options: { minutes: { type: 'string', default: '3' } } });
const state = lp.randomState({ classes: 10, perClass: 100, dim: 64 });
const problem = { loss: { kind: 'cross-entropy' }, state };
const rates = { features: 0.1, prototypes: 0.1 };
const ignore = (error) => {
  if (!['LP_ABORTED', 'LP_NOT_BUILT'].includes(error.code)) throw error;
};
const images = (count) => ({
  images: new Uint8Array(new SharedArrayBuffer(192 * count)).map((_, i) => (i * 7919) % 251),
  ...{
    shape: [count, 8, 8, 3],
    labels: Int32Array.from({ length: count }, (_, i) => i % 3),
    classes: ['a', 'b', 'c'],
    source: 'made',
  },
});
const network = {
  data: { train: images(60), test: images(30) },
  ...{ model: { kind: 'mlp', widths: [16] }, loss: { kind: 'cross-entropy' }, epochs: 2, batch: 20, threads: 1 },
  optimizer: { learningRate: 0.01 },
};

const kinds = {
  calls: async () => {
    await lp.collapse(state);
    await lp.matmul(state.features, state.prototypes, { transposeB: true });
    await (await lp.gradientFlow(state, { gamma: 0.1, rates })).measure([1, 2], ['loss', 'accuracy']);
  },
  descents: async () => {
    for await (const _ of lp.projectedDescent(problem, { learningRates: rates, steps: 20, snapshots: 5 }));
  },
  left: async () => {
    for await (const _ of lp.projectedDescent(problem, { learningRates: rates, steps: 1e6, snapshots: 5 })) break;
  },
  aborts: async () => {
    const signal = AbortSignal.timeout(5);
    await lp
      .crossEntropyFlow(state, { signal })
      .then((flow) => flow.at(1e9, { signal }))
      .catch(ignore);
    for await (const _ of train(network, { signal: AbortSignal.timeout(20) }));
  },
  workers: () =>
    new Promise((resolve, reject) => {
      const code = `import { collapse, randomState } from 'layerpeel'; await collapse(randomState({ classes: 3, perClass: 4, dim: 5 }));`;
      const worker = new Worker(
        new URL(`data:text/javascript,${encodeURIComponent(code.replace('layerpeel', import.meta.resolve('layerpeel')))}`),
      );
      worker.on('exit', resolve).on('error', reject);
    }),
  trainings: async () => {
    for await (const _ of train(network));
  },
};

function held() {
  globalThis.gc();
  const status = readFileSync('/proc/self/status', 'utf8');
  const of = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)[1]);
  return { megabytes: of('VmRSS') / 1024, threads: of('Threads'), files: readdirSync('/proc/self/fd').length };
}

const began = performance.now();
const length = 60_000 * Number(options.minutes);
const thirds = [[], [], []];
while (performance.now() < began + length) {
  for (const kind of Object.values(kinds)) await kind().catch(ignore);
  await new Promise((resolve) => setTimeout(resolve, 50)); // threads of workers go
  thirds[Math.min(2, Math.floor((3 * (performance.now() - began)) / length))].push(held());
}
const [, before, after] = thirds.map((samples) => ({
  megabytes: Math.max(...samples.map(({ megabytes }) => megabytes)),
  threads: Math.min(...samples.map(({ threads }) => threads)),
  files: Math.min(...samples.map(({ files }) => files)),
}));
console.log(`${thirds.flat().length} rounds`, { before, after });
assert.ok(after.megabytes <= 1.1 * before.megabytes + 16, 'memory grows');
assert.ok(after.threads <= before.threads, 'threads grow');
assert.ok(after.files <= before.files, 'open files grow');
