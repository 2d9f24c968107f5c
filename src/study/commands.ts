/**
 * What the commands of a study are to it: how a configuration is checked before anything runs, where its files are, what is measured
 * unless the study says, and how the command line is told of it.
 */
import { isAbsolute, resolve } from 'node:path';
import { LayerpeelError } from '../check/errors.js';
import { checkKeys, inside, show } from '../check/options.js';
import { CONFIG } from '../configuration/file.js';
import { checkIteration, checkOptionsOf, makeTrajectory, StateMemory } from '../configuration/simulation.js';
import { evaluationFiles, evaluationNumbers } from '../evaluation/files.js';
import { type TrainingConfig, withPathsFrom } from '../training/config.js';
import { checkTraining } from '../training/train.js';
import type { Plan } from './config.js';

type Config = Readonly<Record<string, unknown>>;

export interface StudiedCommand {
  /** The configuration with its paths as they are from anywhere, and with what is wanted among its measures. */
  prepared(config: Config, folder: string, wanted: readonly string[]): Config;
  /** Checks configurations one after another. @throws what is wrong with one, whatever its data are */
  checker(): (config: Config) => Promise<void>;
  /** What is measured at the end of its runs. */
  measures(base: Config): readonly string[];
  /** Arguments of the command line, of a run whose configuration is in a file. */
  args(config: Config, file: string): readonly string[];
}

/** Options of `evaluate` that name files, and the others. */
const FILES = [...evaluationFiles.filter((name) => name !== 'logits'), 'scores', 'ood-scores'];
const SETTINGS = ['many', 'few', ...Object.keys(evaluationNumbers)];

const objectOf = (value: unknown): Record<string, unknown> => Object(value) as Record<string, unknown>;
const located = (path: unknown, folder: string): unknown =>
  typeof path === 'string' && !isAbsolute(path) ? resolve(folder, path) : path;

/** Some entries with their paths located. */
function locatedIn(value: unknown, keys: readonly string[], folder: string): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, path]) => [key, keys.includes(key) ? located(path, folder) : path]));
}

/** Measures of a simulation that are not of its columns: its limit, its events, the step at which it ended. */
const BESIDE = /^(limit\.|when\[|step$)/;
const together = (own: readonly string[], wanted: readonly string[]): string[] => [
  ...new Set([...own, ...wanted.filter((name) => !BESIDE.test(name))]),
];

const isIterated = ({ dynamics }: Config): boolean => dynamics === 'projectedDescent';
const namesOf = (config: Config): readonly string[] =>
  (isIterated(config) ? (objectOf(objectOf(config.options).measure).names as string[]) : (config.measure as string[])) ??
  MEASURED[isIterated(config) ? 'iterated' : 'exact'];
const MEASURED = {
  exact: ['loss', 'accuracy', 'logNorm', 'distanceToLimit'],
  iterated: ['loss', 'accuracy', 'minMargin', 'gradientNorm'],
} as const;

function measured(config: Config, wanted: readonly string[]): Config {
  const own = namesOf(config);
  const names = Array.isArray(own) ? together(own, wanted) : own;
  if (!isIterated(config)) return { ...config, measure: names };
  const options = objectOf(config.options);
  return { ...config, options: { ...options, measure: { ...objectOf(options.measure), names } } };
}

export const studied: Readonly<Record<Plan['command'], StudiedCommand>> = {
  simulate: {
    prepared(config, folder, wanted) {
      const state = locatedIn(config.state, ['features', 'prototypes', 'biases', 'labels'], folder);
      return measured({ ...config, state, options: locatedIn(config.options, ['kernel'], folder) }, wanted);
    },
    checker() {
      const states = new StateMemory();
      const built = new Set<string>();
      return async (config) => {
        const found = await states.read(config);
        if (found.iteration) return checkIteration(found.iteration);
        checkOptionsOf(found.simulation);
        // Measures and events are those of a dynamics: one of each kind is made.
        const kind = JSON.stringify([config.dynamics, config.measure, config.when]);
        if (built.has(kind)) return;
        (await makeTrajectory(found.simulation)).dispose();
        built.add(kind);
      };
    },
    measures: (base) => namesOf(base),
    args: (_, file) => [file],
  },
  train: {
    prepared: (config, folder) => withPathsFrom(folder, config) as Config,
    checker: () => async (config) => void checkTraining(config as unknown as TrainingConfig),
    measures: (base) =>
      objectOf(base.data).test === false ? ['trainAccuracy', 'trainLoss', 'nc1'] : ['testAccuracy', 'testLoss', 'nc1'],
    args: (_, file) => [file],
  },
  evaluate: {
    prepared: (config, folder) => locatedIn(config, ['input', ...FILES], folder) as Config,
    checker: () => async (config) => {
      for (const [key, value] of Object.entries(checkKeys(config, ['input', ...FILES, ...SETTINGS], CONFIG))) {
        const list = key === 'counts' && Array.isArray(value);
        if (list || typeof value === 'string' || typeof value === 'number') continue;
        const { path } = inside(CONFIG, key);
        throw new LayerpeelError(
          'LP_CONFIG',
          `${path} is ${show(value)}; expected the value of the option --${key}, text or a number.`,
        );
      }
    },
    measures: () => ['accuracy', 'calibration.ece'],
    args: ({ input, ...options }) => [
      ...(input === undefined ? [] : [String(input)]),
      ...Object.entries(options).map(([key, value]) => `--${key}=${Array.isArray(value) ? value.join(',') : value}`),
    ],
  },
};
