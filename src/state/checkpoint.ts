/**
 * Checkpoints of projected descent as `.safetensors` files: arrays of the state and its velocity, and in the metadata the
 * step and the plan. They appear whole or not at all, so that a process that is killed leaves the one before.
 */
import { types } from 'node:util';
import {
  type CheckedState,
  checkArray,
  checkSameType,
  checkState,
  type Float,
  type NDArray,
  type State,
} from '../array/ndarray.js';
import { readSafetensors, writeSafetensors } from '../array/safetensors.js';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, checkText, inside, option, type Place } from '../check/options.js';
import { checkSteps } from '../check/quantities.js';

/** Its name in a run folder. */
export const checkpointFile = 'checkpoint.safetensors';

const KIND = 'layerpeel projected descent';
const parts = ['features', 'prototypes', 'biases'] as const;

/** All that a run needs to go on: `saveCheckpoint` writes it. */
export interface DescentCheckpoint {
  readonly step: number;
  readonly state: State;
  /** With momentum. */
  readonly velocity?: Omit<State, 'labels'> | undefined;
  /** The problem and the options it is of, without arrays, as JSON. */
  readonly plan: string;
}

/** Checks a checkpoint, and returns its state. */
export function checkCheckpoint(checkpoint: DescentCheckpoint, place: Place): CheckedState {
  const { step, state, velocity, plan } = checkKeys(checkpoint, ['step', 'state', 'velocity', 'plan'], place);
  checkSteps(step, inside(place, 'step'));
  checkText(plan, inside(place, 'plan'), 'that of a checkpoint');
  const checked = checkState(state);
  if (velocity === undefined) return checked;
  const here = inside(place, 'velocity');
  const given = checkKeys(velocity, parts, here);
  for (const part of parts) {
    const own = checked[part];
    if (!own && given[part] === undefined) continue;
    const array = checkArray(given[part], inside(here, part).path);
    const { data } = array;
    if (data.length !== own?.length) {
      throw new LayerpeelError('LP_SHAPE', `${inside(here, part).path} has ${data.length} elements; expected ${own?.length ?? 0}.`);
    }
    checkSameType({ features: checked, [inside(here, part).path]: array });
  }
  return checked;
}

/** Writes a checkpoint to `path`. @throws `LP_FILE`, or what is wrong with the checkpoint */
export async function saveCheckpoint(path: string, checkpoint: DescentCheckpoint): Promise<void> {
  checkCheckpoint(checkpoint, option('checkpoint'));
  const { step, state, velocity, plan } = checkpoint;
  const tensors: Record<string, NDArray | Int32Array> = { labels: Int32Array.from(state.labels) };
  for (const part of parts) {
    if (state[part]) tensors[part] = state[part];
    if (velocity?.[part]) tensors[`velocity.${part}`] = velocity[part];
  }
  await writeSafetensors(path, tensors, { kind: KIND, step: String(step), plan });
}

/** Reads what `saveCheckpoint` wrote, for `options.resume`. @throws `LP_FILE` */
export async function loadCheckpoint(path: string): Promise<DescentCheckpoint> {
  const { tensors, metadata } = await readSafetensors(path);
  const step = Number(metadata.step);
  if (metadata.kind !== KIND || !Number.isSafeInteger(step) || step < 0 || metadata.plan === undefined) {
    throw new LayerpeelError(
      'LP_FILE',
      `${path} is no checkpoint of projected descent; expected a file that saveCheckpoint wrote.`,
    );
  }
  const arrayOf = (name: string): NDArray | undefined => {
    const tensor = tensors[name];
    if (tensor && types.isInt32Array(tensor.data))
      throw new LayerpeelError('LP_FILE', `${path}: ${name} has integers; expected floats.`);
    return tensor as (NDArray & { data: Float }) | undefined;
  };
  const take = (prefix: string): Omit<State, 'labels'> | undefined => {
    const [features, prototypes, biases] = parts.map((part) => arrayOf(prefix + part));
    return features && prototypes && { features, prototypes, ...(biases && { biases }) };
  };
  const arrays = take('');
  const labels = tensors.labels?.data;
  if (!arrays || !types.isInt32Array(labels)) {
    throw new LayerpeelError('LP_FILE', `${path} lacks features, prototypes or labels; expected a file that saveCheckpoint wrote.`);
  }
  const velocity = take('velocity.');
  return { step, state: { ...arrays, labels }, ...(velocity && { velocity }), plan: metadata.plan };
}
