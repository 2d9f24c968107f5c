/**
 * The libtorch extension's addon, as `layerpeel torch install` builds it. Everything that crosses into it crosses here.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { LayerpeelError } from '../check/errors.js';
import type { AugmentationPlan } from '../data/augment.js';
import type { EngineImages } from '../data/images.js';
import type { EngineState, Handle, Mode, RawArrays, Result } from '../engine/load.js';
import type { EngineLoss } from '../losses/losses.js';
import { checkInPackage, packageRoot } from '../package.js';
import { findLibtorch } from './libtorch.js';

/** What the binary says of itself and of libtorch. */
export interface TorchInfo {
  readonly version: string;
  readonly libtorch: string;
  /** Of libtorch, within an operation. */
  readonly threads: number;
  readonly instructions: string;
  readonly cudaDevices: number;
}

/** `NetworkLoss` of native/torch/losses. */
export interface NetworkLossPlan extends EngineLoss {
  readonly meanRegularization: boolean;
  readonly rescaled: boolean;
  readonly cosine: boolean;
  readonly balanced: boolean;
  readonly ldamMargins?: Float64Array | undefined;
  readonly ldamScale: number;
  readonly weightsFrom: number;
  readonly meanByWeights: boolean;
}

/** `Architecture` of native/torch/models. */
export interface ArchitecturePlan {
  readonly kind: 'mlp' | 'resnet' | 'cifar-resnet' | 'vgg' | 'densenet';
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly depth: number;
  /** Of the layers of an MLP; of a ResNet of CIFAR that of its first stage. */
  readonly widths: Float64Array;
  readonly imagenetStem: boolean;
  readonly growth: number;
  readonly reduction: number;
  readonly lastRelu: boolean;
}

/** `TrainerPlan` of native/torch/trainer. */
export interface TrainerPlan {
  readonly architecture: ArchitecturePlan;
  readonly headNorm: boolean;
  readonly featureScale: number;
  readonly fixedPrototypes: boolean;
  readonly bias: boolean;
  readonly classes: number;
  readonly loss: NetworkLossPlan;
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
  readonly prototypeDecay: number;
  readonly biasDecay: number;
  readonly normDecay: number;
  readonly batch: number;
  readonly accumulate: number;
  readonly ema: number;
  readonly augmentation: Omit<AugmentationPlan, 'seed'>;
  /** Prototypes `[C, p]` to begin with; else PyTorch's. */
  readonly beginning?: Float32Array | undefined;
  readonly seed: number;
  readonly device: string;
  readonly threads: number;
  readonly channelsLast: boolean;
  readonly bfloat16: boolean;
  readonly tf32: boolean;
}

/** `Trained` of native/torch/trainer; `divergedAt` is −1 where all is well. */
export interface RawTrained {
  readonly losses: Float64Array;
  readonly correct: Float64Array;
  readonly waited: number;
  readonly divergedAt: number;
}

/**
 * Samples of a set in the order in which the network takes them: `indices` of images that are all there; or, where `of` is above 0, of a
 * set of so many, whose images are those of the samples alone, in their order, followed by their partners of a mixup.
 */
export interface EngineSamples extends EngineImages {
  readonly of: number;
  readonly indices: Int32Array;
  readonly labels: Int32Array;
  /** With a mixup. */
  readonly partnerLabels?: Int32Array | undefined;
}

/** The order of an epoch, and with whom each is mixed, if any. */
export interface Order {
  readonly indices: Int32Array;
  readonly partners?: Int32Array | undefined;
}

/** The loss and its gradients. */
interface RawNetworkLoss extends Required<RawArrays> {
  readonly value: number;
}

/**
 * `Evaluation` of native/torch/trainer, with the features as they enter the logits, and the logits where asked for; `losses` and `norms`
 * are sums over batches of `EVALUATED`.
 */
export interface RawEvaluation {
  readonly features: Float32Array;
  readonly logits?: Float32Array | undefined;
  readonly losses: Float64Array;
  readonly norms: Float64Array;
  readonly correct: number;
}

/** Samples of a batch in evaluation: `kEvaluated` of native/torch/trainer. */
export const EVALUATED = 256;

export type Trainer = Handle<'trainer'>;

/** The addon's functions; `native/torch/addon` documents each. Those of a trainer run asynchronously only. */
export interface TorchEngine {
  dispose(handle: Trainer): void;
  /** Ends all training of the process for good, and waits for that. */
  halt(): void;
  info(): TorchInfo;
  networkLoss(mode: Mode, state: EngineState, plan: NetworkLossPlan): Result<RawNetworkLoss>;
  /** The losses before and after a training step. */
  prove(mode: Mode): Result<{ readonly before: number; readonly after: number }>;
  trainerBegin(mode: Mode, plan: TrainerPlan): Result<Trainer>;
  /** In which order an epoch takes so many samples. */
  trainerOrder(mode: Mode, handle: Trainer, plan: { readonly samples: number; readonly epoch: number }): Result<Order>;
  /** The learning rates are those of the steps that the samples make. */
  trainerTrain(
    mode: Mode,
    handle: Trainer,
    plan: { readonly samples: EngineSamples; readonly epoch: number; readonly rates: Float64Array },
  ): Result<RawTrained>;
  trainerEvaluate(
    mode: Mode,
    handle: Trainer,
    plan: { readonly samples: EngineSamples; readonly epoch: number; readonly logits: boolean },
  ): Result<RawEvaluation>;
  trainerLayout(handle: Trainer): { readonly name: string; readonly shape: readonly number[] }[];
  trainerState(mode: Mode, handle: Trainer, plan: { readonly names: readonly string[] }): Result<Float32Array[]>;
  trainerRestore(mode: Mode, handle: Trainer, plan: { readonly state: readonly Float32Array[] }): Result<void>;
}

/** Where the addon is built; `LAYERPEEL_TORCH` names another folder. */
export const buildFolder = process.env.LAYERPEEL_TORCH || join(packageRoot, 'build/torch');
export const binary = join(buildFolder, 'layerpeel_torch.node');

let loaded: TorchEngine | undefined;

/** The addon, loaded at the first use. @throws `LP_NOT_BUILT` with the cause and the command that mends it */
export function torchEngine(): TorchEngine {
  if (loaded) return loaded;
  const command = 'npx layerpeel torch install';
  if (!existsSync(binary)) {
    checkInPackage('The libtorch extension');
    const found = findLibtorch();
    const reason = found
      ? `libtorch is at ${found.path} (${found.from}), but the extension is not built`
      : 'libtorch is not installed';
    throw new LayerpeelError('LP_NOT_BUILT', `Training needs libtorch: ${reason}. ${command} does what is missing.`);
  }
  // Threads that wait awake have the next operation at once, which is a fifth of a step of ResNet-20; but for long they burn
  // the processor where others want it too, and every operation waits for one of them that was descheduled. So many turns,
  // some tens of microseconds, lose nothing on either side. libtorch's own choice is 300 000: half as fast under a load of six.
  if (process.env.OMP_WAIT_POLICY === undefined) process.env.GOMP_SPINCOUNT ??= '10000';
  try {
    const engine = createRequire(import.meta.url)(binary) as TorchEngine;
    // `process.exit()` waits for nobody, and libtorch must not be computing while the process takes it down.
    if (isMainThread) process.once('exit', () => engine.halt());
    loaded = engine;
    return loaded;
  } catch (cause) {
    throw new LayerpeelError(
      'LP_NOT_BUILT',
      `The libtorch extension cannot be loaded (${(cause as Error).message}). ${command} builds it anew.`,
      { cause },
    );
  }
}
