/**
 * Neural collapse measured on features, and on prototypes and biases where they are given: every measure of
 * `collapseMeasures`, which has their formulas and sources, and what figures of them are drawn from.
 *
 * Features are swept twice, since distances to class means take the means of all samples: the first sweep gives means, the
 * second everything that residuals enter. Either sweep works chunk by chunk, so features may be a source that streams them
 * from a file. No covariance is formed, and what is `C×C` is made some rows at a time; means, residuals and sums are
 * accumulated in double, so that float32 features far from the origin, or collapsed to their last digits, are
 * measured right.
 */
import { types } from 'node:util';
import { most } from '../array/extremes.js';
import {
  checkArray,
  checkLabels,
  checkOptional,
  type DType,
  dtypeOf,
  type Float,
  type NDArray,
  showShape,
} from '../array/ndarray.js';
import { PIECE } from '../array/stored.js';
import { type Control, checkOptions } from '../check/control.js';
import { LayerpeelError } from '../check/errors.js';
import { checkBoolean, checkChoice, checkNames, checkNumber, checkNumbers, option } from '../check/options.js';
import { type Engine, engine, type Handle, type Mode, type Result } from '../engine/load.js';
import { driveSync, run, runSync, type Steps, step } from '../engine/run.js';
import { type CollapseMeasure, collapseMeasures, type MeasureInfo, type PrototypeMeasure } from './measures.js';

/** Features that come in chunks of rows, as often as asked: what `openArray` gives, or anything of this form. */
export interface FeatureSource {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Starts a pass over the rows, in order: arrays `[rows, dim]`. */
  chunks(rowsPerChunk?: number): AsyncIterable<NDArray>;
}

export interface CollapseInput<F = NDArray | FeatureSource> {
  /** `[n, p]`. */
  readonly features: F;
  /** `[n]`, in any order; every class needs a sample. */
  readonly labels: Int32Array;
  /** `[C, p]`; without them the measures that need them are absent. */
  readonly prototypes?: NDArray | undefined;
  /** `[C]`. @default 0 */
  readonly biases?: NDArray | undefined;
}

/** Samples that others are held against: their means, and how many there are of each class. A result with `classMeans` is one. */
export interface CollapseReference {
  /** `[C, p]`, of either dtype. */
  readonly classMeans?: NDArray | undefined;
  /** `[C]`, each at least 1. */
  readonly counts: Int32Array;
}

export interface CollapseOptions<Name extends CollapseMeasure = CollapseMeasure> extends Control {
  /** Number of classes. @default that of prototypes, or else the largest label + 1 */
  readonly classes?: number | undefined;
  /** The global mean `h̄`: of the class means, or of all samples. They differ when classes are unequal. @default 'classes' */
  readonly globalMean?: 'classes' | 'samples' | undefined;
  /** The divisor of `std` in the variations of norms is `C − ddof`. @default 0 */
  readonly ddof?: 0 | 1 | undefined;
  /** The measures wanted; where none of them needs the second sweep it is left out. @default all */
  readonly only?: readonly Name[] | undefined;
  /**
   * Other samples, whose means are `μ_c` and `h̄` in place of those of the features: what a network makes of test images, against
   * the means of its training images. Features need not have every class then. @default the features themselves
   */
  readonly reference?: CollapseReference | undefined;
  /** Whether the result has `classMeans`. @default false */
  readonly classMeans?: boolean | undefined;
  /** Whether the result has the matrices `featureCosines` and `prototypeCosines`. @default up to 2048 classes */
  readonly cosines?: boolean | undefined;
}

/** Classes up to which a result has matrices `[C, C]` unless told: 32 MiB each. */
const MOST_CLASSES = 2048;

/** The cosines of all pairs of classes, however many there are. */
export interface PairCosines {
  readonly smallest: number;
  readonly largest: number;
  /** Pairs by their cosine, in 200 bins of equal width over −1 … 1; empty where a row has no direction and the others are NaN. */
  readonly histogram: Float64Array;
}

/** What figures are drawn from. Everything is computed in double, whatever the features' dtype. */
export interface CollapseDetails {
  readonly samples: number;
  readonly classes: number;
  readonly dim: number;
  /** Samples of each class, `[C]`. */
  readonly counts: Int32Array;
  /**
   * The eigenvalues of `Σ_W Σ_B⁺` that can differ from 0, descending: `C−1` of them, or as many as centred class means are
   * independent. Their sum is `nc1Papyan`. Absent where `only` left out the second sweep.
   */
  readonly spectrum?: Float64Array | undefined;
  /** Lengths of centred class means, `[C]`. */
  readonly classNorms: Float64Array;
  /** Cosines of centred class means. */
  readonly featurePairs: PairCosines;
  /** … as a matrix `[C, C]`, unless there are more than 2048 classes; see `cosines`. */
  readonly featureCosines?: NDArray<Float64Array> | undefined;
  /** Lengths of prototypes, `[C]`. */
  readonly prototypeNorms?: Float64Array | undefined;
  /** Lengths of prototypes from which their mean is subtracted, `[C]`. */
  readonly centeredPrototypeNorms?: Float64Array | undefined;
  /** Cosines of prototypes. */
  readonly prototypePairs?: PairCosines | undefined;
  /** Cosines of prototypes from which their mean is subtracted. */
  readonly centeredPrototypePairs?: PairCosines | undefined;
  /** … as a matrix `[C, C]`, unless there are more than 2048 classes; see `cosines`. */
  readonly prototypeCosines?: NDArray<Float64Array> | undefined;
  /** `[C, p]`, where asked for. */
  readonly classMeans?: NDArray<Float64Array> | undefined;
}

/** Measures by their names, and what figures are drawn from. Measures that need prototypes are absent without them. */
export type Collapse<Name extends CollapseMeasure = CollapseMeasure> = CollapseDetails & {
  readonly [K in Exclude<Name, PrototypeMeasure>]: number;
} & { readonly [K in Name & PrototypeMeasure]?: number | undefined };

/** The result for an input that surely has prototypes has all measures; for another, those that need none. */
export type CollapseOf<Input, Name extends CollapseMeasure> = Input extends { readonly prototypes: NDArray }
  ? Collapse<Name> & { readonly [K in Name & PrototypeMeasure]: number }
  : Collapse<Name>;

/**
 * Measures neural collapse. Of streamed features one chunk is in memory at a time, and the source is read twice (once if
 * `only` names no measure that needs the second sweep).
 *
 * A measure that is not defined is NaN: `nc1` when all class means are equal, cosines with a mean or a prototype of length 0,
 * `nc1Cdnv` where a class of the reference has no sample among the features.
 * Eigenvalues of `Σ_B` below `max(C, p)` roundings of the largest count as 0: `Σ_B⁺` leaves their directions out.
 *
 * @throws `LP_BALANCE` for a class without samples; `LP_NOT_FINITE`, `LP_SHAPE`, `LP_LABEL`, `LP_DTYPE`, `LP_DETACHED`,
 * `LP_OPTION`, `LP_OVERFLOW`, `LP_ABORTED`
 */
export async function collapse<Name extends CollapseMeasure = CollapseMeasure, Input extends CollapseInput = CollapseInput>(
  input: Input,
  options: CollapseOptions<Name> = {},
): Promise<CollapseOf<Input, Name>> {
  return startCollapse<Name, Input>(input, options)();
}

/** `collapse` in two: what is checked before features are read, and the rest when called. */
export function startCollapse<Name extends CollapseMeasure, Input extends CollapseInput>(
  input: Input,
  options: CollapseOptions<Name>,
): () => Promise<CollapseOf<Input, Name>> {
  const problem = prepare(input, options);
  const { signal, onProgress } = options;
  const { samples, steps, firstSweep, secondSweep } = problem;
  // The caller may write to its labels while this runs.
  const labels = problem.labels.slice();
  const total = samples * (Number(firstSweep) + Number(secondSweep));
  let done = 0;
  const sweep = async (step: Sweep) => {
    const stage = stager();
    let running = Promise.resolve();
    for await (const { data, row, rows } of piecesOf(problem)) {
      const staged = stage(data); // while the engine still works on the piece before
      await running;
      running = run(steps.add(step, staged, rows, labels.subarray(row, row + rows)), { signal }).then(() => {
        done += rows;
        onProgress?.(done / total);
      });
      running.catch(() => {}); // its failure is thrown where it is awaited
    }
    await running;
  };
  return async () => {
    try {
      if (firstSweep) await sweep('collapseSum');
      await run(steps.center, { signal });
      if (secondSweep) await sweep('collapseMeasure');
      return problem.present(await run(steps.result, { signal })) as CollapseOf<Input, Name>;
    } finally {
      steps.end();
    }
  };
}

/** `collapse` of features in memory, on the calling thread (its loops still use every compute thread); copies no features. */
export function collapseSync<
  Name extends CollapseMeasure = CollapseMeasure,
  Input extends CollapseInput<NDArray> = CollapseInput<NDArray>,
>(input: Input, options: CollapseOptions<Name> = {}): CollapseOf<Input, Name> {
  return driveSync(collapseSteps(input, options)) as CollapseOf<Input, Name>;
}

/** `collapse` of features in memory, as a part of a longer computation. */
export function* collapseSteps<Name extends CollapseMeasure = CollapseMeasure>(
  input: CollapseInput<NDArray>,
  options: CollapseOptions<Name> = {},
): Steps<Collapse<Name>> {
  const { features, labels, samples, steps, firstSweep, secondSweep, present } = prepare(input, options);
  if (!ArrayBuffer.isView(features)) {
    throw new LayerpeelError('LP_OPTION', 'features are a source, which cannot be read synchronously; await collapse(…) instead.');
  }
  try {
    if (firstSweep) yield* step(steps.add('collapseSum', features, samples, labels));
    yield* step(steps.center);
    if (secondSweep) yield* step(steps.add('collapseMeasure', features, samples, labels));
    return present(yield* step(steps.result));
  } finally {
    steps.end();
  }
}

/** What the engine gives; arrays that need prototypes are empty without them. */
interface RawCollapse {
  readonly measures: Readonly<Record<CollapseMeasure, number>>;
  readonly featurePairs: PairCosines;
  readonly prototypePairs: PairCosines;
  readonly centeredPrototypePairs: PairCosines;
  readonly spectrum: Float64Array;
  readonly classNorms: Float64Array;
  readonly featureCosines: Float64Array;
  readonly prototypeNorms: Float64Array;
  readonly centeredPrototypeNorms: Float64Array;
  readonly prototypeCosines: Float64Array;
  readonly classMeans: Float64Array;
}

/** What a measurement begins with. */
interface CollapsePlan {
  readonly dtype: DType;
  readonly classes: number;
  readonly dim: number;
  readonly prototypes: Float | undefined;
  readonly biases: Float | undefined;
  /** `[C, p]`, and samples of each class: in place of the first sweep. */
  readonly means?: Float64Array | undefined;
  readonly counts?: Int32Array | undefined;
  readonly meanOfSamples: boolean;
  readonly ddof: number;
  readonly cosines: boolean;
}

/** Rows of features, as a sweep takes them. */
interface CollapseChunk {
  readonly features: Float;
  readonly labels: Int32Array;
  readonly rows: number;
}

type Measurement = Handle<'collapse'>;

declare module '../engine/load.js' {
  interface Engine {
    collapseBegin(plan: CollapsePlan): Measurement;
    collapseSum(mode: Mode, handle: Measurement, chunk: CollapseChunk): Result<void>;
    collapseCenter(mode: Mode, handle: Measurement): Result<void>;
    collapseMeasure(mode: Mode, handle: Measurement, chunk: CollapseChunk): Result<void>;
    collapseResult(mode: Mode, handle: Measurement): Result<RawCollapse>;
  }
}

type Sweep = 'collapseSum' | 'collapseMeasure';

interface Problem {
  readonly features: Float | FeatureSource;
  readonly dtype: DType;
  readonly labels: Int32Array;
  readonly samples: number;
  readonly dim: number;
  readonly firstSweep: boolean;
  readonly secondSweep: boolean;
  readonly steps: ReturnType<typeof begin>;
  /** The public result. */
  // biome-ignore lint/suspicious/noExplicitAny: its names are those of the options, which callers know
  readonly present: (raw: RawCollapse) => any;
}

function prepare(input: CollapseInput, options: CollapseOptions): Problem {
  checkOptions(options, ['classes', 'globalMean', 'ddof', 'only', 'reference', 'classMeans', 'cosines']);
  const globalMean = checkChoice(options.globalMean ?? 'classes', ['classes', 'samples'], option('options.globalMean'));
  const ddof = checkNumber(options.ddof ?? 0, option('options.ddof'), { min: 0, max: 1, integer: true });
  const withMeans = checkBoolean(options.classMeans ?? false, option('options.classMeans'));
  const { features, dtype, samples, dim } = checkFeatures(input?.features);
  const prototypes = checkOptional(input.prototypes, 'prototypes', 2);
  const biases = checkOptional(input.biases, 'biases', 1);
  if (prototypes && prototypes.shape[1] !== dim) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `features have ${dim} columns and prototypes are ${showShape(prototypes.shape)}; both need the same number of columns.`,
    );
  }
  const reference = options.reference === undefined ? undefined : checkReference(options.reference, dim);
  const classes = numberOfClasses(options.classes, prototypes?.shape[0] ?? reference?.counts.length, input.labels);
  if (reference && reference.counts.length !== classes) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `options.reference has ${reference.counts.length} classes; expected ${classes}, one a ${prototypes ? 'prototype' : 'class'}.`,
    );
  }
  if (biases && biases.shape[0] !== classes) {
    throw new LayerpeelError('LP_SHAPE', `biases are ${showShape(biases.shape)}; expected [${classes}], one a class.`);
  }
  if (biases && !prototypes) {
    throw new LayerpeelError(
      'LP_OPTION',
      'biases are given without prototypes; logits need both. Pass prototypes or leave out biases.',
    );
  }
  for (const [name, array] of Object.entries({ prototypes, biases })) {
    if (array && dtypeOf(array.data) !== dtype) {
      throw new LayerpeelError(
        'LP_DTYPE',
        `features are ${dtype} but ${name} ${dtypeOf(array.data)}; convert one, as a computation has one dtype.`,
      );
    }
  }
  const cosines = checkBoolean(options.cosines ?? classes <= MOST_CLASSES, option('options.cosines'));
  if (classes > samples && !reference) {
    throw new LayerpeelError('LP_BALANCE', `There are ${samples} samples for ${classes} classes; every class needs at least one.`);
  }
  const { labels, counts } = checkLabels(input.labels, samples, classes);
  const empty = counts.indexOf(0);
  if (empty !== -1 && !reference) {
    throw new LayerpeelError('LP_BALANCE', `Class ${empty} of ${classes} has no samples; every class needs at least one.`);
  }
  const names = wantedNames(options.only, prototypes !== undefined);
  return {
    features,
    dtype,
    labels,
    samples,
    dim,
    firstSweep: reference === undefined,
    secondSweep: names.some((name) => (collapseMeasures[name] as MeasureInfo).secondSweep),
    steps: begin({
      ...{ dtype, classes, dim, prototypes: prototypes?.data, biases: biases?.data, ...reference },
      ...{ meanOfSamples: globalMean === 'samples', ddof, cosines },
    }),
    present: (raw) => present(raw, names, { samples, classes, dim, counts }, { withMeans, cosines }),
  };
}

/** The native steps of one measurement, as tasks, and its end. */
function begin(plan: CollapsePlan) {
  const handle = runSync({ call: (engine) => engine.collapseBegin(plan), wrap: (raw: Measurement) => raw });
  const task = <T>(call: (engine: Engine, mode: Mode) => Result<T>) => ({ call, wrap: (raw: T) => raw });
  return {
    add: (step: Sweep, features: Float, rows: number, labels: Int32Array) =>
      task((engine, mode) => engine[step](mode, handle, { features, labels, rows })),
    center: task((engine, mode) => engine.collapseCenter(mode, handle)),
    result: task((engine, mode) => engine.collapseResult(mode, handle)),
    end: () => engine().dispose(handle),
  };
}

function checkFeatures(features: unknown) {
  if (typeof (features as FeatureSource | undefined)?.chunks !== 'function') {
    const { shape, data } = checkArray(features, 'features', 2);
    return { features: data, dtype: dtypeOf(data), ...checkExtents(shape) };
  }
  const source = features as FeatureSource;
  if (!Array.isArray(source.shape) || source.shape.length !== 2) {
    throw new LayerpeelError('LP_SHAPE', `features.shape is ${JSON.stringify(source.shape)}; expected [rows, columns].`);
  }
  return {
    features: source,
    dtype: checkChoice(source.dtype, ['float32', 'float64'], { path: 'features.dtype', code: 'LP_DTYPE' }),
    ...checkExtents(source.shape),
  };
}

function checkReference(given: unknown, dim: number): { means: Float64Array; counts: Int32Array } {
  const { classMeans, counts } = Object(given) as Partial<CollapseReference>;
  const { shape, data } = checkArray(classMeans, 'options.reference.classMeans', 2);
  if (shape[1] !== dim) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `options.reference.classMeans are ${showShape(shape)}; expected ${dim} columns, as features have.`,
    );
  }
  const place = option('options.reference.counts');
  const sizes = checkNumbers(counts, place, { min: 1, max: 2 ** 31 - 1, integer: true });
  if (sizes.length !== shape[0]) {
    throw new LayerpeelError(place.code, `${place.path} has ${sizes.length} numbers; expected ${shape[0]}, one a class.`);
  }
  return { means: Float64Array.from(data), counts: Int32Array.from(sizes) };
}

function checkExtents(shape: readonly number[]) {
  const [samples, dim] = shape as [number, number];
  if (!(Number.isSafeInteger(samples * dim) && samples >= 1 && dim >= 1)) {
    throw new LayerpeelError('LP_SHAPE', `features are ${showShape(shape)}; expected at least one sample and one dimension.`);
  }
  return { samples, dim };
}

function numberOfClasses(given: number | undefined, ofPrototypes: number | undefined, labels: unknown): number {
  if (given !== undefined) checkNumber(given, option('options.classes'), { min: 2, integer: true });
  if (given !== undefined && ofPrototypes !== undefined && given !== ofPrototypes) {
    throw new LayerpeelError('LP_OPTION', `options.classes is ${given}, but there are ${ofPrototypes} prototypes.`);
  }
  const classes = given ?? ofPrototypes ?? (types.isInt32Array(labels) ? Math.max(0, most(labels)) + 1 : 2);
  if (classes < 2) {
    throw new LayerpeelError('LP_SHAPE', `There is ${classes === 1 ? 'one class' : 'no class'}; expected at least two.`);
  }
  return classes;
}

function wantedNames(only: readonly CollapseMeasure[] | undefined, hasPrototypes: boolean): readonly CollapseMeasure[] {
  const all = Object.keys(collapseMeasures) as CollapseMeasure[];
  const needsPrototypes = (name: CollapseMeasure) => (collapseMeasures[name] as MeasureInfo).prototypes === true;
  if (only === undefined) return all.filter((name) => hasPrototypes || !needsPrototypes(name));
  const names = checkNames(only, all, option('options.only'));
  const lacking = hasPrototypes ? -1 : names.findIndex(needsPrototypes);
  if (lacking === -1) return names;
  throw new LayerpeelError(
    'LP_OPTION',
    `options.only[${lacking}] is '${names[lacking]}', which needs prototypes; pass them beside the features.`,
  );
}

function present(
  raw: RawCollapse,
  names: readonly CollapseMeasure[],
  sizes: Pick<CollapseDetails, 'samples' | 'classes' | 'dim' | 'counts'>,
  { withMeans, cosines }: { withMeans: boolean; cosines: boolean },
) {
  const { classes, dim } = sizes;
  const matrix = (data: Float64Array) => ({ shape: [classes, data.length / classes], data });
  const { spectrum, classNorms, featurePairs, featureCosines, prototypeNorms, prototypeCosines, classMeans } = raw;
  const { centeredPrototypeNorms, prototypePairs, centeredPrototypePairs } = raw;
  return {
    ...Object.fromEntries(names.map((name) => [name, raw.measures[name]])),
    ...sizes,
    ...('nc1' in raw.measures && { spectrum }),
    classNorms,
    featurePairs,
    ...(cosines && { featureCosines: matrix(featureCosines) }),
    ...(prototypeNorms.length > 0 && {
      ...{ prototypeNorms, centeredPrototypeNorms, prototypePairs, centeredPrototypePairs },
      ...(cosines && { prototypeCosines: matrix(prototypeCosines) }),
    }),
    ...(withMeans && { classMeans: { shape: [classes, dim], data: classMeans } }),
  };
}

interface Piece {
  readonly data: Float;
  /** Its first row among all, and how many it has. */
  readonly row: number;
  readonly rows: number;
}

/** The features of one sweep in pieces of some MiB. */
async function* piecesOf(problem: Problem): AsyncGenerator<Piece> {
  const { features, samples, dim } = problem;
  let row = 0;
  for await (const chunk of ArrayBuffer.isView(features) ? [{ shape: [samples, dim], data: features }] : features.chunks()) {
    const { data, rows } = checkChunk(chunk, problem, row);
    const most = Math.max(1, Math.floor(PIECE / (dim * data.BYTES_PER_ELEMENT)));
    for (let first = 0; first < rows; first += most) {
      if (data.length === 0) {
        throw new LayerpeelError('LP_DETACHED', 'features.data was detached while it was measured: its buffer was transferred.');
      }
      const count = Math.min(most, rows - first);
      yield { data: data.subarray(first * dim, (first + count) * dim), row: row + first, rows: count };
    }
    row += rows;
  }
  if (row !== samples) {
    throw new LayerpeelError('LP_SHAPE', `The source gave ${row} rows of features; expected the ${samples} of its shape.`);
  }
}

/**
 * Copies one piece after another into two shared buffers in turn: the engine reads shared memory in place, and nobody can
 * change a piece or take it away while it does.
 */
function stager(): (data: Float) => Float {
  const buffers: SharedArrayBuffer[] = [];
  let turn = 0;
  return (data) => {
    if (types.isSharedArrayBuffer(data.buffer)) return data;
    turn = 1 - turn;
    let buffer = buffers[turn];
    if (buffer === undefined || buffer.byteLength < data.byteLength) {
      buffer = new SharedArrayBuffer(data.byteLength);
      buffers[turn] = buffer;
    }
    const copy = types.isFloat32Array(data) ? new Float32Array(buffer, 0, data.length) : new Float64Array(buffer, 0, data.length);
    copy.set(data);
    return copy;
  };
}

function checkChunk(chunk: NDArray, { samples, dim, dtype }: Problem, row: number): { data: Float; rows: number } {
  const { shape, data } = checkArray(chunk, `features from row ${row}`, 2);
  const [rows, columns] = shape as [number, number];
  if (columns !== dim || row + rows > samples) {
    throw new LayerpeelError(
      'LP_SHAPE',
      `The source of features [${samples}, ${dim}] gave a chunk ${showShape(shape)} at row ${row}, which does not fit in.`,
    );
  }
  if (dtypeOf(data) !== dtype) {
    throw new LayerpeelError('LP_DTYPE', `The source of ${dtype} features gave a chunk of ${dtypeOf(data)}.`);
  }
  return { data, rows };
}
