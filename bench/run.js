/**
 * The benchmarks: `npm run bench [FILTER]`. Every figure is a median of one run, beside a peer of the same run (PyTorch,
 * NumPy or the BLAS called directly, in bench/.venv; `npm run bench:setup` makes it) or beside this machine's measured
 * ceilings, so that what is quoted is a ratio.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  batchedDescent,
  collapseSync,
  gradientDescent,
  iteratedDescentSync,
  matmulSync,
  projectedDescent,
  projectedDescentSync,
  randomState,
  seededRandom,
  simplexETF,
  spectralProjectionsSync,
  structuredProductsSync,
} from 'layerpeel';
import { Bench } from 'tinybench';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('..', import.meta.url));
const filter = process.argv[2] ?? '';
const python = `${here}.venv/bin/python`;
const hasPeers = existsSync(python);
const threads = process.env.LAYERPEEL_THREADS ?? '2';
const setting = { classes: 100, perClass: 10, dim: 512 };
const gamma = 1 / 99;
const rate = 0.1;
const learningRates = { features: rate, prototypes: rate };
const rows = [];

/** Median seconds of a function, and the spread between the quartiles as a share of it. */
async function median(work, { iterations = 7, warmup = 1 } = {}) {
  const bench = new Bench({ iterations, time: 0, warmupIterations: warmup, warmupTime: 0 });
  bench.add('work', work);
  await bench.run();
  const { result } = bench.tasks[0];
  if (result.error) throw result.error;
  const { p50, p75, p25 = result.latency.min } = result.latency;
  return { seconds: p50 / 1000, spread: (p75 - p25) / p50 };
}

function peer(item, options = {}) {
  if (!hasPeers) return undefined;
  return JSON.parse(
    execFileSync(python, [`${here}peer.py`, item, JSON.stringify(options)], {
      env: { ...process.env, LAYERPEEL_THREADS: threads },
    }),
  );
}

function row(work, ours, against, ratio, bar, met) {
  rows.push({ work, ours, against, ratio, bar, verdict: met === undefined ? '–' : met ? 'met' : 'missed' });
  console.error(`${work}: ${ours}; ${against}; ${ratio} (bar ${bar})`);
}

function shuffle(labels) {
  const random = seededRandom(1);
  for (let i = labels.length - 1; i > 0; i--) {
    const j = Math.floor(random.uniform() * (i + 1));
    [labels[i], labels[j]] = [labels[j], labels[i]];
  }
}

const show = (seconds) =>
  seconds >= 1
    ? `${seconds.toFixed(2)} s`
    : seconds >= 1e-3
      ? `${(1e3 * seconds).toPrecision(3)} ms`
      : `${(1e6 * seconds).toPrecision(3)} µs`;
const times = (x) => `${x >= 100 ? Math.round(x).toLocaleString('en') : x.toFixed(2)} ×`;
const share = (x) => `${(100 * x).toFixed(0)} %`;

let measured;
/** Bandwidth and rate of products of this machine, of this run. */
function ceilings() {
  measured ??= JSON.parse(execFileSync(`${root}build/bench/ceilings`, { env: { ...process.env, LAYERPEEL_THREADS: threads } }));
  return measured;
}

const suites = {
  async 'exact descent'() {
    const state = randomState(setting);
    const last = 100_000;
    const every = Float64Array.from({ length: last + 1 }, (_, k) => k);
    const hundredth = every.filter((k) => k % 100 === 0);
    const exact = await median(async () => {
      const trajectory = await gradientDescent(state, { gamma, learningRates });
      await trajectory.measure(every, ['loss', 'logNorm', 'distanceToLimit']);
      await trajectory.measure(hundredth, ['accuracy']);
      trajectory.dispose();
    });
    const torch = peer('autograd', { steps: 300, gamma, rate, classes: 100, per_class: 10, dim: 512 });
    const ratio = torch && (torch.seconds * last) / exact.seconds;
    row(
      'exact descent, 100 000 steps, all measured',
      show(exact.seconds),
      torch ? `PyTorch autograd ${show(torch.seconds * last)} (300 steps timed, scaled)` : 'no peer',
      ratio ? times(ratio) : '–',
      '≥ 10 000 ×, < 1 s',
      ratio === undefined ? undefined : ratio >= 10_000 && exact.seconds < 1,
    );
  },

  async 'state at a time'() {
    const state = randomState(setting);
    const trajectory = await gradientDescent(state, { gamma, learningRates });
    let step = 0;
    const at = await median(() => trajectory.atSync(1000 + (step++ % 50)), { iterations: 200, warmup: 20 });
    const result = trajectory.atSync(1000);
    const copy = await median(() => [result.features.data.slice(), result.prototypes.data.slice()], {
      iterations: 200,
      warmup: 20,
    });
    const ratio = at.seconds / copy.seconds;
    row('at(t), the same size', show(at.seconds), `copying its result ${show(copy.seconds)}`, times(ratio), '≤ 3 ×', ratio <= 3);
  },

  async 'iterated step'() {
    for (const [perClass, ordered] of [
      [10, true],
      [10, false],
      [1000, true],
      [1000, false],
    ]) {
      const state = randomState({ ...setting, perClass, dtype: 'float32' });
      if (!ordered) shuffle(state.labels);
      const steps = perClass === 10 ? 2000 : 40;
      const ours = await median(() => iteratedDescentSync(state, { gamma, learningRates, steps }), { iterations: 5 });
      const seconds = ours.seconds / steps;
      const best = peer('step', { gamma, rate, classes: 100, per_class: perClass, dim: 512, ordered });
      const ratio = best && best.seconds / seconds;
      row(
        `fused step, float32, n = ${perClass * 100}, samples ${ordered ? 'ordered by class' : 'in any order'}`,
        show(seconds),
        best ? `${best.best} ${show(best.seconds)}` : 'no peer',
        ratio ? times(ratio) : '–',
        '≥ 3 ×',
        ratio && ratio >= 3,
      );
    }
  },

  async losses() {
    const { copyGBs, float32Gflops } = ceilings();
    const dim = 512;
    // The time of one of many steps: what a run costs beyond its first step.
    const stepOf = async (problem, learningRates, steps, iterations) => {
      const take = (count) =>
        median(() => Array.from(projectedDescentSync(problem, { learningRates, steps: count })), { iterations });
      const [one, many] = [await take(1), await take(1 + steps)];
      return (many.seconds - one.seconds) / steps;
    };
    for (const [classes, samples, steps, bar] of [
      [100, 1000, 100, undefined],
      [1000, 10_000, 4, 0.8],
      [10_000, 20_000, 1, 0.8],
    ]) {
      const state = randomState({ classes, perClass: samples / classes, dim, dtype: 'float32' });
      const seconds = await stepOf(
        { loss: { kind: 'cross-entropy' }, state },
        { features: 1, prototypes: 1 },
        steps,
        samples > 10_000 ? 3 : 7,
      );
      const work = `cross-entropy step, float32, C = ${classes}, n = ${samples}, p = ${dim}`;
      const torch = peer('cross_entropy_step', { classes, per_class: samples / classes, dim });
      for (const [name, theirs, wanted] of torch
        ? [
            ['PyTorch eager', torch.eager, 2],
            ['torch.compile', torch.compiled, 1.2],
          ]
        : [['no peer', undefined, 2]]) {
        const ratio = theirs && theirs / seconds;
        row(
          work,
          show(seconds),
          theirs ? `${name} ${show(theirs)}` : name,
          ratio ? times(ratio) : '–',
          `≥ ${wanted} ×`,
          ratio && ratio >= wanted,
        );
      }
      if (bar === undefined) continue;
      const bound = (6 * samples * classes * dim) / float32Gflops / 1e9;
      row(work, show(seconds), `at GEMM peak ${show(bound)}`, share(bound / seconds), '≥ 80 %', bound / seconds >= bar);
    }
    // Softmax weights below the normal range: the same step where logits of a sample differ by hundreds.
    for (const [classes, samples, steps] of [
      [100, 1000, 100],
      [300, 3000, 30],
    ]) {
      const from = (scale) => {
        const state = randomState({ classes, perClass: samples / classes, dim, dtype: 'float32', scale });
        return stepOf({ loss: { kind: 'cross-entropy' }, state }, { features: 1e-6, prototypes: 1e-6 }, steps, 7);
      };
      const [far, near] = [await from(1.5), await from(0.1)];
      row(
        `cross-entropy step, float32, C = ${classes}, n = ${samples}, margins beyond 100`,
        show(far),
        `margins about 0 ${show(near)}`,
        times(near / far),
        '≥ 0.8 ×',
        near / far >= 0.8,
      );
    }
    // What a run needs beyond its start, in a process of its own.
    const growth = execFileSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { readFileSync } from 'node:fs';
         import { projectedDescentSync, randomState } from 'layerpeel';
         // What the system says; what Node.js says includes the process that started it.
         const peak = () => 1024 * Number(/VmHWM:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
         const state = randomState({ classes: 10_000, perClass: 2, dim: ${dim}, dtype: 'float32' });
         const before = peak();
         const options = { learningRates: { features: 1, prototypes: 1 }, steps: 1 };
         for (const _ of projectedDescentSync({ loss: { kind: 'cross-entropy' }, state }, options));
         console.log(peak() - before);`,
      ],
      { cwd: root },
    );
    const [peak, whole] = [Number(growth), 4 * 20_000 * 10_000];
    row(
      'peak memory of a run, C = 10000, n = 20000',
      `${(peak / 1e6).toFixed(0)} MB`,
      `one matrix of logits ${whole / 1e6} MB`,
      times(peak / whole),
      '< 1 ×',
      peak < whole,
    );
    const [classes, samples] = [100, 100_000];
    const state = randomState({ classes, perClass: samples / classes, dim, dtype: 'float32' });
    const frame = { ...state, prototypes: simplexETF(classes, dim, { dtype: 'float32' }) };
    const moves = { prototypes: false };
    for (const [name, problem] of [
      ['dot regression step', { loss: { kind: 'dot-regression' }, constraints: { features: { kind: 'ball', radius: 1 } } }],
      ['spherical step', { loss: { kind: 'unhinged', gamma: 0.01 }, normalizeFeatures: true }],
    ]) {
      const seconds = await stepOf({ ...problem, state: frame, moves, reduction: 'sum' }, { features: 0.01 }, 60, 7);
      // Features read and written once; a copy moves as many bytes.
      const bound = (2 * state.features.data.byteLength) / copyGBs / 1e9;
      row(
        `${name}, float32, n = ${samples}, p = ${dim}, prototypes fixed`,
        show(seconds),
        `at bandwidth ${show(bound)}`,
        share(bound / seconds),
        '≥ 60 %',
        bound / seconds >= 0.6,
      );
    }
  },

  async 'small problems'() {
    const finish = async (snapshots) => {
      for await (const _ of snapshots);
    };
    const loss = { kind: 'cross-entropy' };
    for (const dtype of ['float64', 'float32']) {
      const [steps, shape] = [100_000, { classes: 5, perClass: 10, dim: 20 }];
      const state = randomState({ ...shape, dtype });
      const ours = await median(() =>
        finish(projectedDescent({ loss, state }, { learningRates: { features: 5, prototypes: 5 }, steps })),
      );
      const torch = peer('layer_peeled', { classes: 5, per_class: 10, dim: 20, rate: 5, dtype });
      const ratio = torch && (torch.seconds * steps) / ours.seconds;
      row(
        `LP Fig. 2, C = 5, n = 50, p = 20, 100 000 steps, ${dtype}`,
        show(ours.seconds),
        torch ? `PyTorch eager ${show(torch.seconds * steps)} (1 000 steps timed, scaled)` : 'no peer',
        ratio ? times(ratio) : '–',
        '≥ 50 ×',
        ratio && ratio >= 50,
      );
    }
    const [runs, steps, rate] = [1000, 3000, 1];
    const problems = Array.from({ length: runs }, (_, seed) => ({
      loss,
      state: randomState({ classes: 10, perClass: 10, dim: 32, dtype: 'float32', seed }),
    }));
    const ours = await median(
      () => finish(batchedDescent(problems, { learningRates: { features: rate, prototypes: rate }, steps })),
      { iterations: 5 },
    );
    const seconds = ours.seconds / steps;
    const torch = peer('many_runs', { runs, classes: 10, per_class: 10, dim: 32, rate });
    for (const [name, theirs, bar] of [
      ['PyTorch eager, one by one (one run timed, scaled)', torch && torch.one * runs, 100],
      [torch && `PyTorch ${torch.best}`, torch?.seconds, 5],
    ]) {
      const ratio = torch && theirs / seconds;
      row(
        '1 000 runs of C = 10, n = 100, p = 32, float32, a step of each',
        show(seconds),
        torch ? `${name} ${show(theirs)}` : 'no peer',
        ratio ? times(ratio) : '–',
        `≥ ${bar} ×`,
        ratio && ratio >= bar,
      );
    }
  },

  async matmul() {
    for (const Type of [Float32Array, Float64Array]) {
      const dtype = Type === Float32Array ? 'float32' : 'float64';
      for (const n of [256, 512, 1024, 2048]) {
        const filled = () => ({ shape: [n, n], data: new Type(n * n).fill(1) });
        const [a, b, out] = [filled(), filled(), filled()];
        const ours = await median(() => matmulSync(a, b, { out }), { iterations: n <= 512 ? 200 : 9, warmup: 3 });
        const blas = peer('matmul', { n, dtype });
        const ratio = blas && blas.seconds / ours.seconds;
        row(
          `matmul ${n}, ${dtype}`,
          `${((2 * n ** 3) / ours.seconds / 1e9).toFixed(0)} GFLOP/s`,
          blas ? `BLAS called directly ${((2 * n ** 3) / blas.seconds / 1e9).toFixed(0)} GFLOP/s` : 'no peer',
          ratio ? times(ratio) : '–',
          '≥ 0.95 ×',
          ratio && ratio >= 0.95,
        );
      }
    }
  },

  async 'batched matmul'() {
    for (const n of [32, 64, 128]) {
      const stack = () => ({ shape: [1000, n, n], data: new Float32Array(1000 * n * n).fill(1) });
      const [a, b, out] = [stack(), stack(), stack()];
      const single = (x, i) => ({ shape: [n, n], data: x.data.subarray(i * n * n, (i + 1) * n * n) });
      const singles = Array.from({ length: 1000 }, (_, i) => [single(a, i), single(b, i), single(out, i)]);
      const batched = await median(() => matmulSync(a, b, { out }), { iterations: 15 });
      const loop = await median(
        () => {
          for (const [x, y, z] of singles) matmulSync(x, y, { out: z });
        },
        { iterations: 15 },
      );
      const ratio = loop.seconds / batched.seconds;
      row(
        `1 000 products ${n} × ${n}, float32`,
        show(batched.seconds),
        `loop of single calls ${show(loop.seconds)}`,
        times(ratio),
        '≥ 2 ×',
        ratio >= 2,
      );
    }
  },

  async 'large states'() {
    const [n, p] = [200_000, 512];
    const { copyGBs, readGBs, float32Gflops } = ceilings();
    for (const classes of [10, 100]) {
      const state = randomState({ classes, perClass: n / classes, dim: p, dtype: 'float32' });
      const bytes = state.features.data.byteLength;
      const ours = await median(() => collapseSync(state), { iterations: 5 });
      // The least that must be done: the features read twice (means, then deviations), two products with [C, p].
      const memory = (2 * bytes) / readGBs / 1e9;
      const products = (4 * n * p * classes) / float32Gflops / 1e9;
      const [bound, name] = memory > products ? [memory, 'bandwidth'] : [products, 'GEMM peak'];
      row(
        `collapse, n = 200 000, p = 512, C = ${classes}`,
        show(ours.seconds),
        `at ${name} ${show(bound)}`,
        share(bound / ours.seconds),
        '≥ 60 %',
        bound / ours.seconds >= 0.6,
      );
    }
    const state = randomState({ classes: 100, perClass: n / 100, dim: p, dtype: 'float32' });
    let [parts, products] = [];
    for (const [name, passes, work] of [
      // Features read once for their class sums and once for the rest; five results written.
      ['spectralProjections', 7, () => spectralProjectionsSync(state)],
      ['spectralProjections into `out`', 7, () => (parts = spectralProjectionsSync(state, { out: parts }))],
      // Features read once, one result written.
      ['structuredProducts', 2, () => structuredProductsSync(state, { gamma })],
      ['structuredProducts into `out`', 2, () => (products = structuredProductsSync(state, { gamma, out: products }))],
    ]) {
      const ours = await median(work, { iterations: 5 });
      const bound = (passes * state.features.data.byteLength) / copyGBs / 1e9;
      row(
        `${name}, n = 200 000, p = 512`,
        show(ours.seconds),
        `at bandwidth ${show(bound)}`,
        share(bound / ours.seconds),
        '≥ 60 %',
        bound / ours.seconds >= 0.6,
      );
    }
  },

  async training() {
    const torch = await import('layerpeel/torch');
    if (!torch.torchState().usable) {
      console.error(`training: left out, since libtorch is ${torch.torchState().statement}`);
      return;
    }
    const batch = 128;
    for (const [model, images] of [
      ['resnet20', 6400],
      ['resnet18', 1280],
    ]) {
      const ours = JSON.parse(
        execFileSync(process.execPath, [`${here}training.js`, JSON.stringify({ model, images, batch })], {
          env: { ...process.env, LAYERPEEL_THREADS: threads },
        }),
      );
      const perSecond = (rate) => `${rate.toPrecision(3)} images/s`;
      const against = (name, rate, theirs, bar) =>
        row(
          `${model}, batch ${batch}, float32, ${name}`,
          perSecond(rate),
          theirs ? `PyTorch, ${theirs.layout} ${perSecond(theirs.rate)}` : 'no peer',
          theirs ? times(rate / theirs.rate) : '–',
          `≥ ${bar} ×`,
          theirs && rate / theirs.rate >= bar,
        );
      if (model === 'resnet20') {
        const far = JSON.parse(
          execFileSync(process.execPath, [`${here}training.js`, JSON.stringify({ model, images, batch, scale: 300 })], {
            env: { ...process.env, LAYERPEEL_THREADS: threads },
          }),
        );
        row(
          `${model}, batch ${batch}, float32, training step, margins beyond 100`,
          perSecond(far.step),
          `small margins ${perSecond(ours.step)}`,
          times(far.step / ours.step),
          '≥ 0.9 ×',
          far.step / ours.step >= 0.9,
        );
      }
      let least;
      for (const layout of ['contiguous', 'channels last']) {
        const theirs =
          hasPeers &&
          JSON.parse(
            execFileSync(python, [`${here}training.py`, JSON.stringify({ model, steps: 20, images, batch, layout })], {
              env: { ...process.env, LAYERPEEL_THREADS: threads },
            }),
          );
        against('training step', ours.step, theirs && { layout, rate: theirs.step }, 1);
        against('whole epoch', ours.epoch, theirs && { layout, rate: theirs.epoch }, 1.3);
        least = theirs && Math.min(least ?? theirs.peak, theirs.peak);
      }
      row(
        `${model}, peak memory of training`,
        `${(ours.peak / 1e6).toFixed(0)} MB`,
        least ? `PyTorch ${(least / 1e6).toFixed(0)} MB` : 'no peer',
        least ? times(ours.peak / least) : '–',
        '≤ 1 ×',
        least && ours.peak <= least,
      );
      row(
        `${model}, collapse measured after an epoch`,
        `${show(ours.measuring)}, of it the network's forward pass ${show(ours.forward)}`,
        `an epoch ${show(ours.seconds)}`,
        share(ours.measuring / ours.seconds),
        '≤ 10 %',
        ours.measuring <= 0.1 * ours.seconds,
      );
    }
  },

  async package() {
    const code = "const t = performance.now(); await import('layerpeel'); console.log(performance.now() - t)";
    const runs = Array.from({ length: 9 }, () =>
      Number(execFileSync(process.execPath, ['--input-type=module', '-e', code], { cwd: root })),
    );
    const time = runs.sort((x, y) => x - y)[4];
    row("import 'layerpeel'", `${time.toFixed(0)} ms`, '–', '–', '≤ 60 ms', time <= 60);
    const tarball = readdirSync(root).find((file) => /^layerpeel-.*\.tgz$/.test(file));
    if (tarball) {
      const size = statSync(`${root}${tarball}`).size / 1e6;
      row('packed package', `${size.toFixed(1)} MB`, '–', '–', '≤ 25 MB', size <= 25);
    } else {
      console.error('packed package: none here; npm run prebuild && npm pack makes it');
    }
  },
};

if (!hasPeers)
  console.error('No peers: npm run bench:setup makes bench/.venv with PyTorch, NumPy and OpenBLAS. Ratios to them are left out.');
const build = spawnSync('cmake', ['-S', root, '-B', `${root}build/bench`, '-DLAYERPEEL_BENCH=ON', '-DLAYERPEEL_ADDON=OFF'], {
  encoding: 'utf8',
});
if (build.status === 0) spawnSync('cmake', ['--build', `${root}build/bench`, '--target', 'ceilings', '-j2'], { stdio: 'ignore' });
for (const [name, suite] of Object.entries(suites)) if (name.includes(filter)) await suite();
const { readGBs, copyGBs, float32Gflops, float64Gflops } = ceilings();
console.log(
  `Ceilings (${threads} threads): reading ${readGBs} GB/s, copying ${copyGBs} GB/s, products ${float32Gflops} (float32) and ${float64Gflops} GFLOP/s (float64)\n`,
);
console.log('| work | ours | beside it | ratio | bar | |\n|---|---|---|---|---|---|');
for (const { work, ours, against, ratio, bar, verdict } of rows)
  console.log(`| ${work} | ${ours} | ${against} | ${ratio} | ${bar} | ${verdict} |`);
