/**
 * The losses of the layer-peeled model, with their gradients by features, prototypes and biases. With `u = h`, or
 * `u = h/‖h‖` where features are normalized, logits `z = W u + b`, and `y` the label of a sample, one sample's loss is
 *
 *     unhinged         −z_y + γ Σ_{j≠y} z_j                                               (UL Eq. 1)
 *     cross-entropy    −Σ_j t_j log softmax(z)_j,  t = (1−s) e_y + s/C, or a soft label
 *     mse              ‖z − e_y‖²                                                         (UL Eq. 25)
 *     hinge            Σ_{j≠y} max(0, z_j − z_y + margin)
 *     dot-regression   (w_yᵀu − √(E_W E_H))² / (2√(E_W E_H))                              (ETF Eq. 14)
 *     adjusted-margin  unhinged, with w_y turned towards h where they are all but opposite (UL Eq. 104, corrected)
 *
 * and the loss of a state is the mean over its samples (each times the weight of its class), plus an explicit
 * regularization of the features (UL §4.2).
 */

import {
  checkPlacedState,
  checkPrecision,
  type DeviceArray,
  type DeviceOptions,
  type DeviceState,
  type Operands,
  type Precision,
  type PrecisionOptions,
  stateBytes,
  stateShapes,
} from '../array/device.js';
import { checkArray, type NDArray, type State, showShape } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import {
  type Bounds,
  checkBoolean,
  checkChoice,
  checkKeys,
  checkNumber,
  checkNumbers,
  inside,
  option,
  type Place,
} from '../check/options.js';
import { checkGamma } from '../check/quantities.js';
import type { Operand, RawArrays } from '../engine/load.js';
import { run, runSync, type Task } from '../engine/run.js';

/** One number a class. */
export type PerClass = readonly number[] | Float32Array | Float64Array;

export type Loss =
  | {
      readonly kind: 'unhinged';
      /** Weight of the other classes' logits; `1/(C−1)` averages the margins. */
      readonly gamma: number;
    }
  | {
      readonly kind: 'cross-entropy';
      /** Factors of the losses of each class's samples. The mean still divides by the number of samples. @default 1 */
      readonly classWeights?: PerClass;
      /** `s`, from 0 to 1. @default 0 */
      readonly labelSmoothing?: number;
      /** Targets `[n, C]` in place of labels (which then serve accuracy and margins alone), rows that add up to 1. */
      readonly softLabels?: NDArray;
    }
  | { readonly kind: 'mse' }
  | {
      readonly kind: 'hinge';
      /** By how much the own logit has to lead. @default 1 */
      readonly margin?: number;
    }
  | DotRegression
  | {
      readonly kind: 'adjusted-margin';
      readonly gamma: number;
      /** `ε` in (0, 1): below the cosine `−1 + ε` the prototype is turned, by a vector held fixed, to that cosine. */
      readonly epsilon: number;
    };

/**
 * Dot regression towards a fixed classifier. Two conventions are in use:
 *
 * - `energies` (the paper): `E_W` and `E_H` are squared lengths, `(w_yᵀu − √(E_W E_H))² / (2√(E_W E_H))`, and normalized
 *   features have the length `√E_H`;
 * - `lengths` (the released code): `(w_yᵀu − ℓ_W ℓ_H)² / (2ℓ_H)` with lengths, `ℓ_H` of each feature its own one held
 *   fixed unless given; normalized features have the length `ℓ_H` or 1.
 *
 * Biases play no part.
 */
export interface DotRegression {
  readonly kind: 'dot-regression';
  /** @default 'energies' */
  readonly convention?: 'energies' | 'lengths' | undefined;
  /**
   * `fixed`: prototypes count by their direction, at their stated length, and their gradient is 0. `learnable`: as they
   * are. @default 'fixed'
   */
  readonly prototypes?: 'fixed' | 'learnable' | undefined;
  /** `E_W` of the convention `energies`, of all or of each class (see `balancedLengths`). @default 1 */
  readonly prototypeEnergy?: number | PerClass | undefined;
  /** `E_H`. @default 1 */
  readonly featureEnergy?: number | undefined;
  /** `ℓ_W` of the convention `lengths`, of all or of each class. @default 1 */
  readonly prototypeLength?: number | PerClass | undefined;
  /** `ℓ_H`. @default each feature's own, or 1 where they are normalized */
  readonly featureLength?: number | undefined;
}

/** Explicit regularization of the features as they are, `weight · Σ_i ‖h_i‖²` over the normalization. */
export interface Regularization {
  /** `λ` */
  readonly weight: number;
  /** `sum`: as it stands (UL §4.2). `mean`: over the number of samples. `half-mean`: half of that. @default 'sum' */
  readonly normalization?: 'sum' | 'mean' | 'half-mean' | undefined;
}

/** What stands around a loss. */
export interface LossSetting {
  /** Whether features enter by their direction, and gradients through that. @default false */
  readonly normalizeFeatures?: boolean | undefined;
  /** Mean or sum over the samples. @default 'mean' */
  readonly reduction?: 'mean' | 'sum' | undefined;
  /** @default none */
  readonly regularization?: Regularization | undefined;
}

export interface LossAndGradient<A extends NDArray | DeviceArray = NDArray> {
  /** The loss, regularization included. */
  readonly value: number;
  /** Share of samples whose largest logit is their own, and `min_i (z_y − max_{j≠y} z_j)`. */
  readonly accuracy: number;
  readonly minMargin: number;
  /** Gradients by features `[n, p]`, prototypes `[C, p]` and biases `[C]`. */
  readonly features: A;
  readonly prototypes: A;
  readonly biases: A;
}

export interface LossOptions<A extends NDArray | DeviceArray = NDArray>
  extends LossSetting,
    Control,
    DeviceOptions,
    PrecisionOptions {
  /**
   * Arrays that the gradients go to, such as those of an earlier result; they share no memory with the state or each other, and
   * hold what is not specified after a call that fails or is stopped.
   * @default new arrays
   */
  readonly out?: Pick<LossAndGradient<A>, 'features' | 'prototypes' | 'biases'> | undefined;
}

/**
 * The loss of a state and its gradients. Logits are made a block of samples at a time and never stored whole; the result
 * does not depend on the number of threads.
 *
 * @throws `LP_OPTION` (also of a zero feature that has to be normalized, named by its index), `LP_SHAPE`, `LP_LABEL`,
 *   `LP_DTYPE`, `LP_NOT_FINITE`, `LP_OVERFLOW`, `LP_DETACHED`, `LP_DEVICE`, `LP_MEMORY`, `LP_ABORTED`
 */
export async function lossAndGradient(loss: Loss, state: State, options?: LossOptions): Promise<LossAndGradient>;
export async function lossAndGradient(
  loss: Loss,
  state: DeviceState,
  options?: LossOptions<DeviceArray>,
): Promise<LossAndGradient<DeviceArray>>;
export async function lossAndGradient(
  loss: Loss,
  state: State | DeviceState,
  options: LossOptions<NDArray | DeviceArray> = {},
): Promise<LossAndGradient<NDArray | DeviceArray>> {
  return run(differentiate(loss, state, options), options);
}

/** `lossAndGradient` on the calling thread (its loops still use every compute thread). */
export function lossAndGradientSync(loss: Loss, state: State, options: LossOptions = {}): LossAndGradient {
  return runSync(differentiate(loss, state, options));
}

export type LossMeasures = Pick<LossAndGradient, 'value' | 'accuracy' | 'minMargin'>;

/** The keys of `LossSetting`. */
export const settingKeys = ['normalizeFeatures', 'reduction', 'regularization'] as const;

/** `Loss` of native/ops/loss/losses. */
export interface EngineLoss {
  readonly kind: Loss['kind'];
  readonly gamma: number;
  readonly smoothing: number;
  readonly margin: number;
  readonly epsilon: number;
  readonly classWeights?: Float64Array | undefined;
  readonly softLabels?: Float64Array | undefined;
  readonly targets?: Float64Array | undefined;
  readonly curvatures?: Float64Array | undefined;
  readonly prototypeLengths?: Float64Array | undefined;
  readonly ownLength: boolean;
  readonly normalized: boolean;
  readonly radius: number;
  readonly sum: boolean;
  readonly regularization: number;
}

declare module '../engine/load.js' {
  interface Engine {
    /** The loss and its gradients. */
    lossAndGradient(
      mode: Mode,
      state: EngineState,
      loss: PlacedLoss,
      out: Operands<ReturnType<typeof stateShapes>> | undefined,
    ): Result<RawLoss>;
    measureLoss(mode: Mode, state: EngineState, loss: PlacedLoss): Result<LossMeasures>;
  }
}

/** A loss, and how a device makes its products. */
interface PlacedLoss extends EngineLoss {
  /** @default 'float32' */
  readonly precision?: Precision;
}

interface RawLoss extends LossMeasures, Required<RawArrays<Operand>> {}

/** What `lossAndGradient` says of a state, at the cost of its logits: no gradient is made. */
export async function measureLoss(
  loss: Loss,
  state: State | DeviceState,
  options: Omit<LossOptions, 'out'> = {},
): Promise<LossMeasures> {
  const { checked, plan, place } = prepare(loss, state, options);
  return run({ place, call: (engine, mode) => engine.measureLoss(mode, checked, plan), wrap: (raw: LossMeasures) => raw }, options);
}

/** A loss of a state as the engine takes it, and where it runs. @param shapes of its gradients, if they are wanted */
function prepare(loss: Loss, state: State | DeviceState, options: LossOptions<NDArray | DeviceArray>, shapes?: typeof stateShapes) {
  checkOptions(options, [...settingKeys, ...(shapes ? ['out'] : []), 'device', 'precision']);
  const precision = checkPrecision(options);
  const { checked, ...placement } = checkPlacedState(
    state,
    options,
    (state) => ({ operations: 6 * state.samples * state.classes * state.dim, bytes: stateBytes(state) }),
    shapes,
  );
  return { checked, plan: { ...checkLoss(loss, options, checked, option('loss'), option('options')), precision }, ...placement };
}

function differentiate<A extends NDArray | DeviceArray>(
  loss: Loss,
  state: State | DeviceState,
  options: LossOptions<NDArray | DeviceArray>,
): Task<RawLoss, LossAndGradient<A>> {
  const { checked, plan, out, place, give } = prepare(loss, state, options, stateShapes);
  const { samples, classes, dim } = checked;
  return {
    place,
    call: (engine, mode) => engine.lossAndGradient(mode, checked, plan, out),
    wrap: ({ features, prototypes, biases, ...measures }) => ({
      ...measures,
      features: give<A>([samples, dim], features),
      prototypes: give<A>([classes, dim], prototypes),
      biases: give<A>([classes], biases as Operand),
    }),
  };
}

const parameters = {
  unhinged: ['gamma'],
  'cross-entropy': ['classWeights', 'labelSmoothing', 'softLabels'],
  mse: [],
  hinge: ['margin'],
  'dot-regression': ['convention', 'prototypes', 'prototypeEnergy', 'featureEnergy', 'prototypeLength', 'featureLength'],
  'adjusted-margin': ['gamma', 'epsilon'],
} as const;

/** The kinds of losses. */
export const lossKinds = Object.keys(parameters) as (keyof typeof parameters)[];

interface Counts {
  readonly samples: number;
  readonly classes: number;
}

/** A loss and its setting as the engine takes them. @throws the places' codes, with the path to what is wrong */
export function checkLoss(
  loss: unknown,
  setting: LossSetting,
  { samples, classes }: Counts,
  place: Place,
  around: Place,
): EngineLoss {
  const kind = checkChoice((loss as { kind?: unknown } | undefined)?.kind, lossKinds, inside(place, 'kind'));
  const given = checkKeys(loss, ['kind', ...parameters[kind]], place) as Record<string, unknown>;
  const number = (key: string, fallback: number | undefined, bounds: Bounds = {}) =>
    checkNumber(given[key] ?? fallback, inside(place, key), bounds);
  const normalized = checkBoolean(setting.normalizeFeatures ?? false, inside(around, 'normalizeFeatures'));
  const sum = checkChoice(setting.reduction ?? 'mean', ['mean', 'sum'] as const, inside(around, 'reduction')) === 'sum';
  const plan: EngineLoss = {
    kind,
    gamma: 0,
    smoothing: 0,
    margin: 1,
    epsilon: 0,
    ownLength: false,
    normalized,
    radius: 1,
    sum,
    regularization: checkRegularization(setting.regularization, samples, inside(around, 'regularization')),
  };
  switch (kind) {
    case 'unhinged':
      return { ...plan, gamma: checkGamma(given.gamma, inside(place, 'gamma')) };
    case 'adjusted-margin': {
      const epsilon = number('epsilon', undefined, { above: 0, below: 1 });
      return { ...plan, gamma: checkGamma(given.gamma, inside(place, 'gamma')), epsilon };
    }
    case 'mse':
      return plan;
    case 'hinge':
      return { ...plan, margin: number('margin', 1) };
    case 'cross-entropy':
      return {
        ...plan,
        smoothing: number('labelSmoothing', 0, { min: 0, max: 1 }),
        ...(given.classWeights !== undefined && {
          classWeights: checkPerClass(given.classWeights, classes, inside(place, 'classWeights'), { min: 0 }),
        }),
        ...(given.softLabels !== undefined && { softLabels: checkSoftLabels(given, samples, classes, place) }),
      };
    case 'dot-regression':
      return { ...plan, ...checkDotRegression(given, normalized, classes, place) };
  }
}

function checkRegularization(given: unknown, samples: number, place: Place): number {
  if (given === undefined) return 0;
  const { weight, normalization = 'sum' } = checkKeys(given, ['weight', 'normalization'], place);
  const kind = checkChoice(normalization, ['sum', 'mean', 'half-mean'] as const, inside(place, 'normalization'));
  const factor = { sum: 1, mean: 1 / samples, 'half-mean': 0.5 / samples }[kind];
  return factor * checkNumber(weight, inside(place, 'weight'), { min: 0 });
}

/** Numbers of the classes. */
export function checkPerClass(values: unknown, classes: number, place: Place, bounds: Bounds): Float64Array {
  const numbers = checkNumbers(values, place, bounds);
  if (numbers.length === classes) return numbers;
  throw new LayerpeelError(place.code, `${place.path} has ${numbers.length} numbers; expected ${classes}, one a class.`);
}

/** Numbers of the classes, or one number for all. */
const checkPerClassOrOne = (values: unknown, classes: number, place: Place, bounds: Bounds): Float64Array =>
  typeof values === 'number'
    ? new Float64Array(classes).fill(checkNumber(values, place, bounds))
    : checkPerClass(values, classes, place, bounds);

function checkSoftLabels(given: Record<string, unknown>, samples: number, classes: number, place: Place): Float64Array {
  if (given.labelSmoothing) {
    throw new LayerpeelError(place.code, `${place.path} has softLabels and labelSmoothing; give one of them.`);
  }
  const { shape, data } = checkArray(given.softLabels, `${place.path}.softLabels`, 2);
  if (shape[0] !== samples || shape[1] !== classes) {
    throw new LayerpeelError('LP_SHAPE', `${place.path}.softLabels is ${showShape(shape)}; expected [${samples}, ${classes}].`);
  }
  const rows = Float64Array.from(data);
  for (let i = 0; i < samples; i++) {
    let sum = 0;
    for (let c = 0; c < classes; c++) {
      const share = data[i * classes + c] as number;
      if (!(share >= 0)) {
        throw new LayerpeelError(place.code, `${place.path}.softLabels[${i}, ${c}] is ${share}; expected at least 0.`);
      }
      sum += share;
    }
    if (!(Math.abs(sum - 1) < 1e-5)) {
      throw new LayerpeelError(place.code, `${place.path}.softLabels[${i}] adds up to ${sum}; expected 1.`);
    }
    // Rows rounded to float32 are made whole.
    for (let c = 0; c < classes; c++) rows[i * classes + c] = (data[i * classes + c] as number) / sum;
  }
  return rows;
}

function checkDotRegression(
  given: Record<string, unknown>,
  normalized: boolean,
  classes: number,
  place: Place,
): Partial<EngineLoss> {
  const convention = checkChoice(given.convention ?? 'energies', ['energies', 'lengths'] as const, inside(place, 'convention'));
  const [own, other] = convention === 'energies' ? ['Energy', 'Length'] : ['Length', 'Energy'];
  for (const key of [`prototype${other}`, `feature${other}`]) {
    if (given[key] === undefined) continue;
    throw new LayerpeelError(
      place.code,
      `${place.path}.${key} does not belong to the convention '${convention}'; give ${key.replace(other as string, own as string)}.`,
    );
  }
  const kind = checkChoice(given.prototypes ?? 'fixed', ['fixed', 'learnable'] as const, inside(place, 'prototypes'));
  const sizes = checkPerClassOrOne(given[`prototype${own}`] ?? 1, classes, inside(place, `prototype${own}`), { above: 0 });
  const feature = checkNumber(given[`feature${own}`] ?? 1, inside(place, `feature${own}`), { above: 0 });
  if (convention === 'energies') {
    const targets = sizes.map((energy) => Math.sqrt(energy * feature));
    return {
      targets,
      curvatures: targets.map((target) => 1 / target),
      radius: Math.sqrt(feature),
      ...(kind === 'fixed' && { prototypeLengths: sizes.map(Math.sqrt) }),
    };
  }
  return {
    targets: sizes.map((length) => length * feature),
    curvatures: new Float64Array(classes).fill(1 / feature),
    radius: feature,
    ownLength: !normalized && given.featureLength === undefined,
    ...(kind === 'fixed' && { prototypeLengths: sizes }),
  };
}
