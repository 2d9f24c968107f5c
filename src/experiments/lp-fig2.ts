/**
 * LP Fig. 2: gradient descent on the cross-entropy layer-peeled model approaches neural collapse, slowly: variation of norms,
 * within-class variation, cosines and self-duality all fall, "at approximately the rate O(1/log t)". The descent is run as the
 * paper has it; then the gradient flow is followed to t = 10²⁸⁹, where one can see what the rates tend to.
 *
 * What theory says of them. WᵀW − HᵀH is conserved by the flow while ρ² = ‖W‖² + ‖H‖² = b q grows, b = 2(K−1)√N, with the margin
 * q ≈ log t + log q + log(4(K−1)/b); so the share of the state that is not collapse falls like 1/ρ², the exponent −1 in log t. Two things
 * stay as they are while ρ grows, and are a share of 1/ρ of the state, the exponent −1/2: the features' differences within classes
 * orthogonal to the prototypes, whose gradients are combinations of prototypes; and the mean of the prototypes, to which no logit
 * difference belongs (LP's measures leave it out).
 *
 * The exponents show where the flow has forgotten the rest of its start: of a feature that began far out towards one class, the
 * softmax weight of another stays 0 until the margins catch up. From the paper's start that takes longer than to t = 10²⁸⁹; from
 * a start a tenth as large it is over by t = 10²⁵.
 */
import { collapse } from '../collapse/collapse.js';
import { crossEntropyFlow } from '../dynamics/cross-entropy.js';
import { projectedDescent } from '../dynamics/projected.js';
import { kktCertificate, margins } from '../losses/margins.js';
import { lineChart } from '../report/figure.js';
import { formatNumber } from '../report/ticks.js';
import { randomState } from '../state/random-state.js';
import type { Experiment, ExperimentContext } from './experiment.js';
import { course, last, slope, states, within } from './fit.js';

const config = {
  ...{ classes: 5, perClass: 10, dim: 20, seed: 1 },
  learningRate: 5,
  steps: 100_000, // an epoch each
  every: 100, // and each of the first hundred
  flow: { lastExponent: 289 },
};
type Config = typeof config;

const scales = [1, 0.1] as const; // of the flow's starts
const early = 100;
/** Of ten: evenly spaced on the logarithmic axis of log t. */
const exponentsOf = ({ flow }: Config): number[] => Array.from({ length: 73 }, (_, k) => flow.lastExponent ** (k / 72));

/** What the panels draw: [panel, name of the curve]. */
const panels = {
  featureNormVariation: ['norms', 'class means'],
  centeredPrototypeNormVariation: ['norms', 'prototypes'],
  withinClassVariation: ['within', 'features'],
  featureCosine: ['cosines', 'class means'],
  centeredPrototypeCosine: ['cosines', 'prototypes'],
  selfDuality: ['duality', 'class means and prototypes'],
} as const;
type Quantity = keyof typeof panels;
const quantities = Object.keys(panels) as Quantity[];
const titles = {
  norms: ['Variation of the norms', 'std/mean of ‖·‖'],
  within: ['Within-class variation', 'mean ‖h − h̄_{c}‖ / mean ‖h − h̄‖'],
  cosines: ['Cosines between pairs', 'mean |cos + 1/(K−1)|'],
  duality: ['Self-duality', 'distance of unit class means and prototypes'],
} as const;

type Columns = Record<Quantity, number[]>;
const columns = (): Columns => Object.fromEntries(quantities.map((name) => [name, [] as number[]])) as Columns;

/** The margin that collapse has at a logarithm of time: q − log q = log t + log(4(K−1)/b), up to 1/q. */
function marginAt(logTime: number, { classes, perClass }: Config): number {
  const b = 2 * (classes - 1) * Math.sqrt(perClass);
  let q = logTime;
  for (let round = 0; round < 50; round++) q = logTime + Math.log((4 * (classes - 1) * q) / b);
  return q;
}

/** A curve of each quantity, named. */
interface Curves {
  readonly name: string;
  readonly x: number[];
  readonly table: Columns;
}

/** The four panels. */
async function draw({ folder }: ExperimentContext, prefix: string, xTitle: string, curves: readonly Curves[], caption: string) {
  const figures = [];
  for (const [panel, [title, yTitle]] of Object.entries(titles)) {
    const own = quantities.filter((name) => panels[name][0] === panel);
    const series = curves.flatMap(({ name, x, table }) =>
      own.map((quantity) => ({ name: `${panels[quantity][1]}${name}`, x, y: table[quantity] })),
    );
    const chart = {
      title,
      x: { title: xTitle, scale: 'log' as const },
      y: { title: yTitle, scale: prefix === 'descent' && panel === 'within' ? ('linear' as const) : ('log' as const) },
      series,
    };
    figures.push(await folder.figure(`${prefix}-${panel}`, lineChart(chart), caption));
  }
  return figures;
}

/** The flow from the start times `scale`: what it measures at t = 10^exponent, of `rate` t. */
async function follow({ signal, progress }: ExperimentContext, config: Config, scale: number, done: number) {
  const { learningRate, classes, perClass, dim, seed } = config;
  const exponents = exponentsOf(config);
  using flow = await crossEntropyFlow(randomState({ classes, perClass, dim, seed, scale }), { rate: learningRate, signal });
  const table = columns();
  const gaps: number[] = [];
  let margin = 0;
  for (const [k, exponent] of exponents.entries()) {
    progress(done + (0.1 * k) / exponents.length, `t = 10^${Math.round(exponent)}`);
    const now = await flow.at(10 ** exponent / learningRate, { signal });
    const measured = await collapse(now, { signal });
    for (const name of quantities) table[name].push(measured[name] as number);
    const { gap, bound } = await margins(now, { signal });
    gaps.push((gap as number) / (bound as number));
    margin = bound as number;
  }
  return { table, gaps, margin, error: await flow.errorAt(10 ** last(exponents) / learningRate, { signal }) };
}

export const experiment: Experiment<Config> = {
  id: 'lp-fig2',
  title: 'cross-entropy on the layer-peeled model collapses, like 1/log t',
  source: 'LP Fig. 2',
  summary: 'Descent for 10⁵ epochs, and the flow to t = 10²⁸⁹: collapse measures, margins and KKT residual',
  config,
  async run(context, config) {
    const { signal, progress, folder } = context;
    const { classes, perClass, dim, seed, learningRate, steps: epochs, every: interval } = config;
    const exponents = exponentsOf(config);
    const state = randomState({ classes, perClass, dim, seed });
    const problem = { loss: { kind: 'cross-entropy' as const }, state };
    const options = {
      learningRates: { features: learningRate, prototypes: learningRate },
      measure: { names: ['loss', 'smoothedMargin', 'normalizedMargin', 'gradientAlignment'] as const },
      signal,
    };
    const steps: number[] = [];
    const table = columns();
    const kkt = { step: [] as number[], residual: [] as number[], bound: [] as number[] };
    let smoothed: number[] = [];
    let fell = 0;
    const see = async (snapshot: { step: number; state: typeof state }) => {
      const measured = await collapse(snapshot.state, { signal });
      steps.push(snapshot.step);
      for (const name of quantities) table[name].push(measured[name] as number);
    };
    let checkpoint: Parameters<typeof projectedDescent>[1]['resume'];
    for (const [to, every] of [
      [early, 1],
      [epochs, interval],
    ] as const) {
      for await (const snapshot of projectedDescent(problem, {
        ...options,
        steps: to,
        snapshots: every,
        ...(checkpoint && { resume: checkpoint }),
      })) {
        await see(snapshot);
        checkpoint = snapshot.checkpoint;
        smoothed = [...smoothed.slice(-1), ...(snapshot.measures.smoothedMargin ?? [])].filter((value) => !Number.isNaN(value));
        fell += smoothed.filter((value, k) => k > 0 && value < (smoothed[k - 1] as number) - 1e-12).length;
        if (snapshot.step % 5000 === 0) {
          const certificate = await kktCertificate(snapshot.state, { signal });
          kkt.step.push(snapshot.step);
          kkt.residual.push(certificate.stationarity);
          kkt.bound.push(certificate.epsilon);
          progress((0.8 * snapshot.step) / epochs, `epoch ${snapshot.step}`);
        }
      }
    }
    await folder.metrics({ step: steps, ...table });
    const descent = await draw(
      context,
      'descent',
      'epoch',
      [{ name: '', x: steps, table }],
      'Over 10⁵ epochs of descent; 0 at collapse.',
    );

    const [far, small] = [await follow(context, config, scales[0], 0.8), await follow(context, config, scales[1], 0.9)];
    const logTimes = exponents.map((exponent) => exponent * Math.LN10);
    const beyond = 100 * Math.LN10;
    const drift = Math.log(beyond) / beyond; // log t + log log t, which q grows like, is not log t
    const rateOf = (column: number[]) => slope(logTimes.map(Math.log), column.map(Math.log), (x) => x > Math.log(beyond));
    const flowFigures = await draw(
      context,
      'flow',
      'log t',
      [
        { name: '', x: logTimes, table: far.table },
        { name: `, start × ${scales[1]}`, x: logTimes, table: small.table },
      ],
      'The flow up to t = 10²⁸⁹: on these axes 1/log t is a line of slope −1.',
    );
    const gapFigure = await folder.figure(
      'margin-gap',
      lineChart({
        title: 'How far the margin is below its bound',
        x: { title: 'log t', scale: 'log' },
        y: { title: '1 − q_{min}/bound', scale: 'log' },
        series: [
          { name: 'start', x: logTimes, y: far.gaps },
          { name: `start × ${scales[1]}`, x: logTimes, y: small.gaps },
        ],
      }),
      'The bound of Theorem 3.1, q_{min} ≤ (‖W‖² + ‖H‖²)/(2(K−1)√N), which collapse alone attains.',
    );
    const kktFigure = await folder.figure(
      'kkt',
      lineChart({
        title: 'Distance to a KKT point',
        x: { title: 'epoch' },
        y: { title: '‖θ − Σ λ ∇s‖' },
        series: [
          { name: 'measured', x: kkt.step, y: kkt.residual },
          { name: 'ε of Lemma B.1', x: kkt.step, y: kkt.bound },
        ],
      }),
      'For θ/√q_{min} with multipliers from the softmax weights.',
    );
    const at = (name: Quantity, step: number) => table[name][steps.indexOf(step)] as number;
    const brief = (x: number) => Number(x.toPrecision(3));
    return {
      lead:
        `Descent at learning rate ${learningRate} on the mean cross-entropy of K = 5 classes of 10 samples in 20 dimensions, all features and ` +
        'prototypes free, for 10⁵ epochs from a random start; then the gradient flow from the same start and from a tenth of it, ' +
        `integrated in logarithmic time to t = 10²⁸⁹ (sums of the local errors ${formatNumber(far.error, 2)}, ${formatNumber(small.error, 2)}).`,
      verdicts: [
        ...quantities.map((name) =>
          states(
            `${titles[panels[name][0]][0]}, ${panels[name][1]}: falls from epoch 100 to 10⁵`,
            'falls',
            course(at(name, 100), last(table[name])),
            last(table[name]) < at(name, 100),
          ),
        ),
        ...quantities.map((name) =>
          within(
            `${titles[panels[name][0]][0]}, ${panels[name][1]}: about 1/log t, exponent beyond t = 10¹⁰⁰ from the smaller start`,
            -1,
            rateOf(small.table[name]),
            drift,
          ),
        ),
        within(
          'Within-class variation, features: theory says 1/√log t, exponent beyond t = 10¹⁰⁰ from the smaller start',
          -0.5,
          rateOf(small.table.withinClassVariation),
          drift,
        ),
        // Where ρ² is a little more than b q_min, by the gap that is left.
        within(
          'The bound of the margin at t = 10²⁸⁹, from the smaller start, against q of q − log q = log t + log(4(K−1)/b)',
          marginAt(last(logTimes), config),
          small.margin,
          2 * last(small.gaps),
        ),
        states('The smoothed margin never decreases once L < log 2 (Theorem 3.2), epochs at which it does', '0', fell, fell === 0),
        states(
          'The KKT residual stays below its bound ε (Lemma B.1), largest ratio',
          '≤ 1',
          brief(Math.max(...kkt.residual.map((value, k) => value / (kkt.bound[k] as number)))),
          kkt.residual.every((value, k) => value <= (kkt.bound[k] as number)),
        ),
        states(
          'The margin stays below its bound and approaches it (Theorem 3.1), gap over bound from t = 10 on',
          '↓ 0',
          course(far.gaps[0] as number, last(far.gaps)),
          far.gaps.every((gap, k) => gap >= 0 && (k === 0 || gap < (far.gaps[k - 1] as number))),
        ),
      ],
      sections: [
        { title: 'Descent', formulas: ['θ ← θ − η ∇L(θ),   η = 5'], figures: descent },
        {
          title: 'The flow, to where rates show',
          formulas: ['dθ/ds = −(1 + ηt) ∇L(θ),   s = log(1 + ηt)'],
          text: [
            'The flow conserves W^{T}W − H^{T}H while ‖W‖² + ‖H‖² grows like log t: what is not collapse falls like 1/log t. Differences within ' +
              'classes orthogonal to the prototypes stay as they are while norms grow, and fall like 1/√log t only.',
            'From the start as it is, exponents are not settled at t = 10²⁸⁹: of features that began far out towards a class, the softmax ' +
              'weights of others are still as good as zero.',
          ],
          tables: [
            {
              caption: 'Exponents of log t beyond t = 10¹⁰⁰',
              columns: ['Quantity', 'Start', `Start × ${scales[1]}`, 'Theory'],
              rows: quantities.map((name) => [
                `${titles[panels[name][0]][0]}, ${panels[name][1]}`,
                brief(rateOf(far.table[name])),
                brief(rateOf(small.table[name])),
                name === 'withinClassVariation' ? -0.5 : -1,
              ]),
            },
          ],
          figures: flowFigures,
        },
        { title: 'Margin and KKT point', figures: [gapFigure, kktFigure] },
      ],
    };
  },
};
