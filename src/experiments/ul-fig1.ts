/**
 * UL Fig. 1: gradient descent on the unhinged loss from a random start, for five γ on both sides of `2/(C−2)`.
 *
 * With `σ = (1+γ)η/(C√N)` and `τ = |1+γ−γC|η/(C√N)` a step multiplies the leading part of each mode by `1+σ` or `1+τ`
 * (UL Thm 2): `log ‖Z‖` grows by the larger of `log(1+σ)` and `log(1+τ)` a step, and the distance of `Z/‖Z‖` to the aligned
 * limit `Z̄/‖Z̄‖` shrinks like `((1+τ)/(1+σ))ᵗ`, fastest at `γ = 1/(C−1)` where `τ = 0` (UL Cor. 3).
 */
import { collapse, gradientDescent, gradientFlow, iteratedDescent, type State, type Trajectory } from '../index.js';
import { type Column, lineChart, type Series } from '../report/figure.js';
import type { PageFigure, Section, Verdict } from '../report/page.js';
import type { Experiment, ExperimentContext, Findings } from './experiment.js';
import { exponentOf, slope, states, vanishes, within } from './fit.js';
import { bestGamma, distance, norm, setting, showGamma, sigma1, sigma2, start, turningGamma, withBest } from './setting.js';

const config = {
  ...setting,
  gammas: [0, 0.001, 0.005, 0.05],
  learningRate: 0.1,
  steps: 100_000,
  every: 100,
  iteratedSteps: 10_000,
};
type Config = typeof config;

/** When is measured. */
interface Times {
  readonly steps: Float64Array;
  /** The descent is also iterated, and compared now and then. */
  readonly iteratedSteps: readonly number[];
  /** Where collapse is measured. */
  readonly checkpoints: readonly number[];
}

function timesOf({ steps, every, iteratedSteps }: Config): Times {
  const spread = Array.from({ length: 16 }, (_, i) => Math.round((steps / 1000) * 10 ** (i / 5)));
  return {
    steps: Float64Array.from({ length: Math.floor(steps / every) + 1 }, (_, i) => i * every),
    iteratedSteps: Array.from({ length: 10 }, (_, i) => Math.round((iteratedSteps * (i + 1)) / 10)),
    checkpoints: [...new Set([0, ...spread])],
  };
}

const QUANTITIES = ['loss', 'accuracy', 'distanceToAligned', 'logNorm'] as const;
const COLLAPSE = ['withinClassVariation', 'nc2', 'selfDuality', 'alignment'] as const;
type Measured<Name extends string> = Record<Name, ArrayLike<number>>;

/** What was computed for one γ. */
interface Run {
  readonly gamma: number;
  readonly name: string;
  readonly config: Config;
  readonly times: Times;
  readonly exact: Record<(typeof QUANTITIES)[number], Float64Array>;
  readonly flow: Record<(typeof QUANTITIES)[number], Float64Array>;
  readonly collapse: Measured<(typeof COLLAPSE)[number]>;
  /** The iterated descent at `iteratedSteps`, and how far it and the flow are from the exact descent, relative to its norm. */
  readonly iterated: Measured<(typeof QUANTITIES)[number] | 'difference' | 'flowDifference'>;
}

/** What one step adds to the logarithm of the leading modes of each block; the flow adds `sigma·η`. */
const growth1 = (gamma: number, config: Config): number => Math.log1p(config.learningRate * sigma1(gamma, config));
const growth2 = (gamma: number, config: Config): number => Math.log1p(config.learningRate * sigma2(gamma, config));

export const experiment: Experiment<Config> = {
  id: 'ul-fig1',
  title: 'gradient descent under the unhinged loss',
  source: 'UL Fig. 1',
  summary: 'Loss, accuracy, distance to the limit and norm for five γ, exact, iterated and as a flow, with their exponents',
  config,
  async run(context: ExperimentContext, config): Promise<Findings> {
    const initial = start(config);
    const times = timesOf(config);
    const { steps, iteratedSteps, checkpoints } = times;
    const gammas = withBest(config.gammas, config);
    await context.folder.array('start-features', initial.features);
    await context.folder.array('start-prototypes', initial.prototypes);
    await context.folder.array('start-labels', { shape: [initial.labels.length], data: initial.labels });
    const runs: Run[] = [];
    for (const [i, gamma] of gammas.entries()) {
      context.progress(i / gammas.length, `γ = ${showGamma(gamma, config)}`);
      runs.push(await runOne(gamma, initial, config, times, context));
      await context.folder.metrics(columnsOf(steps, runs, { '': 'exact', ' of the flow': 'flow' }));
      await context.folder.metrics(columnsOf(iteratedSteps, runs, { '': 'iterated' }), 'iterated');
      await context.folder.metrics(columnsOf(checkpoints, runs, { '': 'collapse' }), 'collapse');
    }
    const { dim, classes, perClass, learningRate } = config;
    return {
      lead:
        `Gradient descent with η = ${learningRate} on features and prototypes from one random start, under the unhinged loss with ` +
        `${gammas.length} γ: p = ${dim}, C = ${classes}, N = ${perClass}. The exact engine gives any of the ${config.steps.toLocaleString('en')} steps ` +
        'without those before it; the closed-form flow, the iterated descent and the collapse measures are laid beside.',
      verdicts: verdictsOf(runs, times, config),
      sections: [
        await dynamicsSection(runs, times, context),
        exponentSection(runs, config),
        await iteratedSection(runs, times, context),
        await collapseSection(runs, times, context),
      ],
    };
  },
};

async function runOne(
  gamma: number,
  state: State,
  config: Config,
  times: Times,
  { signal, folder }: ExperimentContext,
): Promise<Run> {
  const { learningRate } = config;
  const { steps } = times;
  const rates = { features: learningRate, prototypes: learningRate };
  using descent = await gradientDescent(state, { gamma, learningRates: rates });
  using flow = await gradientFlow(state, { gamma, rates });
  await folder.array(
    `end-prototypes-gamma-${gamma.toPrecision(3)}`,
    (await descent.directionAt(config.steps, { signal })).prototypes,
  );
  return {
    ...{ gamma, config, times },
    name: `γ = ${showGamma(gamma, config)}`,
    exact: await descent.measure(steps, QUANTITIES, { signal }),
    flow: await flow.measure(steps, QUANTITIES, { signal }),
    iterated: await iterate(state, { gamma, learningRate, times }, descent, flow, signal),
    collapse: await collapseOf({ gamma, config, times }, descent, state.labels, signal),
  };
}

async function iterate(
  state: State,
  { gamma, learningRate, times }: { gamma: number; learningRate: number; times: Times },
  descent: Trajectory,
  flow: Trajectory,
  signal: AbortSignal,
): Promise<Run['iterated']> {
  const learningRates = { features: learningRate, prototypes: learningRate };
  const columns = emptyColumns([...QUANTITIES, 'difference', 'flowDifference']);
  let [current, before] = [state, 0];
  for (const step of times.iteratedSteps) {
    current = await iteratedDescent(current, { gamma, learningRates, steps: step - before, signal });
    before = step;
    using here = await gradientDescent(current, { gamma, learningRates });
    const measured = await here.measure([0], QUANTITIES, { signal });
    for (const name of QUANTITIES) columns[name].push(measured[name][0] as number);
    const exact = await descent.at(step, { signal });
    columns.difference.push(relativeDistance(current, exact));
    columns.flowDifference.push(relativeDistance(await flow.at(step, { signal }), exact));
  }
  return columns;
}

/**
 * Collapse measures of the direction of Z. Where the common mean outgrows the rest, what they measure sinks below the rounding of
 * the direction in the end; they are NaN there.
 */
async function collapseOf(
  { gamma, config, times }: Pick<Run, 'gamma' | 'config' | 'times'>,
  descent: Trajectory,
  labels: Int32Array,
  signal: AbortSignal,
): Promise<Run['collapse']> {
  const columns = emptyColumns(COLLAPSE);
  for (const step of times.checkpoints) {
    if (step * (growth2(gamma, config) - growth1(gamma, config)) > Math.log(1e10)) {
      for (const name of COLLAPSE) columns[name].push(Number.NaN);
      continue;
    }
    const { features, prototypes } = await descent.directionAt(step, { signal });
    const values = await collapse({ features, prototypes, labels }, { only: COLLAPSE, signal });
    for (const name of COLLAPSE) columns[name].push(values[name] as number);
  }
  return columns;
}

const emptyColumns = <Name extends string>(names: readonly Name[]): Record<Name, number[]> =>
  Object.fromEntries(names.map((name): [string, number[]] => [name, []])) as Record<Name, number[]>;

/** `‖A − B‖/‖B‖` of features and prototypes together. */
const relativeDistance = (a: State, b: State): number =>
  Math.hypot(distance(a.features, b.features), distance(a.prototypes, b.prototypes)) /
  Math.hypot(norm(b.features), norm(b.prototypes));

/** The columns of all runs, each named by its quantity, its kind and its γ. */
function columnsOf(
  times: Column,
  runs: readonly Run[],
  kinds: Readonly<Record<string, 'exact' | 'flow' | 'iterated' | 'collapse'>>,
): Record<string, Column> {
  const columns: Record<string, Column> = { step: times };
  for (const run of runs) {
    for (const [words, kind] of Object.entries(kinds)) {
      for (const [quantity, values] of Object.entries(run[kind])) columns[`${quantity}${words} (${run.name})`] = values;
    }
  }
  return columns;
}

/** The fitted growth of `log ‖Z‖` a step, over the last 2000 steps (the part that the paper magnifies). */
const growthOf = ({ exact, times: { steps }, config }: Run): number =>
  slope(steps, exact.logNorm, (step) => step >= config.steps - Math.max(2000, 2 * config.every));
const decayOf = ({ exact, times }: Run): number => exponentOf(times.steps, exact.distanceToAligned);
const last = (column: Float64Array): number => column.at(-1) as number;

function verdictsOf(runs: readonly Run[], { steps }: Times, config: Config): Verdict[] {
  const { learningRate } = config;
  const unit = learningRate * sigma1(0, config); // η/(C√N)
  const aligning = runs.filter(({ gamma }) => gamma < turningGamma(config));
  const turning = runs.filter(({ gamma }) => gamma > turningGamma(config));
  const after = Math.floor((steps.length - 1) / 5);
  const distanceAfter = ({ exact }: Run) => exact.distanceToAligned[after] as number;
  const nearest = runs.reduce((best, run) => (distanceAfter(run) < distanceAfter(best) ? run : best));
  return [
    ...turning.map((run) =>
      within(
        `${run.name}: growth of log ‖Z‖ a step, |1+γ−γC|·η/(C√N)`,
        learningRate * sigma2(run.gamma, config),
        growthOf(run),
        1e-3,
      ),
    ),
    ...aligning.map((run) =>
      within(`${run.name}: growth of log ‖Z‖ a step, (1+γ)·η/(C√N)`, (1 + run.gamma) * unit, growthOf(run), 1e-3),
    ),
    ...aligning
      .filter(({ gamma }) => gamma > 0)
      .map((run) => {
        const stated = learningRate * (sigma2(run.gamma, config) - sigma1(run.gamma, config));
        return within(`${run.name}: exponent of the distance to Z̄ a step, max{−γC, (C−2)γ−2}·η/(C√N)`, stated, decayOf(run), 1e-3);
      }),
    ...aligning
      .filter(({ gamma }) => gamma === 0)
      .map((run) => vanishes(`${run.name}: exponent of the distance to Z̄ a step, 0: it does not converge`, decayOf(run), 1e-8)),
    states(
      'The direction converges fastest at γ = 1/(C−1)',
      '1/(C−1)',
      showGamma(nearest.gamma, config),
      nearest.gamma === bestGamma(config),
    ),
    ...turning.map((run) =>
      within(`${run.name}: distance to Z̄ in the end, √2`, Math.SQRT2, last(run.exact.distanceToAligned), 1e-6),
    ),
    ...aligning.map((run) => within(`${run.name}: features align, accuracy 1 in the end`, 1, last(run.exact.accuracy), 0)),
  ];
}

const PANELS: Readonly<
  Record<(typeof QUANTITIES)[number], { title: string; axis: string; scale: 'linear' | 'log'; caption: string }>
> = {
  loss: {
    title: '(a) Loss',
    axis: '−loss',
    scale: 'log',
    caption: 'Training loss with its sign turned, as it falls without bound; not drawn where it is still positive.',
  },
  accuracy: {
    title: '(b) Accuracy',
    axis: 'training accuracy',
    scale: 'linear',
    caption:
      'Share of samples with the largest logit at their label. For γ = 0.05 the classes part at first; then the common mean ' +
      'takes over, and all samples fall to one class.',
  },
  distanceToAligned: {
    title: '(c) Distance to the aligned limit',
    axis: '‖Z/‖Z‖ − Z̄/‖Z̄‖‖',
    scale: 'log',
    caption: 'Straight lines are exponential convergence. Orthogonal directions are √2 apart.',
  },
  logNorm: {
    title: '(d) Norm',
    axis: 'log ‖Z‖',
    scale: 'linear',
    caption: 'The natural logarithm of the joint norm of features and prototypes; four of the five lie on each other.',
  },
};

async function dynamicsSection(
  runs: readonly Run[],
  { steps, iteratedSteps }: Times,
  { folder }: ExperimentContext,
): Promise<Section<PageFigure>> {
  /** Every `by`-th point of one kind for each γ, in its colour; the first is named in the legend. */
  const points = (
    name: string,
    times: ArrayLike<number>,
    columns: readonly ArrayLike<number>[],
    by: number,
    style: number,
  ): Series[] =>
    columns.map((column, i) => {
      const some = (values: ArrayLike<number>) => Array.from(values).filter((_, k) => k % by === by - 1);
      return { ...(i === 0 ? { name } : {}), mark: 'points', x: some(times), y: some(column), color: i, style };
    });
  const figures: PageFigure[] = [];
  for (const quantity of QUANTITIES) {
    const { title, axis, scale, caption } = PANELS[quantity];
    const column = (values: ArrayLike<number>) => (quantity === 'loss' ? Array.from(values, (value) => -value) : values);
    const series: Series[] = [
      ...runs.map(({ name, exact }) => ({ name, x: steps, y: column(exact[quantity]) })),
      ...points(
        'closed-form flow',
        steps,
        runs.map(({ flow }) => column(flow[quantity])),
        100,
        0,
      ),
      ...points(
        'iterated descent',
        iteratedSteps,
        runs.map(({ iterated }) => column(iterated[quantity])),
        4,
        1,
      ),
    ];
    const rules = quantity === 'distanceToAligned' ? [{ y: Math.SQRT2, label: '√2' }] : [];
    const chart = lineChart({ title, x: { title: 'step t' }, y: { title: axis, scale }, series, rules });
    figures.push(await folder.figure(quantity, chart, caption));
  }
  return {
    title: 'The dynamics',
    text: [
      'Lines are the exact descent, dots the closed-form flow at time t = step, squares the descent iterated step by step. Below ' +
        'γ = 2/(C−2) the direction of Z tends to the aligned limit Z̄; above it the common mean of all features and prototypes ' +
        'outgrows the rest, and the direction turns orthogonal to Z̄.',
    ],
    formulas: [
      'Z̄ = Π_{1}^{+}Z_{0},   ‖Z(t)/‖Z(t)‖ − Z̄/‖Z̄‖‖ = O(exp(√(ζ_{1}ζ_{2})/(C√N) · max{−γC, (C−2)γ − 2})),   ζ_{i} = ηt',
      '‖Z(t)‖ = Θ(exp(max{1+γ, |1+γ−γC|} · √(ζ_{1}ζ_{2})/(C√N)))',
    ],
    figures,
  };
}

function exponentSection(runs: readonly Run[], config: Config): Section<PageFigure> {
  return {
    title: 'Exponents',
    text: [
      'Least-squares slopes: of log ‖Z‖ over the last 2000 steps, of the log distance over the last 40% of the steps before rounding ' +
        'shows. The descent’s own exponents are log(1+ησ_{1}) and log((1+ησ_{2})/(1+ησ_{1})) a step, with σ_{1} = (1+γ)/(C√N) and ' +
        'σ_{2} = |1+γ−γC|/(C√N); those of the flow are ησ_{1} and η(σ_{2}−σ_{1}).',
    ],
    tables: [
      {
        columns: ['γ', 'growth, fitted', 'descent', 'flow', 'decay, fitted', 'descent', 'flow'],
        rows: runs.map((run) => {
          const [first, second] = [growth1(run.gamma, config), growth2(run.gamma, config)];
          const [sigma, tau] = [sigma1, sigma2].map((of) => config.learningRate * of(run.gamma, config)) as [number, number];
          return [
            run.name,
            growthOf(run),
            Math.max(first, second),
            Math.max(sigma, tau),
            ...(tau < sigma ? [decayOf(run), second - first, tau - sigma] : ['–', '–', '–']),
          ];
        }),
      },
    ],
  };
}

async function iteratedSection(
  runs: readonly Run[],
  { iteratedSteps }: Times,
  { folder }: ExperimentContext,
): Promise<Section<PageFigure>> {
  const panel = (name: string, quantity: 'difference' | 'flowDifference', title: string, caption: string) =>
    folder.figure(
      name,
      lineChart({
        title,
        x: { title: 'step t' },
        y: { title: '‖Z − Z*‖/‖Z*‖', scale: 'log' },
        series: runs.map((run) => ({ name: run.name, x: iteratedSteps, y: run.iterated[quantity] })),
      }),
      caption,
    );
  return {
    title: 'Exact, iterated and continuous',
    text: [
      `The first ${iteratedSteps.at(-1)?.toLocaleString('en')} steps were also iterated one by one with the fused kernels. They differ from the exact descent by rounding only; ` +
        'the flow differs by the square of the step size: by ησ − log(1+ησ) a step in the exponent.',
    ],
    figures: [
      await panel(
        'iterated-difference',
        'difference',
        'Iterated descent',
        'Relative difference of the iterated state Z from the exact one, Z*.',
      ),
      await panel(
        'flow-difference',
        'flowDifference',
        'Closed-form flow',
        'Relative difference of the flow Z at time t from the exact descent Z* after t steps.',
      ),
    ],
  };
}

async function collapseSection(
  runs: readonly Run[],
  { checkpoints }: Times,
  { folder }: ExperimentContext,
): Promise<Section<PageFigure>> {
  const captions: Record<(typeof COLLAPSE)[number], [string, string, string]> = {
    withinClassVariation: [
      'Within-class variation',
      'mean ‖h − μ_y‖ / mean ‖h − h̄‖',
      'Mean distance of features to their class mean, over that to the global mean.',
    ],
    nc2: [
      'Distance of prototypes from a simplex',
      '‖G/‖G‖ − E‖',
      'G is the Gram matrix of the centred prototypes, E that of a simplex equiangular tight frame.',
    ],
    selfDuality: [
      'Distance between prototypes and class means',
      'mean distance of directions',
      'Between the directions of centred prototypes and centred class means.',
    ],
    alignment: ['Alignment', 'mean cosine', 'Mean cosine between prototypes and centred class means.'],
  };
  const figures: PageFigure[] = [];
  for (const name of COLLAPSE) {
    const [title, axis, caption] = captions[name];
    const chart = lineChart({
      title,
      x: { title: 'step t', scale: 'log' },
      y: { title: axis },
      series: runs.map((run) => ({ name: run.name, x: checkpoints, y: run.collapse[name] })),
    });
    figures.push(await folder.figure(name, chart, caption));
  }
  return {
    title: 'Collapse on the way',
    text: [
      'Within-class variation vanishes and features align with their prototypes, but the prototypes keep the angles of the random ' +
        'start: the limit is no simplex. For γ = 0.05 the curves end where the differences between classes are less than the 10^{−10}th ' +
        'part of what all classes have in common.',
    ],
    figures,
  };
}
