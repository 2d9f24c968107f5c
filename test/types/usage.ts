// Compiled, never run: the declarations a user sees stand on their own and say what is meant.
import {
  type Collapse,
  collapse,
  collapseSync,
  detection,
  type Evaluation,
  evaluateSync,
  type OutOfDistributionSet,
  outOfDistributionScoresSync,
  type Scores,
  gradientFlowSync,
  LayerpeelError,
  type Limit,
  lossAndGradientSync,
  matmul,
  matmulSync,
  type NDArray,
  type Parts,
  type Products,
  randomState,
  type State,
  spectralProjectionsSync,
  structuredProductsSync,
  type StudyConfig,
  study,
  trajectoryMeasures,
} from 'layerpeel';

const a: NDArray = { shape: [2, 3], data: new Float32Array(6) };
export const later: Promise<NDArray> = matmul(a, a, { transposeB: true, signal: AbortSignal.timeout(1000) });
export const now: NDArray = matmulSync(a, a, { transposeA: true });
// @ts-expect-error: a shape is needed
matmulSync({ data: new Float32Array(6) }, a);
// @ts-expect-error: not an option
matmulSync(a, a, { transpose: true });

const labels = new Int32Array(2);
export const all: Promise<Collapse> = collapse({ features: a, labels });
export const some = collapseSync({ features: a, labels, prototypes: a }, { only: ['nc1', 'accuracy'] });
some.nc1 satisfies number;
some.accuracy satisfies number;
const perhaps: NDArray | undefined = a.shape.length > 1 ? a : undefined;
collapseSync({ features: a, labels, prototypes: perhaps }).nc3 satisfies number | undefined;
// @ts-expect-error: there may be no prototypes
collapseSync({ features: a, labels, prototypes: perhaps }).nc3 satisfies number;
collapseSync({ features: a, labels, prototypes: a, biases: undefined }, { classes: undefined, ddof: undefined }).nc3 satisfies number;
Object.keys(trajectoryMeasures) satisfies string[];
trajectoryMeasures.loss satisfies string;
// @ts-expect-error: not asked for
some.nc1Papyan;
// @ts-expect-error: not a measure
collapseSync({ features: a, labels }, { only: ['nc5'] });

const sets: OutOfDistributionSet[] = [{ name: 'svhn', distance: 'far', logits: a }];
export const scored: Scores = outOfDistributionScoresSync({ features: a, training: { features: a, labels } }, { neighbors: 2 });
export const far: number | undefined = evaluateSync({ logits: a, labels, outOfDistribution: sets }).outOfDistributionMeans?.far?.knn
  ?.inDistributionPositive.auroc;
export const balanced: number | undefined = evaluateSync({ logits: a, labels, validation: { logits: a, labels } }).decisions
  ?.logitAdjustment?.groups?.few.accuracy;
export const judged: Evaluation = evaluateSync({ logits: a, labels, counts: [500, 50, 5] }, { bins: 10, seed: 1 });
judged.groups?.few.accuracy satisfies number | undefined;
judged.outOfDistribution?.energy?.inDistributionPositive.fpr95 satisfies number | undefined;
detection([1, 2], new Float32Array(3), { positive: 'in-distribution' }).positive satisfies string;
// @ts-expect-error: the positive class must be named
detection([1, 2], [0]);

try {
  matmulSync(a, a);
} catch (error) {
  if (error instanceof LayerpeelError) error.code satisfies string;
}

const state: State = randomState({ classes: 3, perClass: 2, dim: 4 });
{
  let products: Products | undefined;
  for (let step = 0; step < 2; step++) products = structuredProductsSync(state, { gamma: 0.1, out: products });
  const parts: Parts = spectralProjectionsSync(state, { out: undefined });
  spectralProjectionsSync(state, { out: parts });
  lossAndGradientSync({ kind: 'mse' }, state, { out: lossAndGradientSync({ kind: 'mse' }, state, { out: products }) });
  // @ts-expect-error: every array is needed
  structuredProductsSync(state, { gamma: 0.1, out: { features: a } });
}
{
  using trajectory = gradientFlowSync(state, { gamma: 0, rates: { features: 1, prototypes: (t) => 1 / (1 + t) } });
  const { loss } = trajectory.measureSync([0, 1], ['loss', 'accuracy']);
  loss satisfies Float64Array;
  // @ts-expect-error: no measure
  trajectory.measureSync([0, 1], ['los']);
  // @ts-expect-error: no measure
  trajectory.whenSync({ name: 'acuracy', value: 1, to: 10 });
  trajectory.whenSync({ name: 'accuracy', value: 1, to: 10, from: undefined, direction: undefined });
  const limit: Limit = trajectory.limitSync();
  limit.regime satisfies string;
}
// @ts-expect-error: gamma is missing
gradientFlowSync(state, { rates: { features: 1, prototypes: 1 } });

const planned = {
  command: 'simulate',
  base: {},
  axes: { 'options.gamma': [0, 0.1], method: { plain: {}, decay: { 'options.weightDecay': 0.1 } } },
  seed: null,
} satisfies StudyConfig;
study(planned, { out: 'runs/study', jobs: 2, rerun: 'stale', signal: undefined }).then(({ table, boundary }) => {
  table.cells[0]?.difference?.mean satisfies number | undefined;
  boundary?.[0]?.at satisfies number | undefined;
});
// @ts-expect-error: no such command
study({ ...planned, command: 'measure' });
