/**
 * The device's benchmarks: `npm run bench:gpu`, or `node bench/gpu.js [FILE.md]`. Arrays lie on the device; times are whole calls,
 * medians of one run; what is bound by memory is given as a share of the bandwidth at which the device copies, measured in the same
 * run, beyond its cache. On the emulated device sizes are tiny and times mean nothing.
 */
import { appendFileSync, writeFileSync } from 'node:fs';
import { matmul, openDevice, randomState, seededRandom, spectralProjections, structuredProducts } from 'layerpeel';
import { deviceReport } from '../lib/engine/place.js';

const { emulated, driver } = deviceReport();
const gpu = await openDevice('cuda');
const file = process.argv[2];
const scale = emulated ? 0.001 : 1;
const write = (line) => {
  console.log(line);
  if (file) appendFileSync(file, `${line}\n`);
};
if (file) writeFileSync(file, '');

/** Median milliseconds of a call; what it makes is disposed of. */
async function time(work, runs = emulated ? 1 : 9) {
  const times = [];
  for (let run = -1; run < runs; run++) {
    const began = performance.now();
    const made = await work();
    if (run >= 0 || runs === 1) times.push(performance.now() - began);
    dispose(made);
  }
  return times.sort((a, b) => a - b)[times.length >> 1];
}

function dispose(made) {
  if (typeof made?.dispose === 'function') made.dispose();
  else if (made && typeof made === 'object' && !ArrayBuffer.isView(made)) for (const part of Object.values(made)) dispose(part);
}

const random = seededRandom(1);
const floats = (...shape) => {
  const data = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
  for (let i = 0; i < data.length; i++) data[i] = random.uniform() - 0.5;
  return { shape, data };
};

write(`# ${gpu.model}`);
write('');
write(
  `${new Date().toISOString().slice(0, 10)}, compute capability ${gpu.capability}, driver for CUDA ${driver / 1000}${emulated ? ', EMULATED ON THE CPU: times mean nothing' : ''}.`,
);
write('');
write('| operation | ms | | of |');
write('|---|---|---|---|');

const side = Math.max(64, Math.round(20_000 * Math.sqrt(scale)));
const large = await gpu.put(floats(side, side));
const copied = await time(() => gpu.put(large));
const bandwidth = (2 * large.bytes) / copied / 1e6;
write(`| copy of ${(large.bytes / 1e6).toFixed(0)} MB | ${copied.toFixed(3)} | ${bandwidth.toFixed(0)} GB/s | |`);
large.dispose();

for (const [n, p, classes] of [
  [50_000, 512, 10],
  [1_000_000, 512, 100],
]) {
  const perClass = Math.max(2, Math.round((n * scale) / classes));
  const state = randomState({ classes, perClass, dim: p, seed: 1, dtype: 'float32' });
  const there = { features: await gpu.put(state.features), prototypes: await gpu.put(state.prototypes), labels: state.labels };
  const bytes = there.features.bytes;
  const report = (name, ms, passes) =>
    write(
      `| ${name} n ${classes * perClass}, p ${p}, C ${classes} | ${ms.toFixed(3)} | ${((passes * bytes) / ms / 1e6).toFixed(0)} GB/s | ${(((passes * bytes) / ms / 1e6 / bandwidth) * 100).toFixed(0)}% of copying |`,
    );
  report('structuredProducts', await time(() => structuredProducts(there, { gamma: 1 / (classes - 1) })), 2);
  report('spectralProjections', await time(() => spectralProjections(there)), 7);
  dispose(there);
}

for (const size of [1024, 4096, 8192]) {
  const side = emulated ? 64 : size;
  const [a, b] = [await gpu.put(floats(side, side)), await gpu.put(floats(side, side))];
  for (const precision of ['float32', 'tf32', 'bf16']) {
    const ms = await time(() => matmul(a, b, { precision }));
    write(`| matmul ${side}, ${precision} | ${ms.toFixed(3)} | ${((2 * side ** 3) / ms / 1e9).toFixed(1)} TFLOP/s | |`);
  }
  dispose([a, b]);
  if (emulated) break;
}
