/**
 * LP Theorems 3.1 and 3.2: the smallest margin of a state is at most (‖W‖² + ‖H‖²)/(2(K−1)√N), attained at neural collapse
 * with ‖W‖ = ‖H‖ alone; and along the gradient flow, once the samples are separated, the smoothed margin never falls, the loss
 * falls like 1/t, and the state comes ever closer to a KKT point of the minimum-norm separation problem.
 *
 * What the flow does in the end follows from collapse being where it ends: there L = n(K−1) e^{−q} with q = ρ²/b, b = 2(K−1)√N,
 * so that d(1/L)/dt = ‖∇L‖²/L² = 4ρ²/b², whence L t = b/(4q) (1 + O(1/q)).
 */

import { seededRandom } from '../array/random.js';
import { crossEntropyFlow } from '../dynamics/cross-entropy.js';
import { kktCertificate, margins } from '../losses/margins.js';
import { lineChart } from '../report/figure.js';
import { formatNumber } from '../report/ticks.js';
import { randomState } from '../state/random-state.js';
import { collapsed } from './collapsed.js';
import type { Experiment, ExperimentContext, Findings } from './experiment.js';
import { course, last, slope, states, vanishes, within } from './fit.js';

const config = {
  ...{ classes: 5, perClass: 10, dim: 20, scale: 0.3, seed: 1 },
  sizes: Array.from({ length: 26 }, (_, k) => 10 ** ((k - 25) / 5)),
  each: 8,
  flow: { lastExponent: 288 },
};
type Config = typeof config;

/** ‖H‖/‖W‖ of collapse. */
const ratios = Array.from({ length: 41 }, (_, k) => 10 ** ((k - 20) / 20));
/** Of ten: evenly spaced on the logarithmic axis of log t. */
const exponentsOf = ({ flow }: Config): number[] => Array.from({ length: 145 }, (_, k) => flow.lastExponent ** (k / 144));

const brief = (x: number) => Number(x.toPrecision(4));

/** Collapse with ‖H‖/‖W‖ of every ratio, and collapse that has been moved by noise of every size. */
async function bound({ signal, folder, progress }: ExperimentContext, { classes, perClass, dim, seed, sizes, each }: Config) {
  const attained: number[] = [];
  for (const ratio of ratios) {
    const { smallest, bound } = await margins(collapsed({ classes, perClass, dim, square: 1, ratio }), { signal });
    attained.push(smallest / (bound as number));
  }
  const random = seededRandom(seed);
  const noisy = { size: [] as number[], gap: [] as number[] };
  for (const size of sizes) {
    progress(0.2, `noise of ${formatNumber(size, 1)}`);
    for (let k = 0; k < each; k++) {
      const state = collapsed({ classes, perClass, dim, square: 2 });
      for (const { data } of [state.features, state.prototypes]) {
        const noise = size / Math.sqrt(data.length); // of norm `size`, each part being of norm 1
        for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + noise * random.normal();
      }
      const { gap, bound } = await margins(state, { signal });
      noisy.size.push(size);
      noisy.gap.push((gap as number) / (bound as number));
    }
  }
  await folder.metrics({ ratio: ratios, attained }, 'ratios');
  await folder.metrics(noisy, 'noise');
  const stated = ratios.map((ratio) => (2 * ratio) / (1 + ratio ** 2));
  const figures = [
    await folder.figure(
      'ratios',
      lineChart({
        title: 'Margin at collapse over its bound',
        x: { title: '‖H‖/‖W‖', scale: 'log' },
        y: { title: 'q_{min}/bound' },
        series: [
          { name: 'measured', x: ratios, y: attained, mark: 'points' },
          { name: '2r/(1 + r²)', x: ratios, y: stated },
        ],
      }),
      'Collapse attains the bound where the norms of features and prototypes agree, and only there.',
    ),
    await folder.figure(
      'noise',
      lineChart({
        title: 'Gap of states near collapse',
        x: { title: 'norm of the noise over the norm of the state', scale: 'log' },
        y: { title: '1 − q_{min}/bound', scale: 'log' },
        series: [{ x: noisy.size, y: noisy.gap, mark: 'points' }],
      }),
      'The margin, a smallest one, falls with the first power of the distance: the maximum is a sharp one.',
    ),
  ];
  const rounding = dim * Number.EPSILON; // of an inner product
  return {
    figures,
    verdicts: [
      vanishes(
        'The bound is attained at collapse with ‖W‖ = ‖H‖ (Theorem 3.1), gap over bound',
        1 - (attained[ratios.indexOf(1)] as number),
        rounding,
      ),
      vanishes(
        'Collapse with other norms attains 2r/(1 + r²) of it, r = ‖H‖/‖W‖, largest difference',
        Math.max(...attained.map((share, k) => Math.abs(share - (stated[k] as number)))),
        rounding,
      ),
      states(
        `The bound is strict elsewhere: ${noisy.gap.length} states near collapse, smallest gap over the size of the noise`,
        '> 0',
        brief(Math.min(...noisy.gap.map((gap, k) => gap / (noisy.size[k] as number)))),
        noisy.gap.every((gap) => gap > 0),
      ),
    ],
  };
}

/** The flow: margins, loss and certificates at t = 10^exponent. */
async function follow({ signal, folder, progress }: ExperimentContext, config: Config) {
  const { sizes: _, each: __, flow: ___, ...setting } = config;
  const exponents = exponentsOf(config);
  const time = exponents.map((exponent) => 10 ** exponent);
  using flow = await crossEntropyFlow(randomState(setting), { reduction: 'sum', signal });
  const measured = await flow.measure(time, ['logAbsLoss', 'smoothedMargin', 'normalizedMargin', 'logNorm'], { signal });
  const certified: { at: number; gap: number; stationarity: number; epsilon: number; complementarity: number; delta: number }[] =
    [];
  for (const [at, t] of time.entries()) {
    progress(0.3 + (0.7 * at) / time.length, `t = 10^${Math.round(exponents[at] as number)}`);
    if (Number.isNaN(measured.smoothedMargin[at] as number)) continue; // not yet separated: L ≥ log 2
    const now = await flow.at(t, { signal });
    const { gap, bound } = await margins(now, { signal });
    certified.push({ at, gap: (gap as number) / (bound as number), ...(await kktCertificate(now, { signal })) });
  }
  const of = (name: keyof (typeof certified)[number]) => certified.map((each) => each[name]);
  const at = of('at');
  const pick = (column: Float64Array) => at.map((k) => column[k] as number);
  const columns = {
    logTime: at.map((k) => (exponents[k] as number) * Math.LN10),
    logLoss: pick(measured.logAbsLoss),
    smoothed: pick(measured.smoothedMargin),
    normalized: pick(measured.normalizedMargin),
    square: pick(measured.logNorm).map((log) => Math.exp(2 * log)),
    gap: of('gap'),
    stationarity: of('stationarity'),
    epsilon: of('epsilon'),
    complementarity: of('complementarity'),
    delta: of('delta'),
  };
  await folder.metrics(columns);
  return { columns, error: await flow.errorAt(last(time), { signal }) };
}

export const experiment: Experiment<Config> = {
  id: 'lp-thm31',
  title: 'the margin, its bound, and the way there',
  source: 'LP Theorems 3.1, 3.2',
  summary: 'The bound at and near collapse; smoothed margin, rate of the loss and KKT certificates along the flow to t = 10²⁸⁸',
  config,
  async run(context, config): Promise<Findings> {
    const { classes, perClass, dim } = config;
    const samples = classes * perClass;
    const { figures, verdicts } = await bound(context, config);
    const { columns, error } = await follow(context, config);
    const { folder } = context;
    const { logTime, logLoss, smoothed, normalized, square, gap } = columns;
    // γ̃ρ² ≤ q, and e^L − 1 ≤ e^X − 1 with X = n(K−1) e^{−q} bounds it from below.
    const floor = normalized.map((share, k) => {
      const q = share * (square[k] as number);
      const x = samples * (classes - 1) * Math.exp(-q);
      return -(x > 1e-8 ? Math.log(Math.expm1(x)) : Math.log(samples * (classes - 1)) - q + x / 2) / (square[k] as number);
    });
    const fell = smoothed.filter((value, k) => k > 0 && value < (smoothed[k - 1] as number)).length;
    const outside = smoothed.filter((value, k) => {
      const rounding = 1e-14 * Math.abs(value);
      return value > (normalized[k] as number) + rounding || value < (floor[k] as number) - rounding;
    }).length;
    const b = 2 * (classes - 1) * Math.sqrt(perClass);
    // L t 4q/b, with q = log(n(K−1)/L).
    const rate = logLoss.map(
      (log, k) => Math.exp(log + (logTime[k] as number)) * (4 / b) * (Math.log(samples * (classes - 1)) - log),
    );
    const bounded = columns.stationarity.every(
      (value, k) =>
        value <= (columns.epsilon[k] as number) && (columns.complementarity[k] as number) <= (columns.delta[k] as number),
    );
    const late = (y: number[]) => slope(logTime.map(Math.log), y.map(Math.log), (x) => x > Math.log(100 * Math.LN10));
    const q = last(normalized) * last(square);
    const marginFigures = [
      await folder.figure(
        'margins',
        lineChart({
          title: 'Margins over the squared norm',
          x: { title: 'log t', scale: 'log' },
          y: { title: '·/(‖W‖² + ‖H‖²)' },
          series: [
            { name: 'q_{min}', x: logTime, y: normalized },
            { name: 'smoothed margin γ̃', x: logTime, y: smoothed },
          ],
          rules: [{ y: 1 / b, label: '1/(2(K−1)√N)' }],
        }),
        'From the first time with L < log 2 on. The smoothed margin only grows, the margin lies above it, the bound above both.',
      ),
      await folder.figure(
        'gap',
        lineChart({
          title: 'How far the margin is below its bound',
          x: { title: 'log t', scale: 'log' },
          y: { title: '1 − q_{min}/bound', scale: 'log' },
          series: [{ x: logTime, y: gap }],
        }),
        'In the end like 1/log t, a line of slope −1.',
      ),
      await folder.figure(
        'loss',
        lineChart({
          title: 'L t over what collapse makes of it',
          x: { title: 'log t', scale: 'log' },
          y: { title: 'L t · 4q/b' },
          series: [{ x: logTime, y: rate }],
          rules: [{ y: 1 }],
        }),
        'q = log(n(K−1)/L), b = 2(K−1)√N.',
      ),
    ];
    const kktFigures = [
      await folder.figure(
        'stationarity',
        lineChart({
          title: 'Stationarity',
          x: { title: 'log t', scale: 'log' },
          y: { title: '‖θ − Σ λ ∇s‖', scale: 'log' },
          series: [
            { name: 'measured', x: logTime, y: columns.stationarity },
            { name: 'ε of Lemma B.1', x: logTime, y: columns.epsilon },
          ],
        }),
        'Of θ/√q_{min}, with multipliers from the softmax weights.',
      ),
      await folder.figure(
        'complementarity',
        lineChart({
          title: 'Complementarity',
          x: { title: 'log t', scale: 'log' },
          y: { title: 'Σ λ (s − 1)', scale: 'log' },
          series: [
            { name: 'measured', x: logTime, y: columns.complementarity },
            { name: 'δ of Lemma B.1', x: logTime, y: columns.delta },
          ],
        }),
        'The bound is a worst case over all samples and classes; at collapse all constraints are met with equality.',
      ),
    ];
    // Rates in log t stand for rates in q = log t + log log t + O(1).
    const crossover = Math.log(100 * Math.LN10) / (100 * Math.LN10);
    return {
      lead:
        `K = ${classes} classes of N = ${perClass} samples in ${dim} dimensions. Collapse built directly, with features and prototypes of ` +
        `any norms and with noise; then the gradient flow of the summed loss from a random start, in logarithmic time to t = 10²⁸⁸ ` +
        `(sum of the local errors ${formatNumber(error, 2)} of the state).`,
      verdicts: [
        ...verdicts,
        states(
          'The smoothed margin never decreases once L < log 2 (proof of Theorem 3.2), times at which it does',
          '0',
          fell,
          fell === 0,
        ),
        states(
          'It stays below q_{min}/ρ², and above what n(K−1) equal margins would give, times outside',
          '0',
          outside,
          outside === 0,
        ),
        states(
          'The margin never exceeds its bound along the flow, and the gap closes, gap over bound',
          '↓ 0',
          course(gap[0] as number, last(gap)),
          gap.every((value, k) => value > 0 && (k === 0 || value < (gap[k - 1] as number))),
        ),
        // The first correction to L t = b/(4q), and twice the gap that the margin still has (‖∇L‖ ≥ 2 q_min L/ρ).
        within('L = O(1/t) (Theorem 3.2): L t · 4q/b at t = 10²⁸⁸', 1, last(rate), 1 / q + 2 * last(gap)),
        states(
          'Stationarity and complementarity stay below ε and δ (Lemma B.1), largest shares of them',
          '≤ 1',
          [['stationarity', 'epsilon'] as const, ['complementarity', 'delta'] as const]
            .map(([value, most]) => brief(Math.max(...columns[value].map((x, k) => x / (columns[most][k] as number)))))
            .join(', '),
          bounded,
        ),
        within(
          'δ of Lemma B.1 falls like 1/(γ̃ q_{min}), and so like 1/log t: exponent beyond t = 10¹⁰⁰',
          -1,
          late(columns.delta),
          crossover,
        ),
        within(
          'The residual falls like (log t)^{−1/2}, since what is orthogonal to all prototypes stays: exponent beyond t = 10¹⁰⁰',
          -0.5,
          late(columns.stationarity),
          crossover,
        ),
      ],
      sections: [
        {
          title: 'The bound',
          formulas: ['q_{min}(W, H) ≤ (‖W‖² + ‖H‖²) / (2(K−1)√N)'],
          text: ['The paper prints the norms without their squares; with them the bound is attained as it says.'],
          figures,
        },
        { title: 'Along the flow', formulas: ['γ̃ = −log(e^{L} − 1)/ρ²,   ρ² = ‖W‖² + ‖H‖²'], figures: marginFigures },
        { title: 'Towards a KKT point', formulas: ['min ½‖W‖² + ½‖H‖²   s.t.   (w_{y} − w_{j})ᵀh_{i} ≥ 1'], figures: kktFigures },
      ],
    };
  },
};
