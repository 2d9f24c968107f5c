/**
 * Weights that a network begins with: those of a file of PyTorch, safetensors or NumPy, of arrays in memory, or of another
 * training's checkpoint, by the names that `torch-names.ts` lists. Every tensor of the network's backbone must be there, in its shape,
 * and nothing that the network has not; the classifier is left as it begins unless it is asked for.
 */
import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { types } from 'node:util';
import { most } from '../array/extremes.js';
import { type NDArray, showShape } from '../array/ndarray.js';
import { readTensors } from '../array/open.js';
import { eachPiece, type Turns } from '../array/rows.js';
import { type AnyArray, fileFault, storable } from '../array/stored.js';
import { type ErrorCode, LayerpeelError } from '../check/errors.js';
import { checkPath, inside, option, type Place } from '../check/options.js';
import { drive } from '../engine/run.js';
import { checkpointFile } from '../state/checkpoint.js';
import { isTraining, readTraining, restoreTensors, tensorsOf } from './checkpoint.js';
import { type ArchitecturePlan, type Trainer, torchEngine } from './engine.js';
import { type CheckedWeights, checkWeights, familyOf, featureDimension, type Model, modelKinds, type Weights } from './models.js';
import { CLASSIFIER, ownNames, torchNames } from './torch-names.js';

/** As a checkpoint keeps them: without arrays. */
export function describeWeights(weights: string | Weights): Omit<CheckedWeights, 'tensors'> {
  const { file = 'in memory', classifier = false } = typeof weights === 'string' ? { file: weights } : weights;
  return { file, classifier };
}

/** Whether a run that goes on says to have begun with the same weights, wherever their file lies: the checkpoint has what came of them. */
export const sameWeights = (before: unknown, now: unknown): boolean =>
  ['file', 'classifier'].every((key) => {
    const [a, b] = [before, now].map((weights) => (weights as Record<string, unknown> | undefined)?.[key]);
    return a === b || (typeof a === 'string' && typeof b === 'string' && basename(a) === basename(b));
  });

/** Weights that have been read. */
export interface GivenWeights {
  readonly place: Place;
  /** How messages name them. */
  readonly source: string;
  readonly classifier: boolean;
  readonly tensors: ReadonlyMap<string, AnyArray>;
  /** Types of those that are not read, by name. */
  readonly unsupported: ReadonlyMap<string, string>;
}

/**
 * Reads the weights of a model, if it names any; whether they fit the network shows where it is there.
 * @throws the place's code; `LP_FILE` for the file; `LP_SHAPE`, `LP_DTYPE` for arrays in memory
 */
export async function readWeights(model: unknown, place: Place): Promise<GivenWeights | undefined> {
  const { weights } = Object(model) as Partial<Model>;
  if (weights === undefined) return undefined;
  const here = inside(place, 'weights');
  const { file, tensors, classifier } = checkWeights(weights, false, here);
  if (file !== undefined) return { place: here, classifier, ...(await tensorsIn(file, here)) };
  const arrays = Object.entries(tensors ?? {}).map(([name, array]) => {
    const { shape, data } = storable(array, `${here.path}.tensors[${JSON.stringify(name)}]`);
    return [name, { shape, data } as AnyArray] as const;
  });
  return { place: here, source: 'what is given', classifier, tensors: new Map(arrays), unsupported: new Map() };
}

async function tensorsIn(path: string, place: Place): Promise<Omit<GivenWeights, 'place' | 'classifier'>> {
  const folder = (await stat(path).catch(() => undefined))?.isDirectory();
  const { file, name, metadata, ...found } = await readTensors(folder ? join(path, checkpointFile) : path);
  const bare = isTraining(metadata) ? ofNetwork(found.tensors) : below(name);
  const part = <T>(record: Readonly<Record<string, T>>) =>
    new Map(
      Object.entries(record).flatMap(([name, value]) => (bare(name) === undefined ? [] : [[bare(name) as string, value] as const])),
    );
  const [tensors, unsupported] = [part<AnyArray>(found.tensors), part(found.unsupported)];
  if (tensors.size + unsupported.size === 0) {
    const parts = partsOf(Object.keys(found.tensors));
    const there = parts.length > 0 ? `; it has ${few(parts.map(short))}` : '';
    throw new LayerpeelError(
      place.code,
      `${place.path}: ${file} has no tensor${name === undefined ? '' : ` under ${name}`}${there}.`,
    );
  }
  return { source: name === undefined ? file : `${file}:${name}`, tensors, unsupported };
}

/** Names of tensors as they are, or of those of a part. */
const below = (part: string | undefined) => (name: string) =>
  part === undefined ? name : name.startsWith(`${part}.`) ? name.slice(part.length + 1) : undefined;

/** A network's own names of the tensors of a checkpoint, of the network that is tested and measured: averaged where there is an average. */
function ofNetwork(tensors: object): (name: string) => string | undefined {
  const prefix = Object.keys(tensors).some((name) => name.startsWith('average.')) ? 'average.' : 'model.';
  return (name) => (name.startsWith(prefix) ? ownName(name) : undefined);
}

/** What names begin with. */
const partsOf = (names: readonly string[]): string[] => [...new Set(names.map((name) => name.split('.', 1)[0] as string))];

/** A network's own name of a tensor in its layout; undefined of what is no part of it. */
const ownName = (name: string): string | undefined => /^(?:model|average)\.(?:network\.)?(.+)$/.exec(name)?.[1];

/** Puts weights into a network that has just begun, and into its average. @throws `LP_CONFIG`, `LP_SHAPE`, `LP_NOT_FINITE` */
export async function beginWith(handle: Trainer, { kind }: Model, weights: GivenWeights): Promise<void> {
  const layout = torchEngine().trainerLayout(handle);
  const shapes = layout.flatMap(({ name, shape }) =>
    name.startsWith('model.') ? [[ownName(name) as string, shape] as const] : [],
  );
  const found = await fit(new Map(shapes), kind, weights);
  const taken = ({ name }: { name: string }) => found.get(ownName(name) ?? '');
  const others = layout.filter((one) => !taken(one)).map(({ name }) => name);
  const kept = await tensorsOf(handle, others);
  await restoreTensors(
    handle,
    layout.map((one) => taken(one) ?? (kept[others.indexOf(one.name)] as Float32Array)),
  );
}

/** The number of classes of the classifier that is asked for; undefined where there is none, or one of another dimension. */
export function classesOf({ tensors, classifier }: GivenWeights, { kind, widths, ...more }: ArchitecturePlan): number | undefined {
  if (!classifier) return undefined;
  const layers = Array.from(kind === 'mlp' ? widths : [], (_, k) => `layer${k + 1}.weight`);
  const names = ownNames(kind, [...layers, 'prototypes'], [...tensors.keys()]);
  const found = [...names].find(([, { own }]) => own === 'prototypes');
  const [classes = 0, dim] = tensors.get(found?.[0] ?? '')?.shape ?? [];
  // Of one that does not fit no memory is asked for, whatever it claims.
  return dim === featureDimension({ kind, widths, ...more }) || classes <= MOST_CLAIMED ? classes || undefined : undefined;
}
const MOST_CLAIMED = 4096;

/** Not a part of the network: BatchNorm's count, which only averages without a momentum need. */
const COUNT = /(?:^|\.)num_batches_tracked$/;
/** Of the head, which PyTorch's networks have not; it begins as always where there is none. */
const OF_HEAD = /^norm\./;
const isClassifier = (own: string): boolean => CLASSIFIER.includes(own as 'biases');

/** The tensors by the network's own names, in float32. */
async function fit(
  shapes: ReadonlyMap<string, readonly number[]>,
  kind: Model['kind'],
  { place, source, classifier, tensors, unsupported }: GivenWeights,
): Promise<Map<string, Float32Array>> {
  const family = familyOf(kind);
  const given = [...tensors.keys(), ...unsupported.keys()].filter((name) => !COUNT.test(name));
  const chosen = new Map<string, string>();
  const extra: string[] = [];
  for (const [name, meant] of ownNames(family, [...shapes.keys()], given)) {
    if (meant.classifier && !classifier) continue;
    if (meant.own !== undefined && shapes.has(meant.own) && !chosen.has(meant.own)) chosen.set(meant.own, name);
    else extra.push(name);
  }
  const torch = torchNames(family, [...shapes.keys()]);
  const isNeeded = (own: string) => (isClassifier(own) ? classifier : !OF_HEAD.test(own));
  const missing = [...shapes.keys()].filter((own) => isNeeded(own) && !chosen.has(own)).map((own) => torch.get(own) as string);
  const others: string[] = [];
  const misfits: string[] = [];
  for (const [own, name] of chosen) {
    const { shape, data } = tensors.get(name) ?? {};
    const wanted = shapes.get(own) as readonly number[];
    if (!(types.isFloat32Array(data) || types.isFloat64Array(data)))
      others.push(`${short(name)} (${unsupported.get(name) ?? typeOf(data)})`);
    else if (String(shape) !== String(wanted))
      misfits.push(`${short(name)} is ${showShape(shape ?? [])}, expected ${showShape(wanted)}`);
  }
  const faults: readonly [string, readonly string[]][] = [
    ['missing: ', missing],
    ['not in this network: ', extra.map(short)],
    ['no floats: ', others],
    ['', misfits],
  ];
  if (faults.some(([, names]) => names.length > 0)) {
    const code: ErrorCode = missing.length + extra.length + others.length > 0 ? place.code : 'LP_SHAPE';
    const said = faults.filter(([, names]) => names.length > 0).map(([what, names]) => `${what}${few(names)}`);
    const backbone = [...chosen].flatMap(([own, name]) => (isClassifier(own) ? [] : [name]));
    const part = partMeant(family, backbone, given);
    const stem = tensors.get(chosen.get('conv1.weight') ?? '')?.shape[2];
    const stems: Readonly<Record<number, string>> = { 3: 'small', 7: 'imagenet' };
    const advice = [
      ...(part === undefined ? [] : [` A part of it is named after a colon: ${source}:${short(part)}.`]),
      ...(family === 'resnet' && stem !== undefined && stem !== shapes.get('conv1.weight')?.[2] && stem in stems
        ? [` Its first convolution is that of model.stem '${stems[stem]}'.`]
        : []),
    ];
    throw new LayerpeelError(code, `${place.path}: ${source} does not fit ${kind}: ${said.join('; ')}.${advice.join('')}`);
  }
  const values = new Map<string, Float32Array>();
  for (const [own, name] of chosen) {
    const { data } = tensors.get(name) as NDArray;
    values.set(own, await drive(float32(data, `${place.path}: ${source}:${name}`)));
  }
  return values;
}

/** A few of some names, and how many more. */
const few = (names: readonly string[]): string =>
  `${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`;

/** A name of a file, which may be of any length. */
const short = (name: string): string => (name.length <= 100 ? name : `${name.slice(0, 100)}…`);

const typeOf = (data: unknown): string => (types.isInt32Array(data) ? 'int32' : types.isBigInt64Array(data) ? 'int64' : 'uint64');

/** The part of a checkpoint that may have been meant: that of the names which are known, or else the largest. */
function partMeant(family: ArchitecturePlan['kind'], known: readonly string[], given: readonly string[]): string | undefined {
  if (known.length > 0) {
    const [part, another] = partsOf(known);
    return family === 'mlp' && another === undefined && partsOf(given).length > 1 ? part : undefined;
  }
  const sizes = new Map<string, number>();
  for (const name of given) {
    const [part, rest] = name.split('.', 2) as [string, string?];
    if (rest !== undefined) sizes.set(part, (sizes.get(part) ?? 0) + 1);
  }
  const largest = most(sizes.values());
  return partsOf(given).length > 1 ? [...sizes].find(([, size]) => size === largest)?.[0] : undefined;
}

/** A copy in float32, to which later changes of the caller's arrays do nothing. */
function* float32(data: ArrayLike<number>, where: string): Turns<Float32Array> {
  const copy = new Float32Array(data.length);
  yield* eachPiece(data.length, (begin, end) => {
    for (let i = begin; i < end; i++) {
      copy[i] = data[i] as number;
      if (Number.isFinite(copy[i])) continue;
      throw new LayerpeelError('LP_NOT_FINITE', `${where} has ${data[i]} as its element ${i}; expected finite numbers of float32.`);
    }
  });
  return copy;
}

/**
 * The network of a checkpoint, or of the one in a run folder, by PyTorch's names, classifier included: what `writeSafetensors` writes for
 * `load_state_dict`. Averaged where the training averages.
 * @throws `LP_FILE` for the checkpoint
 */
export async function torchWeights(checkpoint: string): Promise<Record<string, NDArray<Float32Array>>> {
  const { file, tensors, progress } = await readTraining(checkPath(checkpoint, option('checkpoint')));
  const bare = ofNetwork(tensors);
  const own = new Map(
    Object.entries(tensors).flatMap(([name, tensor]) =>
      bare(name) === undefined ? [] : [[bare(name) as string, tensor] as const],
    ),
  );
  const { kind } = Object(progress.config?.model) as Partial<Model>;
  if (kind === undefined || !modelKinds.includes(kind)) throw fileFault(file, 'it does not say what network it is of.');
  const names = torchNames(familyOf(kind), [...own.keys()]);
  return Object.fromEntries([...own].map(([name, tensor]) => [names.get(name) as string, tensor as NDArray<Float32Array>]));
}
