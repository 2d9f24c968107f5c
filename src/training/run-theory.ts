/**
 * The theory of a run, to stand beside the network: a probe of the training images, their features and the prototypes before the first step and after
 * every epoch, and `Theory` between them.
 *
 * The probe has the first samples of every class, in the proportion of the classes, in evaluation mode. A batch of `B` samples is
 * trained on `(1/B) Σ ℓ_i + ρ Σ ‖h_i‖²`, which is `ℓ_i + ρB ‖h_i‖²` a sample; the model of `n` samples has the objective
 * `(1/n) Σ ℓ_i + λ/2 Σ ‖h_i‖²`, a sample `ℓ_i + nλ/2 ‖h_i‖²`. So `λ = 2ρB/n` (`mean`: `2ρ/n`, `half-mean`: `ρ/n`).
 */
import type { State } from '../array/ndarray.js';
import { LayerpeelError } from '../check/errors.js';
import type { TrainingConfig } from './config.js';
import { type Comparison, type Observation, Theory, type TheorySetting } from './theory.js';

/** Samples of a probe, unless there are more classes. */
const PROBE = 1000;
/** Multiplications of one gradient up to which a cross-entropy flow, which takes thousands of them, is integrated beside a run. */
const MOST_WORK = 1e8;

/** Samples that follow one another. */
export interface Stretch {
  readonly first: number;
  readonly count: number;
}

/** A probe of labelled samples, in stretches. */
export function probeOf(labels: Int32Array, counts: Int32Array): Stretch[] {
  const share = Math.min(1, PROBE / labels.length);
  const wanted = counts.map((count) => Math.max(1, Math.floor(share * count)));
  const stretches: { first: number; count: number }[] = [];
  for (const [i, label] of labels.entries()) {
    if ((wanted[label] as number) === 0) continue;
    wanted[label] = (wanted[label] as number) - 1;
    const last = stretches.at(-1);
    if (last && last.first + last.count === i) last.count++;
    else stretches.push({ first: i, count: 1 });
  }
  return stretches;
}

export interface TheorySizes {
  readonly batch: number;
  /** Samples of the probe. */
  readonly probe: number;
  readonly classes: number;
  readonly dim: number;
}

/** What the theory is told of a run of these sizes; or a sentence why it does not cover the run. */
export function theorySetting(config: TrainingConfig, { batch, probe, classes, dim }: TheorySizes): TheorySetting | string {
  const { loss, model, data, regularization, collapseEvery } = config;
  if (collapseEvery === 0) return 'Nothing is measured after epochs (`collapseEvery` is 0), so no theory is compared.';
  if (loss.kind !== 'unhinged' && loss.kind !== 'cross-entropy') {
    return `The theory is of the unhinged loss and of cross-entropy; it does not cover ${loss.kind}.`;
  }
  const fixed = model.classifier?.kind === 'fixed-etf';
  const entropy = loss.kind === 'cross-entropy';
  const { normalize, batchNorm, scale = 1 } = model.head ?? {};
  const outside = Object.entries({
    'normalized features': normalize || batchNorm,
    'scaled features': scale !== 1,
    'rescaled learning rates': config.rescaled,
    mixup: data.augmentation?.mixup,
    're-weighted classes': config.reweighting || (entropy && loss.classWeights),
    'smoothed labels': entropy && loss.labelSmoothing,
    'fixed prototypes': entropy && fixed,
    'regularized features': entropy && regularization?.weight,
  }).find(([, there]) => there);
  if (outside) return `The theory does not cover ${loss.kind === 'unhinged' ? 'the unhinged loss' : loss.kind} with ${outside[0]}.`;
  if (entropy && probe * classes * dim > MOST_WORK) {
    return (
      `The model of ${probe} samples in ${classes} classes and ${dim} dimensions is too large for its flow under cross-entropy to be ` +
      'integrated beside a run; that under the unhinged loss is not integrated.'
    );
  }
  const { weight = 0, normalization = 'sum' } = regularization ?? {};
  const factor = { sum: 2 * batch, mean: 2, 'half-mean': 1 }[normalization];
  return { loss, fixed, weightDecay: (factor * weight) / probe };
}

/** What a run's checkpoint keeps for the theory: its start, and what was seen since. */
export interface Seen {
  readonly start: State;
  readonly observations: readonly Observation[];
}

/** The theory of a run, or why there is none. What it cannot do is said and stops no training. */
export class RunTheory {
  /** What it has taken until now: looking at the network, the flow of the model, and comparing both. */
  seconds = 0;

  private constructor(
    private readonly theory: Theory | undefined,
    private readonly reason: string,
    readonly start?: State,
  ) {}

  /** @param start the network before its first step: asked for unless a checkpoint has it */
  static async begin(setting: TheorySetting | string, start: () => Promise<State>, before?: Seen): Promise<RunTheory> {
    if (typeof setting === 'string') return new RunTheory(undefined, setting);
    const began = performance.now();
    const state = before?.start ?? (await start());
    try {
      const theory = await Theory.begin(state, setting, before?.observations);
      const own = new RunTheory(theory, theory ? '' : 'The model has no limit direction from this start.', state);
      if (!before) await own.observe(0, async () => state);
      own.seconds = (performance.now() - began) / 1000;
      return own;
    } catch (error) {
      return new RunTheory(undefined, faultOf(error), state);
    }
  }

  get observations(): readonly Observation[] {
    return this.theory?.observations ?? [];
  }

  /** Looks at the network where its learning rates add up to `zeta`. */
  async observe(zeta: number, state: () => Promise<State>): Promise<void> {
    const { theory } = this;
    if (theory) await this.timed(async () => theory.observe(zeta, await state()));
  }

  /** The curves; or a sentence why there are none. */
  async compare(): Promise<Comparison | string> {
    const { theory } = this;
    if (!theory) return this.reason;
    try {
      return (await this.timed(() => theory.compare())) ?? 'There is nothing to compare before the first epoch is done.';
    } catch (error) {
      return faultOf(error);
    }
  }

  private async timed<T>(body: () => Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await body();
    } finally {
      this.seconds += (performance.now() - began) / 1000;
    }
  }
}

function faultOf(error: unknown): string {
  if (!(error instanceof LayerpeelError) || ['LP_ABORTED', 'LP_INTERNAL'].includes(error.code)) throw error;
  return `The model cannot be compared: ${error.message}`;
}
