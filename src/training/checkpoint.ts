/**
 * Checkpoints of training: one `.safetensors` file, whole or not at all. Its tensors are the network's parameters and
 * BatchNorm's statistics (`model.…`), their moving averages (`average.…`), the optimizer's velocities (`velocity.…`), the
 * state that the theory beside the run begins from (`theory.…`) and what was measured by class (`classes.…`); its metadata holds, as JSON, the configuration, the number of
 * epochs done and what was measured. Order of samples, augmentation and schedule follow from these, so nothing else is needed
 * to go on bit for bit.
 */
import { stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { toJson } from '../array/json.js';
import type { NDArray, State } from '../array/ndarray.js';
import { readSafetensors, writeSafetensors } from '../array/safetensors.js';
import { LayerpeelError } from '../check/errors.js';
import type { ImageSizes } from '../data/images.js';
import { run } from '../engine/run.js';
import { checkpointFile } from '../state/checkpoint.js';
import type { ByClass } from './by-class.js';
import { type Trainer, torchEngine } from './engine.js';
import type { Observation } from './theory.js';

/** What a checkpoint says beside its tensors. */
export interface TrainingProgress {
  /** Epochs done. */
  readonly epochs: number;
  /** The configuration without its images. */
  readonly config: Record<string, unknown>;
  /** What was measured of each epoch. */
  readonly history: readonly Record<string, number>[];
  /** Training samples of each class. */
  readonly counts: readonly number[];
  /** What the theory beside the run has seen. */
  readonly observations: readonly Observation[];
  /** Names of the classes. */
  readonly classes: readonly string[];
  /** Sizes of the images, and how their channels are normalized. */
  readonly images: Omit<ImageSizes, 'count'>;
  readonly normalization: { readonly mean: readonly number[]; readonly std: readonly number[] };
}

const [THEORY, CLASSES] = ['theory.', 'classes.'] as const;

/** Whether a file of that metadata is a checkpoint of training. */
export const isTraining = ({ layerpeel }: Readonly<Record<string, string>>): boolean => layerpeel === 'training';

/** The tensors of a trainer by name, copied. */
export async function tensorsOf(handle: Trainer, names: readonly string[]): Promise<Float32Array[]> {
  return run({ call: (_, mode) => torchEngine().trainerState(mode, handle, { names }), wrap: (data: Float32Array[]) => data });
}

/** @param start what the theory beside the run begins from */
export async function saveTraining(
  path: string,
  handle: Trainer,
  progress: TrainingProgress,
  byClass: ByClass,
  start?: State,
): Promise<void> {
  const layout = torchEngine().trainerLayout(handle);
  const data = await tensorsOf(
    handle,
    layout.map(({ name }) => name),
  );
  const tensors: Record<string, NDArray> = Object.fromEntries(
    layout.map(({ name, shape }, i) => [name, { shape, data: data[i] as Float32Array }]),
  );
  const { labels: _, ...theory } = start ?? {};
  for (const [name, array] of Object.entries(theory)) tensors[THEORY + name] = array as NDArray;
  for (const [name, array] of Object.entries(byClass)) tensors[CLASSES + name] = array;
  await writeSafetensors(path, tensors, { layerpeel: 'training', progress: toJson(progress) });
}

/**
 * Reads a checkpoint, or the one in a run folder, and what it says.
 * @throws LP_FILE where it is missing, damaged or none of a training
 */
export async function readTraining(path: string) {
  const folder = (await stat(path).catch(() => undefined))?.isDirectory();
  const file = folder ? join(path, checkpointFile) : path;
  const { tensors, metadata } = await readSafetensors(file);
  try {
    if (!isTraining(metadata)) throw new Error('its metadata does not name a training');
    const progress = JSON.parse(metadata.progress as string) as TrainingProgress;
    const numbers = <Row extends object>(rows: readonly Row[]) =>
      rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, Number(value)])) as Row);
    const [history, observations] = [numbers(progress.history), numbers(progress.observations)];
    const part = (prefix: string) =>
      Object.fromEntries(
        Object.entries(tensors).flatMap(([name, tensor]) =>
          name.startsWith(prefix) ? [[name.slice(prefix.length), tensor] as const] : [],
        ),
      );
    const apart = (name: string) => name.startsWith(THEORY) || name.startsWith(CLASSES);
    return {
      file,
      tensors: Object.fromEntries(Object.entries(tensors).filter(([name]) => !apart(name))),
      start: part(THEORY) as Partial<Omit<State, 'labels'>>,
      byClass: part(CLASSES) as Partial<ByClass>,
      progress: { ...progress, history, observations },
    };
  } catch (cause) {
    throw new LayerpeelError('LP_FILE', `${file} is no checkpoint of a training: ${(cause as Error).message}.`, { cause });
  }
}

export type Checkpoint = Awaited<ReturnType<typeof readTraining>>;

/** Takes a trainer to where a checkpoint was. @throws LP_FILE where it is one of another network */
export async function restoreTraining(handle: Trainer, { file, tensors }: Checkpoint): Promise<void> {
  const layout = torchEngine().trainerLayout(handle);
  const known = new Set(layout.map(({ name }) => name));
  const extra = Object.keys(tensors).find((name) => !known.has(name));
  const odd = layout.find(({ name, shape }) => String(tensors[name]?.shape) !== String(shape));
  if (extra !== undefined || odd) {
    const reason = odd
      ? `${odd.name} is ${tensors[odd.name] ? `[${tensors[odd.name]?.shape.join(', ')}]` : 'missing'}; expected [${odd.shape.join(', ')}]`
      : `${extra} is not in this network`;
    throw new LayerpeelError('LP_FILE', `${file} is a checkpoint of another architecture: ${reason}.`);
  }
  await restoreTensors(
    handle,
    layout.map(({ name }) => Float32Array.from((tensors[name] as { data: ArrayLike<number> }).data)),
  );
}

/** @param state all tensors of a trainer, in the order of its layout */
export const restoreTensors = (handle: Trainer, state: readonly Float32Array[]): Promise<void> =>
  run({ call: (_, mode) => torchEngine().trainerRestore(mode, handle, { state }), wrap: () => undefined });

/**
 * @param log hears where nobody knows how much room there is: mounts over the network and of user space report no free blocks, or
 *   no blocks at all
 * @throws LP_FILE where a folder has no room for a checkpoint beside the one before
 */
export async function checkSpace(folder: string, bytes: number, log: (line: string) => void): Promise<void> {
  const { bavail, bsize } = await statfs(folder).catch(() => ({ bavail: 0, bsize: 0 }));
  if (bavail * bsize >= 2 * bytes) return;
  if (bavail * bsize === 0) {
    log(
      `${folder}: its file system does not say how much room it has; a checkpoint takes ${bytes} bytes, and twice that while it is written.`,
    );
    return;
  }
  throw new LayerpeelError(
    'LP_FILE',
    `${folder} has ${bavail * bsize} bytes left; expected ${2 * bytes}, for a checkpoint beside the one before. Make room or give another folder.`,
  );
}
