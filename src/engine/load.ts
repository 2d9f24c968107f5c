/**
 * The native engine: loads the addon, built in this checkout or prebuilt in the package.
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DType, Float } from '../array/ndarray.js';
import { LayerpeelError } from '../check/errors.js';
import type { EngineCollapseOptions, RawCollapse } from '../collapse/collapse.js';

/** What the binary says of itself and the machine. */
export interface EngineInfo {
  readonly version: string;
  /** Instruction set in use, and the best this machine has. */
  readonly isa: string;
  readonly availableIsa: string;
  readonly blas: string;
  readonly blasDescription: string;
  readonly threads: number;
  readonly cudaUsable: boolean;
  readonly cuda: string;
}

/** `undefined` runs an operation at once; an object runs it on the pool. */
export type Mode = undefined | { readonly progress?: (share: number) => void };

export interface Pending<T> {
  readonly promise: Promise<T>;
  cancel(): void;
}

export type Result<T> = T | Pending<T>;

export interface MatmulPlan {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly alpha: number;
  readonly beta: number;
  /** Triples: size of a batch dimension, stride of a, stride of b. */
  readonly batch: Float64Array;
}

/** Learning rates of every step, and what else a descent is told. */
export interface DescentPlan {
  readonly gamma: number;
  readonly featureRates: Float64Array;
  readonly prototypeRates: Float64Array;
  readonly featureDecay: number;
  readonly prototypeDecay: number;
  readonly momentum: number;
  readonly nesterov: boolean;
}

/** All margins; the smallest of them and `‖W‖² + ‖H‖²`. */
export type RawMargins = readonly [margins: Float64Array, numbers: readonly [smallest: number, square: number]];

/** The numbers of a `Certificate` of native/ops/cross_entropy/margins, and its multipliers `[n, C]` where wanted. */
export type RawCertificate = readonly [
  numbers: readonly [logLoss: number, smallest: number, square: number, alignment: number, apart: number, slack: number],
  multipliers: Float64Array,
];

/**
 * The loss, the other numbers of a `Curvature` of native/ops/cross_entropy/curvature over it, and features and prototypes of the gradient and
 * of the eigenvector.
 */
export type RawCurvature = readonly [
  numbers: readonly [
    loss: number,
    multiplier: number,
    tangent: number,
    eigenvalue: number,
    residual: number,
    scale: number,
    steps: number,
  ],
  gradientFeatures: Float64Array,
  gradientPrototypes: Float64Array,
  directionFeatures: Float64Array,
  directionPrototypes: Float64Array,
];

/** The numbers of samples, classes and dimensions of a state. */
export interface Sizes {
  readonly samples: number;
  readonly classes: number;
  readonly dim: number;
}

/** What a state is made of, as native functions take it. */
type StateArrays = [features: Float, prototypes: Float, labels: Int32Array, sizes: Sizes];

/** Cosines, sines and norms of all samples one after the other, their pulls `[n]`, and their unit targets `[C, p]`. */
export interface SphericalStart {
  readonly angles: Float64Array;
  readonly pull: Float64Array;
  readonly targets: Float64Array;
}

/** How the parameters of linear dynamics move: `Law` of native/ops/exact/propagator. Rates are per unit of its clock. */
export interface Law {
  readonly kind: 'flow' | 'descent' | 'integrated' | 'stepped';
  readonly featureRate: number;
  readonly prototypeRate: number;
  readonly featureDecay: number;
  readonly prototypeDecay: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  /** From `endTime` on rates are constant (a descent's times `endFactor`), or zero; or nobody knows. */
  readonly end: 'steady' | 'frozen' | 'unknown';
  readonly endTime: number;
  readonly endFactor: number;
}

export interface RawArrays {
  readonly features: Float;
  readonly prototypes: Float;
  readonly biases?: Float;
}

export interface RawState extends RawArrays {
  readonly logNorm: number;
  /** Whether all of it is finite. */
  readonly fits: boolean;
}

/** The numbers of `Limit` of native/ops/exact/trajectory, per unit of the law's clock. */
export interface RawLimit {
  readonly kind: 'steady' | 'frozen' | 'oscillating';
  readonly exponent: number;
  readonly rate: number;
  readonly logNorm: number;
  readonly polynomial: boolean;
  /** What leads: differences between classes of one size, modes between sizes, or the rest. */
  readonly within: boolean;
  readonly between: boolean;
  readonly rest: boolean;
}

/** Samples, classes, dimensions, and the order of a tangent kernel: samples, or samples · dim. */
export interface KernelLayout extends Sizes {
  readonly rows: number;
}

/** `KernelModes` of native/ops/kernel_flow. */
export interface KernelModes {
  readonly reach: Float64Array;
  readonly vectors: Float64Array;
  readonly values: Float64Array;
  readonly prototypeParts: Float64Array;
  readonly featureParts: Float64Array;
}

/** Where a flow that is integrated has got to: `Integrator::Outcome` of native/core/integrator, and the state. */
export interface Followed {
  readonly z: Float64Array;
  /** Reached; with `to` Infinity where the flow came to rest or the steps ran out. */
  readonly time: number;
  /** Of the next step. */
  readonly step: number;
  /** The sum of the local errors, over the size of the state. */
  readonly error: number;
  readonly atRest: boolean;
  /** `log ‖z'‖` fell by this much per unit of time towards rest; NaN where it was not seen to fall. */
  readonly rate: number;
}

/** How far to follow a flow, from where, and with which accuracy. */
export interface FollowPlan {
  readonly biased: boolean;
  readonly from: number;
  readonly to: number;
  readonly step: number;
  readonly tolerance: number;
  readonly maxSteps: number;
}

/** A loss: `Loss` of native/ops/loss/losses, `kind` by its place in the list there. */
export interface EngineLoss {
  readonly kind: number;
  readonly gamma: number;
  readonly smoothing: number;
  readonly margin: number;
  readonly epsilon: number;
  readonly classWeights?: Float64Array;
  readonly softLabels?: Float64Array;
  readonly targets?: Float64Array;
  readonly curvatures?: Float64Array;
  readonly prototypeLengths?: Float64Array;
  readonly ownLength: boolean;
  readonly normalized: boolean;
  readonly radius: number;
  readonly sum: boolean;
  readonly regularization: number;
}

/** How one part of a state moves: `PartPlan` of native/ops/descent/blocks, the constraint by its place in the list there. */
export interface EnginePart {
  readonly moves: boolean;
  readonly decay: number;
  readonly constraint: number;
  readonly radius: number;
}

/** `DescentPlan` of native/ops/descent/blocks, measures by their places in the list there. */
export interface EngineDescent {
  readonly loss: EngineLoss;
  readonly features: EnginePart;
  readonly prototypes: EnginePart;
  readonly biases: EnginePart;
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly rescaled: boolean;
  readonly batch: number;
  readonly seed: number;
  readonly asItIs: boolean;
  readonly measures: Float64Array;
  readonly every: number;
  /** Measure, whether below, value; or nothing. */
  readonly event: Float64Array;
  /** Negative: never. */
  readonly stationary: number;
}

/** How a call of `descentAdvance` ended for one run. Rows of `records` are a step and the measures before it. */
export interface EngineOutcome {
  readonly reason: 'steps' | 'event' | 'stationary' | 'diverged';
  readonly step: number;
  readonly records: Float64Array;
}

/** Of images `[count, height, width, channels]`. */
export interface ImageSizes {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/** `Augmentation` of native/ops/augment. */
export interface AugmentationPlan {
  readonly padding: number;
  readonly shift: number;
  readonly flip: boolean;
  readonly mixup: number;
  readonly mean: Float64Array;
  readonly std: Float64Array;
  readonly seed: number;
}

export interface RawAugmented {
  readonly images: Float32Array;
  readonly partners: Int32Array;
  readonly shares: Float64Array;
}

/** The addon's functions; `native/addon/<name>.cpp` documents each. */
export interface Engine {
  augment(
    mode: Mode,
    images: Uint8Array,
    sizes: ImageSizes,
    indices: Int32Array,
    count: number,
    epoch: number,
    plan: AugmentationPlan,
  ): Result<RawAugmented>;
  /** The numbers of an `Evaluation` of native/ops/kernel_flow/measure, in order. */
  evaluate(
    mode: Mode,
    features: Float,
    prototypes: Float,
    biases: Float | undefined,
    labels: Int32Array,
    sizes: Sizes,
    limitFeatures?: Float,
    limitPrototypes?: Float,
  ): Result<Float64Array>;
  /** How often each channel has each value, `[channels, 256]`. */
  histogram(mode: Mode, images: Uint8Array, sizes: ImageSizes): Result<Float64Array>;
  info(): EngineInfo;
  /** Value, accuracy, smallest margin and regularizer; then the gradients of features, prototypes and biases. */
  lossAndGradient(
    mode: Mode,
    features: Float,
    prototypes: Float,
    biases: Float | undefined,
    labels: Int32Array,
    sizes: Sizes,
    loss: EngineLoss,
  ): Result<[numbers: Float64Array, features: Float, prototypes: Float, biases: Float]>;
  /** The numbers of `lossAndGradient`, without a gradient being made. */
  measureLoss(
    mode: Mode,
    features: Float,
    prototypes: Float,
    biases: Float | undefined,
    labels: Int32Array,
    sizes: Sizes,
    loss: EngineLoss,
  ): Result<Float64Array>;
  kernelCheck(mode: Mode, kernel: Float64Array, rows: number, tolerance: number): Result<undefined>;
  kernelModes(
    mode: Mode,
    kernel: Float64Array,
    features: Float64Array,
    prototypes: Float64Array,
    biases: Float64Array | undefined,
    labels: Int32Array,
    layout: KernelLayout,
    gamma: number,
  ): Result<KernelModes>;
  /** The modes must lie in shared memory. */
  kernelCombine(
    mode: Mode,
    layout: KernelLayout,
    features: Float64Array,
    modes: KernelModes,
    initial: number,
    coefficients: Float64Array,
  ): Result<{ readonly features: Float64Array; readonly prototypes: Float64Array }>;
  kernelMse(
    mode: Mode,
    kernel: Float64Array,
    z: Float64Array,
    labels: Int32Array,
    layout: KernelLayout,
    plan: FollowPlan,
  ): Result<Followed>;
  margins(mode: Mode, ...rest: StateArrays): Result<RawMargins>;
  kktCertificate(mode: Mode, ...rest: [...StateArrays, wanted: boolean]): Result<RawCertificate>;
  tangentCurvature(
    mode: Mode,
    ...rest: [...StateArrays, search: { sum: boolean; tolerance: number; steps: number; seed: number }]
  ): Result<RawCurvature>;
  matmul(mode: Mode, a: Float, aSize: number, b: Float, bSize: number, plan: MatmulPlan, out?: Float): Result<Float>;
  crossEntropyFlow(
    mode: Mode,
    z: Float64Array,
    labels: Int32Array,
    sizes: Sizes,
    loss: EngineLoss,
    plan: FollowPlan,
  ): Result<Followed>;
  /** The state (features, prototypes, biases if given) after all steps. */
  descend(
    mode: Mode,
    features: Float,
    prototypes: Float,
    biases: Float | undefined,
    labels: Int32Array,
    samples: number,
    classes: number,
    dim: number,
    plan: DescentPlan,
  ): Result<Float[]>;
  /** A handle of runs of projected descent, of one shape. */
  descentBegin(dtype: DType, sizes: Sizes): object;
  /** Adds a run; whether its features and prototypes had to be projected. */
  descentAdd(
    handle: object,
    features: Float,
    prototypes: Float,
    biases: Float | undefined,
    labels: Int32Array,
    plan: EngineDescent,
    targetFeatures?: Float,
    targetPrototypes?: Float,
  ): [features: boolean, prototypes: boolean];
  /** Rates are `[3, steps]` for all runs, or `[runs, 3, steps]`; `shown`: whether the state is looked at afterwards. */
  descentAdvance(mode: Mode, handle: object, rates: Float64Array, steps: number, shown: boolean): Result<EngineOutcome[]>;
  /** The step and the measures of each run. */
  descentObserve(mode: Mode, handle: object): Result<Float64Array[]>;
  descentState(handle: object, run: number, velocity: boolean): Float[];
  descentRestore(handle: object, run: number, step: number, features?: Float, prototypes?: Float, biases?: Float): void;
  /** Features, prototypes, biases. */
  products(
    mode: Mode,
    features: Float,
    prototypes: Float,
    labels: Int32Array,
    samples: number,
    classes: number,
    dim: number,
    gamma: number,
  ): Result<Float[]>;
  /** Features of plus1, minus1, plus2, minus2, rest, then prototypes of the same. */
  projections(
    mode: Mode,
    features: Float,
    prototypes: Float,
    labels: Int32Array,
    samples: number,
    classes: number,
    dim: number,
  ): Result<Float[]>;
  /** A handle, for the steps of one measurement. */
  collapseBegin(
    dtype: DType,
    classes: number,
    dim: number,
    prototypes: Float | undefined,
    biases: Float | undefined,
    options: EngineCollapseOptions,
  ): object;
  collapseSum(mode: Mode, handle: object, features: Float, rows: number, labels: Int32Array): Result<void>;
  collapseCenter(mode: Mode, handle: object): Result<void>;
  collapseMeasure(mode: Mode, handle: object, features: Float, rows: number, labels: Int32Array): Result<void>;
  collapseResult(mode: Mode, handle: object): Result<RawCollapse>;
  trajectoryStart(
    mode: Mode,
    features: Float,
    prototypes: Float,
    biases: Float | undefined,
    labels: Int32Array,
    samples: number,
    classes: number,
    dim: number,
    gamma: number,
    law: Law,
  ): Result<object>;
  /** What drives the law from time 0 on: factors or two learning rates of a descent's steps, or two rates in pieces. */
  trajectoryDrive(handle: object, first: Float64Array, second: Float64Array | undefined, pieces: boolean): void;
  trajectoryState(mode: Mode, handle: object, time: number, unit: boolean): Result<RawState>;
  /** A column for each name. */
  trajectoryMeasure(mode: Mode, handle: object, times: Float64Array, names: readonly string[]): Result<Float64Array[]>;
  trajectoryLimit(mode: Mode, handle: object): Result<RawLimit>;
  trajectoryLimitState(mode: Mode, handle: object, unit: boolean): Result<RawArrays>;
  trajectoryDispose(handle: object): void;
  sphericalStart(mode: Mode, ...rest: [...StateArrays, gamma: number]): Result<SphericalStart>;
  /** The predicted classes, and the arrays of numbers of `SoftmaxRows` of native/ops/loss/softmax, one after another. */
  softmaxRows(
    mode: Mode,
    logits: Float,
    labels: Int32Array | undefined,
    beta: number,
    sizes: Omit<Sizes, 'dim'>,
  ): Result<readonly [predicted: Int32Array, numbers: Float64Array]>;
  sphericalAdvance(
    mode: Mode,
    angles: Float64Array,
    pull: Float64Array,
    rates: Float64Array,
    samples: number,
    rescaled: boolean,
  ): Result<Float64Array>;
  sphericalFeatures(
    mode: Mode,
    ...rest: [...StateArrays, targets: Float64Array, start: Float64Array, now: Float64Array, scale: number]
  ): Result<Float>;
  sphericalLogits(
    mode: Mode,
    ...rest: [...StateArrays, targets: Float64Array, start: Float64Array]
  ): Result<{ readonly ahead: Float64Array; readonly aside: Float64Array }>;
  /** Rows of six measures, and the angles at the last wanted step; without logits `classes` is 0. */
  sphericalMeasure(
    mode: Mode,
    angles: Float64Array,
    pull: Float64Array,
    rates: Float64Array,
    wanted: Float64Array,
    samples: number,
    rescaled: boolean,
    scale: number,
    classes: number,
    ahead?: Float64Array,
    aside?: Float64Array,
    biases?: Float64Array,
    labels?: Int32Array,
  ): Result<{ readonly measures: Float64Array; readonly angles: Float64Array }>;
}

const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
let loaded: Engine | undefined;

/** The addon, loaded at the first use. @throws `LP_NOT_BUILT` with the cause and the command that mends it */
export function engine(): Engine {
  if (loaded) return loaded;
  const require = createRequire(import.meta.url);
  try {
    loaded = require('node-gyp-build')(packageRoot) as Engine;
    return loaded;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
    throw new LayerpeelError(
      'LP_NOT_BUILT',
      `The native engine cannot be loaded (${reason}). Where no prebuilt binary fits, build it: ` +
        `cd ${packageRoot} && npx --yes cmake-js@8 compile --out build/cmake (needs a C++20 compiler and CMake).`,
      { cause },
    );
  }
}

/** Path of the binary that `engine()` loads. */
export function enginePath(): string {
  return createRequire(import.meta.url)('node-gyp-build').resolve(packageRoot) as string;
}
