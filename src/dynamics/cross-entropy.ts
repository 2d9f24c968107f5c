/**
 * Gradient flow of the cross-entropy layer-peeled model, `θ' = −η ∇L(θ)`, integrated in logarithmic time `s = log(1 + ηt)`:
 *
 *     dθ/ds = −e^s ∇L(θ).
 *
 * Once every sample is on its side the loss falls like `1/t`, the norm grows like `√log t` and the direction tends to one of
 * a KKT point of the minimum-norm separation problem (LP Theorem 3.2), so that in `s` the flow neither stiffens nor stalls:
 * `t = 10¹²` is `s = 28`. Where the minimum is finite instead (label smoothing, soft labels, classes that these dimensions
 * cannot separate) the flow comes to rest, at a critical point, and stays there at no cost; until then, and where classes that
 * cannot be separated drift on for ever, the cost grows with `t`. The steps are those of Dormand
 * and Prince 8(5,3), of a length that keeps every local error within the tolerance. Of the flow without biases `WᵀW − HᵀH`
 * stays as it began.
 */

import { type CheckedState, checkState, type State } from '../array/ndarray.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkChoice, checkNumber, inside, option } from '../check/options.js';
import { drive, driveSync, type Steps, step } from '../engine/run.js';
import { checkLoss, type EngineLoss, type Loss, type LossMeasures } from '../losses/losses.js';
import { smoothedMargin } from '../losses/margins.js';
import { fit, freshState, normOf, ofShape, scaled } from '../state/states.js';
import { type Columns, ComputedTrajectory, checkControl } from './computed.js';
import type { FlowState, Followed, FollowPlan } from './followed.js';
import type { Limit, MeasureName, ScaledDirection, Trajectory } from './trajectory.js';

export interface CrossEntropyFlowOptions extends Control {
  /** `η`, constant. @default 1 */
  readonly rate?: number | undefined;
  /** With class weights, smoothing or soft labels. @default { kind: 'cross-entropy' } */
  readonly loss?: Extract<Loss, { kind: 'cross-entropy' }> | undefined;
  /** Mean or sum over the samples. @default 'mean' */
  readonly reduction?: 'mean' | 'sum' | undefined;
  /** Bound of the local errors, over the size of the state, from 1e-14 to 1e-2. @default 1e-10 */
  readonly tolerance?: number | undefined;
}

/** A trajectory that knows the error of its integration. */
export interface CrossEntropyTrajectory extends Trajectory {
  /** The sum of the local errors on the way to `time`, over the size of the state. */
  errorAt(time: number, control?: Control): Promise<number>;
  errorAtSync(time: number): number;
}

/**
 * The flow from a state. Times go up to 1e300. It measures loss (`logAbsLoss` too), accuracy, margins, norms, and
 * `normalizedMargin` and `smoothedMargin` of LP §3.1.
 *
 * @throws `LP_OPTION`, `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_NOT_FINITE`, `LP_OVERFLOW`, `LP_DETACHED`, `LP_ABORTED`
 */
export async function crossEntropyFlow(state: State, options: CrossEntropyFlowOptions = {}): Promise<CrossEntropyTrajectory> {
  const flow = new Flow(state, options);
  await drive(flow.begin(), { signal: options.signal });
  return flow;
}

/** `crossEntropyFlow` on the calling thread, as its `…Sync` methods. */
export function crossEntropyFlowSync(state: State, options: CrossEntropyFlowOptions = {}): CrossEntropyTrajectory {
  const flow = new Flow(state, options);
  driveSync(flow.begin());
  return flow;
}

const measures = [
  'loss',
  'logAbsLoss',
  'accuracy',
  'minMargin',
  'logNorm',
  'featureNorm',
  'prototypeNorm',
  'logFeatureNorm',
  'logPrototypeNorm',
  'normalizedMargin',
  'smoothedMargin',
] as const;

/** The state at a time, as one vector `(H, W, b)`; its clock is `s`. */
type Reached = Followed;

/** The last `s`: of t = 1e300. */
const LAST = 691;
/** Steps that the flow is given to come to rest when its limit is asked for. */
const LIMIT_STEPS = 20_000;
const ANY_STEPS = 2 ** 31 - 1;

declare module '../engine/load.js' {
  interface Engine {
    crossEntropyFlow(mode: Mode, state: FlowState, plan: FollowPlan & { readonly loss: EngineLoss }): Result<Followed>;
  }
}

class Flow extends ComputedTrajectory implements CrossEntropyTrajectory {
  protected readonly known = measures;
  protected readonly stepwise = false;
  private readonly initial: CheckedState;
  private readonly loss: EngineLoss;
  /** Whether the loss is that of LP Lemma B.2. */
  private readonly plain: boolean;
  private readonly rate: number;
  private readonly tolerance: number;
  private readonly start: Reached;
  private latest: Reached;

  constructor(state: State, options: CrossEntropyFlowOptions) {
    super();
    const place = option('options');
    checkOptions(options, ['rate', 'loss', 'reduction', 'tolerance'], place);
    this.rate = checkNumber(options.rate ?? 1, inside(place, 'rate'), { above: 0 });
    this.tolerance = checkNumber(options.tolerance ?? 1e-10, inside(place, 'tolerance'), { min: 1e-14, max: 1e-2 });
    const loss = options.loss ?? { kind: 'cross-entropy' };
    checkChoice(loss.kind, ['cross-entropy'], inside(inside(place, 'loss'), 'kind'));
    const checked = checkState(state);
    this.initial = { ...checked, labels: checked.labels.slice() };
    this.loss = checkLoss(loss, { reduction: options.reduction ?? 'mean' }, checked, inside(place, 'loss'), place);
    this.plain = isPlain(this.loss) && checked.biases === undefined;
    const { features, prototypes, biases } = checked;
    const z = new Float64Array(features.length + prototypes.length + (biases?.length ?? 0));
    z.set(features);
    z.set(prototypes, features.length);
    if (biases) z.set(biases, features.length + prototypes.length);
    this.start = { z, time: 0, step: 0, error: 0, atRest: false, rate: Number.NaN };
    this.latest = this.start;
  }

  begin(): Steps<Reached> {
    return this.integrate(this.start, 0);
  }

  async errorAt(time: number, control: Control = {}): Promise<number> {
    return (await drive(this.reach(this.checkTime(time)), checkControl(control))).error;
  }
  errorAtSync(time: number): number {
    return driveSync(this.reach(this.checkTime(time))).error;
  }

  protected release(): void {
    this.latest = this.start;
  }

  private *reach(time: number): Steps<Reached> {
    const clock = Math.log1p(this.rate * time);
    if (!(clock <= LAST)) throw new LayerpeelError('LP_OPTION', `The time ${time} at rate ${this.rate} is beyond 1e300.`);
    const from = this.latest.time <= clock ? this.latest : this.start;
    this.latest = from.time === clock ? from : yield* this.integrate(from, clock);
    return this.latest;
  }

  private *integrate(from: Reached, to: number, maxSteps = ANY_STEPS): Steps<Reached> {
    if (from.atRest) return { ...from, time: to };
    const { labels, samples, classes, dim, biases } = this.initial;
    const state = { z: from.z, labels, samples, classes, dim };
    const course = { from: from.time, to, step: from.step, tolerance: this.tolerance, maxSteps };
    const plan = { loss: this.loss, biased: biases !== undefined, ...course };
    return yield* step({
      call: (engine, mode) => engine.crossEntropyFlow(mode, state, plan),
      wrap: (followed: Followed) => ({
        ...followed,
        error: from.error + followed.error,
        rate: Number.isNaN(followed.rate) ? from.rate : followed.rate,
      }),
    });
  }

  private split({ z }: Reached) {
    const { samples, classes, dim, biases } = this.initial;
    const [features, prototypes] = [samples * dim, classes * dim];
    return {
      features: z.subarray(0, features),
      prototypes: z.subarray(features, features + prototypes),
      biases: biases && z.subarray(features + prototypes),
    };
  }

  protected *state(time: number): Steps<State> {
    const { features, prototypes, biases } = this.split(yield* this.reach(time));
    const own = (x: Float64Array) => fit(this.initial, x);
    return freshState(this.initial, own(features), own(prototypes), biases && own(biases));
  }

  protected *direction(time: number): Steps<ScaledDirection> {
    const { features, prototypes } = this.split(yield* this.reach(time));
    const { samples, classes, dim } = this.initial;
    const norm = Math.hypot(normOf(features), normOf(prototypes));
    if (norm === 0) throw new LayerpeelError('LP_OPTION', `The state is zero at time ${time} and has no direction.`);
    return {
      features: ofShape([samples, dim], fit(this.initial, scaled(features, 1 / norm))),
      prototypes: ofShape([classes, dim], fit(this.initial, scaled(prototypes, 1 / norm))),
      logNorm: Math.log(norm),
    };
  }

  protected *columns(times: Float64Array, names: ReadonlySet<MeasureName>): Steps<Columns> {
    if (names.has('smoothedMargin') && !this.plain) {
      throw new LayerpeelError(
        'LP_OPTION',
        'smoothedMargin is of plain cross-entropy without biases (LP Lemma B.2): of class weights, label smoothing, soft labels and ' +
          'biases it says nothing; normalizedMargin does.',
      );
    }
    const inLogarithms = names.has('logAbsLoss') || names.has('smoothedMargin');
    const columns = Object.fromEntries([...names].map((name) => [name, new Float64Array(times.length)]));
    for (const [row, time] of times.entries()) {
      const reached = yield* this.reach(time);
      const { features, prototypes } = this.split(reached);
      const { loss, accuracy, minMargin } = yield* this.look(reached);
      const logLoss = inLogarithms ? yield* this.logLoss(reached, loss, minMargin) : Number.NaN;
      const [featureNorm, prototypeNorm] = [normOf(features), normOf(prototypes)];
      const square = featureNorm ** 2 + prototypeNorm ** 2;
      const all: Record<(typeof measures)[number], number> = {
        loss,
        logAbsLoss: logLoss,
        accuracy,
        minMargin,
        logNorm: Math.log(square) / 2,
        featureNorm,
        prototypeNorm,
        logFeatureNorm: Math.log(featureNorm),
        logPrototypeNorm: Math.log(prototypeNorm),
        normalizedMargin: minMargin / square,
        smoothedMargin: smoothedMargin(logLoss + (this.loss.sum ? 0 : Math.log(this.initial.samples)), square),
      };
      for (const name of names) (columns[name] as Float64Array)[row] = all[name as keyof typeof all];
    }
    return columns as Columns;
  }

  private *look(reached: Reached): Steps<{ loss: number; accuracy: number; minMargin: number }> {
    const { labels, samples, classes, dim } = this.initial;
    const state = { ...this.split(reached), labels, samples, classes, dim };
    const { value, accuracy, minMargin } = yield* step({
      call: (engine, mode) => engine.measureLoss(mode, state, this.loss),
      wrap: (raw: LossMeasures) => raw,
    });
    return { loss: value, accuracy, minMargin };
  }

  /** `log L`; of a plain loss also long after `L` has left the range of a double. */
  private *logLoss(reached: Reached, loss: number, minMargin: number): Steps<number> {
    if (!this.plain || minMargin <= 0 || loss > 1e-8) return Math.log(loss);
    const { labels, samples, classes, dim } = this.initial;
    const state = { ...this.split(reached), labels, samples, classes, dim };
    const logSum = yield* step({
      call: (engine, mode) => engine.kktCertificate(mode, state, { multipliers: false }),
      wrap: ({ logLoss }: { readonly logLoss: number }) => logLoss,
    });
    return logSum - (this.loss.sum ? 0 : Math.log(samples));
  }

  /**
   * Followed to rest, or to where every sample is separated: the sum of the losses is below `log 2` of the least weight. From
   * there on it falls to 0 (LP Theorem 3.2).
   */
  protected *ending(): Steps<Limit> {
    const separable = this.loss.smoothing === 0 && this.loss.softLabels === undefined;
    const weights = Array.from(this.loss.classWeights ?? [1]).filter((weight) => weight > 0);
    const least = weights.reduce((smallest, weight) => Math.min(smallest, weight), Number.POSITIVE_INFINITY);
    const separated = (Math.LN2 * least) / (this.loss.sum ? 1 : this.initial.samples);
    let reached = this.start;
    for (let to = separable ? 4 : LAST; !reached.atRest; to *= 2) {
      const end = Math.min(to, LAST);
      reached = yield* this.integrate(reached, end, LIMIT_STEPS);
      if (separable && (yield* this.look(reached)).loss < separated) return diverging(SEPARATED);
      if (reached.time < end) return diverging(`The flow still moves after ${LIMIT_STEPS} steps of the integration.`);
      if (end === LAST && !reached.atRest) return diverging('The flow still moves at t = 1e300.');
    }
    return this.rest(reached);
  }

  private rest(reached: Reached): Limit {
    const { features, prototypes, biases } = this.split(reached);
    const norm = Math.hypot(normOf(features), normOf(prototypes));
    const fitted = (x: Float64Array, scale = 1) => fit(this.initial, scaled(x, scale));
    const state = freshState(this.initial, fitted(features), fitted(prototypes), biases && fitted(biases));
    return {
      regime: 'stationary',
      ...(norm > 0 && {
        direction: {
          features: ofShape(state.features.shape, fitted(features, 1 / norm)),
          prototypes: ofShape(state.prototypes.shape, fitted(prototypes, 1 / norm)),
        },
      }),
      state,
      exponent: 0,
      rate: Number.isNaN(reached.rate) ? Number.POSITIVE_INFINITY : this.rate * reached.rate,
      per: 'time',
      statement:
        'The minimum is finite: the flow comes to rest at a critical point of the loss; the rate is measured over its last stretch.',
    };
  }
}

const SEPARATED =
  'The samples are separated: the norm grows like √log t, the loss falls like 1/t, and the direction tends, like 1/log t, to that ' +
  'of a KKT point of the minimum-norm separation problem (LP Theorem 3.2), which is not known in closed form.';

const diverging = (statement: string): Limit => ({ regime: 'diverging', exponent: 0, rate: 0, per: 'time', statement });

/** Whether a cross-entropy is the mean or sum of `−log p_y` itself. */
function isPlain({ smoothing, softLabels, classWeights }: EngineLoss): boolean {
  return smoothing === 0 && softLabels === undefined && (classWeights ?? []).every((weight) => weight === 1);
}
