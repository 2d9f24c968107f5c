/**
 * A simulation as a JSON file:
 *
 *     { "dynamics": "gradientDescent",
 *       "state": { "random": { "classes": 10, "perClass": 50, "dim": 64, "seed": 0 } },
 *       "options": { "gamma": 0.01, "learningRates": { "features": 0.1, "prototypes": 0.1 } },
 *       "steps": { "from": 1, "to": 100000, "count": 200, "scale": "log" },
 *       "measure": ["loss", "accuracy", "logNorm", "distanceToLimit"],
 *       "when": [{ "name": "accuracy", "value": 1, "to": 100000 }],
 *       "save": ["state"] }
 *
 * `options` are those of the function named by `dynamics`; a state may
 * also be read from files, by paths relative to the configuration: `{ "features": "h.npy", "prototypes": "w.npy", "biases": "b.npy", "labels": "y.npy" }`.
 */
import { isAbsolute, sep } from 'node:path';
import { type DType, dtypeOf, type NDArray, type State } from '../array/ndarray.js';
import { readFloats, readLabels } from '../array/open.js';
import { LayerpeelError } from '../check/errors.js';
import {
  checkChoice,
  checkKeys,
  checkList,
  checkNames,
  checkNumber,
  checkObject,
  entry,
  inside,
  type Place,
  show,
} from '../check/options.js';
import type { ComputedTrajectory } from '../dynamics/computed.js';
import { startDescent } from '../dynamics/descent.js';
import { startAnchoredFlow, startFlow } from '../dynamics/flow.js';
import { startKernelFlow } from '../dynamics/kernel.js';
import { type DescentProblem, type ProjectedDescentOptions, startProjectedDescent } from '../dynamics/projected.js';
import { startSphericalDescent } from '../dynamics/spherical.js';
import { type MeasureName, meanings, type TrajectoryEvent } from '../dynamics/trajectory.js';
import { begun, drive, type Steps } from '../engine/run.js';
import { makeRandomState, type RandomStateOptions } from '../state/random-state.js';
import { CONFIG } from './file.js';

export const FLOWS = ['gradientFlow', 'anchoredFlow', 'kernelFlow'] as const;
export const DESCENTS = ['gradientDescent', 'sphericalDescent'] as const;
export const DYNAMICS = [...FLOWS, ...DESCENTS] as const;
export const ITERATED = 'projectedDescent';
const SAVED = ['state', 'direction', 'limit'] as const;
const KEYS = ['dynamics', 'state', 'dtype', 'options', 'times', 'steps', 'measure', 'when', 'save'] as const;
const MEASURED = ['loss', 'accuracy', 'logNorm', 'distanceToLimit'] as const;

export interface Simulation {
  readonly dynamics: (typeof DYNAMICS)[number];
  readonly state: State;
  readonly options: Readonly<Record<string, unknown>>;
  /** When to measure: times of a flow, numbers of steps of a descent; ascending. */
  readonly times: readonly number[];
  readonly clock: 'time' | 'step';
  /** Whether the times stand evenly on a logarithmic axis. */
  readonly logarithmic: boolean;
  /** Quantities to measure. @default loss, accuracy, logNorm, distanceToLimit */
  readonly measure: readonly MeasureName[];
  /** Events whose first times are wanted. */
  readonly when: readonly TrajectoryEvent[];
  readonly save: readonly (typeof SAVED)[number][];
}

export const EXAMPLE = {
  dynamics: 'gradientDescent',
  state: { random: { classes: 100, perClass: 10, dim: 512, seed: 0 } },
  dtype: 'float64',
  options: {
    gamma: 0.005,
    learningRates: { features: 0.1, prototypes: 0.1 },
    weightDecay: { features: 0, prototypes: 0 },
    momentum: 0.9,
    schedule: { kind: 'cosine', period: 20000 },
  },
  steps: { from: 1, to: 20000, count: 200, scale: 'log' },
  measure: ['loss', 'accuracy', 'logNorm', 'distanceToLimit'],
  when: [{ name: 'accuracy', value: 1, to: 20000 }],
  save: ['direction', 'limit'],
};

/** A configuration of projected descent, its files read. */
export interface Iteration {
  readonly state: State;
  readonly problem: Omit<DescentProblem, 'state'>;
  readonly options: ProjectedDescentOptions;
}

/** What a configuration asks for: one of the two. */
export type Simulated =
  | { readonly simulation: Simulation; readonly iteration?: undefined }
  | { readonly iteration: Iteration; readonly simulation?: undefined };

/** Checks a configuration and reads what it refers to. @param folder to which its paths are relative @param known its state, where that has been read @throws LP_CONFIG with the path to what is wrong */
export async function readSimulation(config: unknown, folder: string, known?: State): Promise<Simulated> {
  const iterated = (config as { dynamics?: unknown } | null)?.dynamics === ITERATED;
  return iterated
    ? { iteration: await readIteration(config, folder, known) }
    : { simulation: await readTrajectory(config, folder, known) };
}

/** Reads configurations one after another; those of one start share its state. */
export class StateMemory {
  private readonly states = new Map<string, State>();

  async read(config: Readonly<Record<string, unknown>>): Promise<Simulated> {
    const start = JSON.stringify([config.state, config.dtype]);
    const read = await readSimulation(config, '', this.states.get(start));
    if (this.states.size > 8) this.states.clear();
    this.states.set(start, (read.simulation ?? read.iteration).state);
    return read;
  }
}

async function readIteration(given: unknown, folder: string, known?: State): Promise<Iteration> {
  const place = CONFIG;
  const config = checkKeys(given, ['dynamics', 'state', 'dtype', 'problem', 'options'], place);
  const dtype = config.dtype === undefined ? undefined : checkChoice(config.dtype, ['float32', 'float64'], inside(place, 'dtype'));
  const object = (key: string) => checkObject(config[key], inside(place, key));
  return {
    problem: object('problem') as unknown as Iteration['problem'],
    options: object('options') as unknown as Iteration['options'],
    state: known ?? (await readState(config.state, dtype, folder, inside(place, 'state'))),
  };
}

async function readTrajectory(given: unknown, folder: string, known?: State): Promise<Simulation> {
  const place = CONFIG;
  const config = checkKeys(given, KEYS, place);
  for (const key of ['dynamics', 'state', 'options']) {
    if (config[key] !== undefined) continue;
    throw new LayerpeelError('LP_CONFIG', `config.${key} is missing; layerpeel simulate --example prints a whole configuration.`);
  }
  const dynamics = checkChoice(config.dynamics, [...DYNAMICS, ITERATED], inside(place, 'dynamics')) as Simulation['dynamics'];
  const clock = (FLOWS as readonly string[]).includes(dynamics) ? 'time' : 'step';
  const dtype = config.dtype === undefined ? undefined : checkChoice(config.dtype, ['float32', 'float64'], inside(place, 'dtype'));
  const options = checkObject(config.options, inside(place, 'options'));
  const save = checkList(config.save ?? ['state'], inside(place, 'save')).map((name, i) =>
    checkChoice(name, SAVED, inside(place, `save[${i}]`)),
  );
  const measure = checkNames(config.measure ?? MEASURED, Object.keys(meanings) as MeasureName[], inside(place, 'measure'));
  const when = checkList(config.when ?? [], inside(place, 'when')).map((event, i) =>
    checkObject(event, inside(place, `when[${i}]`)),
  );
  const times = checkTimes(config, clock, place);
  const state = known ?? (await readState(config.state, dtype, folder, inside(place, 'state')));
  return {
    dynamics,
    state,
    options: await readKernel(options, dtype, folder),
    ...times,
    clock,
    measure,
    when: when as unknown as TrajectoryEvent[],
    save,
  };
}

function checkTimes(
  config: Record<string, unknown>,
  clock: 'time' | 'step',
  place: Place,
): { times: number[]; logarithmic: boolean } {
  const [key, other] = clock === 'time' ? ['times', 'steps'] : ['steps', 'times'];
  if (config[other] !== undefined) {
    throw new LayerpeelError(
      'LP_CONFIG',
      `config.${other} is given, but ${config.dynamics} runs over ${clock}s; give config.${key}.`,
    );
  }
  const given = config[key];
  const here = inside(place, key);
  const bounds = { min: 0, integer: clock === 'step' };
  if (Array.isArray(given)) {
    if (given.length === 0) throw new LayerpeelError('LP_CONFIG', `${here.path} is empty; expected at least one ${clock}.`);
    const times = given.map((value, i) => checkNumber(value, inside(place, `${key}[${i}]`), bounds));
    return { times: [...new Set(times)].sort((a, b) => a - b), logarithmic: false };
  }
  if (given === undefined) {
    throw new LayerpeelError('LP_CONFIG', `${here.path} is missing; expected a list, or { "from", "to", "count", "scale" }.`);
  }
  const range = checkKeys(given, ['from', 'to', 'count', 'scale'], here);
  if (range.to === undefined) throw new LayerpeelError('LP_CONFIG', `${here.path}.to is missing; expected the last ${clock}.`);
  const logarithmic = checkChoice(range.scale ?? 'linear', ['linear', 'log'], inside(here, 'scale')) === 'log';
  const from = checkNumber(
    range.from ?? (logarithmic ? 1 : 0),
    inside(here, 'from'),
    logarithmic ? { ...bounds, above: 0 } : bounds,
  );
  const to = checkNumber(range.to, inside(here, 'to'), { ...bounds, min: from });
  const count = checkNumber(range.count ?? 200, inside(here, 'count'), { min: 1, max: 1e7, integer: true });
  const at = (share: number) => (logarithmic ? from * (to / from) ** share : from + (to - from) * share);
  const times = Array.from({ length: count }, (_, i) => (i === count - 1 ? to : at(i / (count - 1))));
  return { times: [...new Set(clock === 'step' ? times.map(Math.round) : times)], logarithmic };
}

async function readState(given: unknown, dtype: DType | undefined, folder: string, place: Place): Promise<State> {
  const value = checkKeys(given, ['random', 'features', 'prototypes', 'biases', 'labels'], place);
  if (value.random !== undefined) {
    const here = inside(place, 'random');
    if (Object.keys(value).length > 1) {
      throw new LayerpeelError('LP_CONFIG', `${place.path} has both random and files; expected one of the two.`);
    }
    const random = { ...(dtype ? { dtype } : {}), ...checkObject(value.random, here) };
    return makeRandomState(random as unknown as RandomStateOptions, here);
  }
  const floats = (key: string) =>
    readNamed(value[key], inside(place, key), folder, readFloats).then((array) => converted(array, dtype));
  return {
    features: await floats('features'),
    prototypes: await floats('prototypes'),
    ...(value.biases === undefined ? {} : { biases: await floats('biases') }),
    labels: await readNamed(value.labels, inside(place, 'labels'), folder, readLabels),
  };
}

/** The kernel of a kernel flow stands in a file. */
async function readKernel(
  options: Record<string, unknown>,
  dtype: DType | undefined,
  folder: string,
): Promise<Record<string, unknown>> {
  if (typeof options.kernel !== 'string') return options;
  return {
    ...options,
    kernel: converted(await readNamed(options.kernel, inside(CONFIG, 'options.kernel'), folder, readFloats), dtype),
  };
}

async function readNamed<T>(path: unknown, place: Place, folder: string, read: (path: string) => Promise<T>): Promise<T> {
  if (typeof path !== 'string') {
    throw new LayerpeelError(
      'LP_CONFIG',
      `${place.path} is ${path === undefined ? 'missing' : show(path)}; expected the path of an array file.`,
    );
  }
  try {
    // Not resolved: what follows a colon is a name, in which `a/../b` is no path.
    return await read(isAbsolute(path) ? path : `${folder}${sep}${path}`);
  } catch (error) {
    if (!(error instanceof LayerpeelError)) throw error;
    throw new LayerpeelError(error.code, `${place.path}: ${error.message}`, { cause: error });
  }
}

function converted(array: NDArray, dtype: DType | undefined): NDArray {
  if (dtype === undefined || dtypeOf(array.data) === dtype) return array;
  return { shape: array.shape, data: dtype === 'float64' ? Float64Array.from(array.data) : Float32Array.from(array.data) };
}

const STARTS: Readonly<Record<Simulation['dynamics'], unknown>> = {
  gradientFlow: startFlow,
  gradientDescent: startDescent,
  anchoredFlow: startAnchoredFlow,
  sphericalDescent: startSphericalDescent,
  kernelFlow: startKernelFlow,
};

/** Each checks its options itself. */
function started({ dynamics, state, options }: Simulation): Steps<ComputedTrajectory> {
  const start = STARTS[dynamics] as (state: State, options: object, place: Place) => Steps<ComputedTrajectory>;
  return start(state, options, inside(CONFIG, 'options'));
}

/** Checks the options of a simulation without computing anything. @throws LP_CONFIG with the path to what is wrong */
export const checkOptionsOf = (simulation: Simulation): void => void begun(started(simulation));

/** Where the arguments of `projectedDescent` stand in a configuration. */
export const ITERATION = { problem: inside(CONFIG, 'problem'), options: inside(CONFIG, 'options') };

/** Checks problem and options of an iteration without taking a step. @throws LP_CONFIG with the path to what is wrong */
export const checkIteration = ({ problem, state, options }: Iteration): void =>
  void startProjectedDescent({ ...problem, state }, options, ITERATION);

/** The trajectory of a simulation, with its measures and events. @throws LP_CONFIG with the path to what is wrong */
export async function makeTrajectory(simulation: Simulation, signal?: AbortSignal): Promise<ComputedTrajectory> {
  const { measure, when } = simulation;
  const trajectory = await drive(started(simulation), { signal });
  trajectory.checkMeasures(measure, inside(CONFIG, 'measure'));
  for (const [i, event] of when.entries()) trajectory.checkEvent(event, entry(inside(CONFIG, 'when'), i));
  return trajectory;
}
