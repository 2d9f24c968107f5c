/**
 * `layerpeel evaluate`: accuracy, calibration and out-of-distribution detection of a classifier's output in files.
 */
import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { NDArray } from '../array/ndarray.js';
import { ARRAY_FILE } from '../array/open.js';
import type { Place } from '../check/options.js';
import { checkSettings, type Evaluation, type EvaluationOptions, startEvaluation, startScores } from '../evaluation/evaluate.js';
import {
  checkSetNames,
  classNamesOf,
  type Distance,
  distances,
  type EvaluationFiles,
  evaluationFiles,
  evaluationNumbers,
  filesOfRun,
  readClassNames,
  readEvaluation,
  readScores,
  type SetFiles,
  setsOfRun,
} from '../evaluation/files.js';
import type { Column } from '../report/figure.js';
import {
  detectionTable,
  evaluationColumns,
  evaluationPage,
  evaluationRows,
  scoresColumns,
  scoresPage,
} from '../report/pages/evaluation.js';
import { RunFolder, runIn } from '../report/run-folder.js';
import { compareRuns, type Later, runsOf } from '../study/compare.js';
import type { OutputsPart } from '../training/outputs.js';
import { aligned, asUsage, type Command, type Context, kept, type Outcome, UsageError } from './command.js';
import { comparison, measureNames } from './comparison.js';
import { DEVICE, useDevice } from './device.js';

export const command: Command = {
  name: 'evaluate',
  summary: 'Evaluate a classifier: accuracy, calibration, out-of-distribution detection, from logits or features in files',
  positionals: ['[LOGITS.npy|RUN…]'],
  description:
    'Evaluates logits [n, C] with their labels [n], or the logits that features [n, p], prototypes [C, p] and biases [C] make: accuracy\n' +
    'by class and group, other decision rules (centred, logit adjustment with --counts, τ-normalization, nearest class mean with the\n' +
    'training set), calibration with a fitted temperature, and with samples of other kinds how well scores tell them apart, by either\n' +
    'convention of the positive class: max softmax, max logit and energy from logits, the feature norm from features, with the training\n' +
    'set (--train-features, --train-labels) KNN, Mahalanobis, relative Mahalanobis and NECO, with prototypes\n' +
    'too residual, ViM and NCI. Every number comes with a bootstrap interval. Several sets are named, and said to be near or far:\n' +
    '--ood-features near:cifar100=c.npy,far:svhn=s.npy. An array in a .npz, .safetensors or .pth file is named after a colon: data.npz:test.\n' +
    'Of a run folder, RUN/arrays/logits.npy, labels.npy, features.npy and so on are taken, by the names of the options. Several runs are\n' +
    'evaluated one after another, each in a folder of its own, and laid out as layerpeel compare does.',
  options: {
    labels: { value: 'FILE', help: 'Labels, integers 0 … C−1 (needed)' },
    features: { value: 'FILE', help: 'Features: for decision rules and the feature norm' },
    prototypes: { value: 'FILE', help: 'Prototypes: the weights of the last layer' },
    biases: { value: 'FILE', help: 'Biases of the last layer' },
    'feature-mean': { value: 'FILE', help: 'Mean feature of the training set, for centred features; default: of these features' },
    counts: { value: 'LIST', help: 'Training samples of each class, 500,299,… or a file of them: accuracy of many, medium, few' },
    classes: { value: 'LIST', help: 'Names of the classes, cat,dog,… or a JSON file of them; default: those of the run folder' },
    many: { value: 'N', help: 'More training samples than this make a class one of many; default: 100' },
    few: { value: 'N', help: 'Fewer than this make it one of few; default: 20' },
    'train-features': { value: 'FILE', help: 'Features of the training set, for the scores that take it …' },
    'train-labels': { value: 'FILE', help: '… and their labels' },
    'fit-logits': { value: 'FILE', help: 'Logits of a validation set to fit the temperature to; default: those evaluated …' },
    'fit-labels': { value: 'FILE', help: '… and their labels' },
    'ood-logits': { value: 'FILES', help: 'Logits of samples out of distribution: a file, or NAME=FILE,far:NAME=FILE,…' },
    'ood-features': { value: 'FILES', help: 'Features of samples out of distribution, in the same form' },
    'ood-images': {
      value: 'PATHS',
      help: "Images out of distribution, in the same form, for the network of RUN's checkpoint; as layerpeel predict takes them",
    },
    scores: { value: 'FILE', help: 'In place of all else: any score [n] of samples in distribution, large there …' },
    'ood-scores': { value: 'FILE', help: '… and of samples out of distribution' },
    temperature: { value: 'T', help: 'Temperature of the softmax for calibration; default: 1. A fitted one is reported beside it' },
    'energy-temperature': { value: 'T', help: 'Temperature of the energy; default: 1' },
    'adjustment-tau': { value: 'TAU', help: 'τ of logit adjustment; default: 1' },
    'normalization-tau': { value: 'TAU', help: 'τ of τ-normalization; default: 1' },
    neighbors: { value: 'K', help: "KNN's k; default: 50, or as many as the training set has" },
    'vim-dim': {
      value: 'D',
      help: 'Principal directions of residual and ViM; default: 1000 of 2048, 512 of 768, else half of them',
    },
    'neco-dim': { value: 'D', help: 'Principal directions of NECO; default: classes − 1' },
    'nci-alpha': { value: 'A', help: "NCI's weight of ‖h‖₁; default: 0" },
    bins: { value: 'N', help: 'Bins of the reliability diagram; default: 15' },
    resamples: { value: 'N', help: 'Drawings of the bootstrap; default: 1000, 0 for no intervals' },
    confidence: { value: 'SHARE', help: 'Share of the drawings that an interval holds; default: 0.95' },
    seed: { value: 'N', help: 'Seed of the bootstrap; default: 0' },
    measures: { value: 'LIST', help: 'Of several runs: what is compared, by its name in metrics.csv; default: up to eight of all' },
    device: DEVICE,
  },
  examples: [
    'layerpeel evaluate logits.npy --labels labels.npy --counts 5000,2997,1796,1077,645,387,232,139,83,50',
    'layerpeel evaluate cifar.npz:logits --labels cifar.npz:y --ood-logits svhn.npz:logits',
    'layerpeel evaluate runs/etf --train-features h.npy --train-labels y.npy --ood-features near:cifar100=c.npy,far:svhn=s.npy',
    'layerpeel evaluate runs/ce-0 runs/ce-1 runs/unhinged-0 --measures accuracy,calibration.ece,calibration.nll',
    'layerpeel evaluate runs/first --ood-images near:cifar100=cifar-100-binary,far:mnist=mnist',
    'layerpeel evaluate --scores knn.npy --ood-scores knn-svhn.npy',
    'layerpeel evaluate --features h.npy --prototypes w.npy --biases b.npy --labels y.npy --ood-features svhn.npy --json',
  ],
  async run(context: Context): Promise<Outcome> {
    const options = context.options as Readonly<Record<string, string | undefined>>;
    if (options.scores ?? options['ood-scores']) return evaluateBareScores(context, options);
    if (context.args.length > 1) return evaluateSeveral(context, options);
    if (options.measures !== undefined) throw new UsageError('--measures is of several runs, but one is given; leave it out.');
    return evaluateOne(context, options);
  },
};

type Options = Readonly<Record<string, string | undefined>>;

async function evaluateOne(context: Context, options: Options): Promise<Outcome> {
  const { args, signal, progress } = context;
  const [path] = args;
  const run = path !== undefined && (!ARRAY_FILE.test(path) || (await stat(path).catch(() => undefined))?.isDirectory());
  const before = run ? await runIn(path) : undefined;
  if (before && before.status !== 'complete')
    context.log(`${path} is of a run that is ${before.status}: what it has written is evaluated.`);
  const counts = listOf(options.counts);
  const given = setsOf(options);
  const plainly = options['ood-logits'] ?? options['ood-features'];
  const sets: NamedSet[] | undefined = given ?? (run && !plainly ? await setsOfRun(path) : undefined);
  if (options['ood-images'] && !run)
    throw new UsageError('--ood-images needs RUN: a run folder of layerpeel train, whose network is given them.');
  const ignored = sets ? ['ood-logits', 'ood-features'] : [];
  const names = evaluationFiles.filter((name) => !ignored.includes(name) && options[name]);
  const asked = Object.fromEntries(names.map((name) => [name, options[name]]));
  const found: EvaluationFiles = run ? await filesOfRun(path) : { logits: path };
  const files: EvaluationFiles = { ...found, ...(sets && { 'ood-logits': undefined, 'ood-features': undefined }), ...asked };
  for (const [one, other] of [
    ['train-features', 'train-labels'],
    ['train-labels', 'train-features'],
    ['fit-logits', 'fit-labels'],
    ['fit-labels', 'fit-logits'],
  ] as const) {
    if (files[one] && !files[other]) throw new UsageError(`--${other} is missing: --${one} is given.`);
  }
  if (!files.labels) throw new UsageError('--labels is missing: a file with the class of each sample.');
  if (!files.logits && !(files.features && files.prototypes)) {
    throw new UsageError('LOGITS.npy is missing: a file of logits, or else --features and --prototypes.');
  }
  if ((options.many ?? options.few) !== undefined && !files.counts && !counts) {
    throw new UsageError('--many and --few are given without --counts: the training samples of each class.');
  }
  const settings = settingsOf(options);
  const name = basename(path ?? (files.features as string)).replace(/\.[^.]*$/, '');
  const classNames = await namesOf(options.classes, run ? path : undefined);
  const config = { ...files, ...(sets && { outOfDistribution: sets }), ...settings };
  const folder = await context.folder(name);
  await useDevice(context);
  const made: SetFiles[] = [];
  for (const { images, ...set } of sets ?? [])
    made.push(images === undefined ? set : { ...set, ...(await seen(path as string, images, context)) });
  const input = await readEvaluation(counts ? { ...files, counts: undefined } : files, sets && made);
  const evaluate = startEvaluation(counts ? { ...input, counts } : input, {
    ...settings,
    signal,
    onProgress: (share) => progress(share, 'evaluating'),
  });
  const classes = input.logits ? input.logits.shape[1] : input.prototypes?.shape[0];
  if (classNames && classNames.length !== classes)
    throw new UsageError(`--classes has ${classNames.length} names; expected ${classes}, one a class.`);
  await folder.begin(config);
  const result = await evaluate();
  const trainingCounts = counts ?? input.counts;
  const about = { ...(classNames && { classNames }), ...(trainingCounts && { trainingCounts }) };
  const columns = evaluationColumns(result, about);
  for (const [file, table] of Object.entries(columns)) await folder.metrics(table, file);
  const { predicted, confidences, ...rest } = result;
  await folder.array('predicted', { shape: [predicted.length], data: predicted });
  await folder.array('confidences', { shape: [confidences.length], data: confidences });
  const { confidence } = settings;
  const report = await folder.report(
    evaluationPage(result, { name, ...about, parameters: config, ...(confidence !== undefined && { confidence }) }),
  );
  return {
    text: [...textOf(result), `Report: ${report}`].join('\n'),
    measures: measuresOf(columns),
    json: { ...rest, folder: folder.path, report },
  };
}

/** Runs one after another, in folders of their own, and their table. */
async function evaluateSeveral(context: Context, options: Options): Promise<Outcome> {
  const { args, signal, log } = context;
  const measures = measureNames(options.measures);
  const runs = await runsOf(args);
  for (const run of runs) {
    if (!(await runIn(run)))
      throw new UsageError(`${run} is no run folder; several are evaluated by their folders, files one by one.`);
  }
  const settings = settingsOf(options);
  const folder = await context.folder('');
  const config = { runs: args, ...(measures && { measures }), ...settings };
  await folder.begin(config);
  const names = folderNames(runs);
  const later = new Map<string, Later>();
  const errors: unknown[] = [];
  for (const [i, run] of runs.entries()) {
    const name = names[i] as string;
    const path = join(folder.path, 'runs', name);
    const own = await RunFolder.claim({ command: `evaluate ${name}`, out: path, force: true, log });
    try {
      const { measures: found = {} } = await evaluateOne(
        {
          ...context,
          args: [run],
          folder: async () => own,
          progress: (share, doing) => context.progress((i + share) / runs.length, `${name}: ${doing}`),
        },
        options,
      );
      await own.result({ measures: found });
      await own.finish('complete');
      later.set(run, { folder: path, outcome: { status: 'complete', measures: found } });
    } catch (error) {
      await kept(() => own.finish(signal.aborted ? 'stopped' : 'failed', error));
      if (signal.aborted || error instanceof UsageError) throw error;
      errors.push(error);
      later.set(run, { folder: path, outcome: { status: 'failed', reason: (error as Error).message, measures: {} } });
    } finally {
      await own.release();
    }
  }
  if (errors.length === runs.length) throw errors[0];
  const { table, partial, folderOf } = await compareRuns(runs, { ...(measures && { measures }), from: folder.path, later });
  return comparison(folder, {
    ...{ table, partial, folderOf, log: measures ? () => {} : log },
    name: 'Evaluations',
    lead: `${runs.length} runs, evaluated alike; those that differ in their seeds alone are one row.`,
    config,
  });
}

/** The last names of paths, those that others have too with a number. */
function folderNames(paths: readonly string[]): string[] {
  const taken = new Set<string>();
  return paths.map((path) => {
    const name = basename(resolve(path));
    let free = name;
    for (let k = 2; taken.has(free); k++) free = `${name}-${k}`;
    taken.add(free);
    return free;
  });
}

/** Detection by scores in files, which needs nothing else. */
async function evaluateBareScores(context: Context, options: Options): Promise<Outcome> {
  const { scores, 'ood-scores': others } = options;
  if (scores === undefined || others === undefined) {
    throw new UsageError(`--${scores === undefined ? 'scores' : 'ood-scores'} is missing: a score is compared on both sides.`);
  }
  const allowed = ['scores', 'ood-scores', 'resamples', 'confidence', 'seed', 'out', 'force', 'json', 'verbose'];
  const more = Object.keys(options).find((name) => options[name] && !allowed.includes(name));
  if (more !== undefined || context.args.length > 0) {
    throw new UsageError(
      `--scores stands alone, but ${more === undefined ? context.args[0] : `--${more}`} is given as well; leave it out.`,
    );
  }
  const settings = settingsOf(options);
  const name = basename(scores).replace(/\.[^.]*$/, '');
  const config = { scores, 'ood-scores': others, ...settings };
  const folder = await context.folder(name);
  const sides = [await readScores(scores), await readScores(others)] as const;
  const onProgress = (share: number) => context.progress(share, 'evaluating');
  const evaluate = startScores(...sides, { ...settings, signal: context.signal, onProgress });
  await folder.begin(config);
  const result = await evaluate();
  for (const [file, columns] of Object.entries(scoresColumns(result))) await folder.metrics(columns, file);
  const { confidence } = settings;
  const report = await folder.report(
    scoresPage(result, { name, parameters: config, ...(confidence !== undefined && { confidence }) }),
  );
  return {
    text: [detectionText(detectionTable(result)), '', `Report: ${report}`].join('\n'),
    measures: measuresOf(scoresColumns(result)),
    json: { ...result, folder: folder.path, report },
  };
}

/** The one row of `metrics.csv`. */
const measuresOf = ({ metrics = {} }: { readonly metrics?: Readonly<Record<string, Column>> }): Record<string, number> =>
  Object.fromEntries(Object.entries(metrics).map(([name, column]) => [name, column[0] as number]));

const detectionText = ({ columns, rows }: ReturnType<typeof detectionTable>): string => aligned([columns, ...rows]);

/** `far:svhn=s.npy`: how far a set is, its name, its file. */
const SET = /^(?:([^:=]*):)?([^:=/]*)=(.*)$/s;

/** A set by its files, or by its images, which a network is given. */
interface NamedSet extends SetFiles {
  readonly images?: string | undefined;
}

/** What the network of a run makes of images. */
async function seen(run: string, path: string, context: Context): Promise<Pick<SetFiles, 'logits' | 'features'>> {
  const { imagesOf } = await import('./predict.js');
  const { outputs, readNetwork } = await import('../training/outputs.js');
  const { images } = await imagesOf(await readNetwork(run), path, undefined, context);
  const parts: OutputsPart[] = [];
  const onProgress = (share: number) => context.progress(share, `predicting ${path}`);
  for await (const part of outputs(run, images, { signal: context.signal, onProgress })) parts.push(part);
  const whole = (name: 'features' | 'logits'): NDArray => {
    const columns = parts[0]?.[name].shape[1] as number;
    const data = new Float32Array(images.labels.length * columns);
    for (const part of parts) data.set(part[name].data, part.first * columns);
    return { shape: [images.labels.length, columns], data };
  };
  return { logits: whole('logits'), features: whole('features') };
}

/** The sets that `--ood-logits`, `--ood-features` and `--ood-images` name; undefined where they are files, or left out. */
function setsOf(options: Readonly<Record<string, string | undefined>>): NamedSet[] | undefined {
  const given = (['logits', 'features', 'images'] as const).flatMap((kind) => {
    const value = options[`ood-${kind}`];
    return value === undefined ? [] : [{ kind, value: kind === 'images' ? named(value) : value }];
  });
  if (!given.some(({ value }) => SET.test(value))) return undefined;
  const sets = new Map<string, NamedSet>();
  for (const { kind, value } of given) {
    for (const part of value.split(',')) {
      const [, distance, name = '', file] = SET.exec(part) ?? [];
      if (!file || (distance !== undefined && !(distances as readonly string[]).includes(distance))) {
        throw new UsageError(`--ood-${kind} has ${JSON.stringify(part)}; expected NAME=FILE, near:NAME=FILE or far:NAME=FILE.`);
      }
      const set = sets.get(name);
      const twice = set?.[kind] ?? (kind === 'images' ? (set?.logits ?? set?.features) : set?.images);
      if (twice !== undefined || (set?.distance && distance && set.distance !== distance)) {
        throw new UsageError(`--ood-${kind} has the set ${name} twice, or as near in one place and far in another.`);
      }
      sets.set(name, { ...set, name, ...(distance && { distance: distance as Distance }), [kind]: file });
    }
  }
  asUsage(() => checkSetNames([...sets.keys()], { path: 'sets', code: 'LP_OPTION' }));
  return [...sets.values()];
}

/** One path alone is of the set named as what lies there. */
const named = (value: string): string =>
  SET.test(value)
    ? value
    : `${
        basename(resolve(value))
          .replace(/\.[^.]*$/, '')
          .replace(/[^\p{L}\p{N}_-]+/gu, '-') || 'images'
      }=${value}`;

function settingsOf(options: Readonly<Record<string, string | undefined>>): EvaluationOptions {
  const number = (name: string): number | undefined => {
    const text = options[name];
    if (text === undefined) return undefined;
    const value = Number(text);
    if (Number.isNaN(value)) throw new UsageError(`--${name} is ${text}; expected a number.`);
    return value;
  };
  const given = (pairs: readonly (readonly [string, unknown])[]) =>
    Object.fromEntries(pairs.filter(([, value]) => value !== undefined));
  const groups = given([
    ['many', number('many')],
    ['few', number('few')],
  ]);
  const settings: EvaluationOptions = {
    ...given(Object.entries(evaluationNumbers).map(([name, key]) => [key, number(name)])),
    ...(Object.keys(groups).length > 0 && { groups }),
  };
  asUsage(() => checkSettings(settings, TYPED));
  return settings;
}

/** Options as they are typed: `energyTemperature` is `--energy-temperature`, `groups.many` is `--many`. */
const TYPED: Place = {
  path: '',
  code: 'LP_OPTION',
  called: (key) => `--${Object.entries(evaluationNumbers).find(([, name]) => name === key)?.[0] ?? key}`,
};

/** Names of classes as they are typed, or in a file; those of a run where none are given. */
async function namesOf(given: string | undefined, run: string | undefined): Promise<readonly string[] | undefined> {
  if (given === undefined) return run === undefined ? undefined : classNamesOf(run);
  if (!/\.json$/i.test(given)) return given.split(',');
  const names = await readClassNames(given);
  if (!names) throw new UsageError(`--classes is ${given}; expected a JSON list of names in it.`);
  return names;
}

/** Counts as they stand on the command line, unless they are a file's. */
function listOf(counts: string | undefined): number[] | undefined {
  if (counts === undefined || ARRAY_FILE.test(counts)) return undefined;
  const sizes = counts.split(',').map((text) => (text.trim() === '' ? Number.NaN : Number(text)));
  if (sizes.some(Number.isNaN)) {
    throw new UsageError(
      `--counts is ${counts}; expected the training samples of each class, such as 500,299,178, or a file of them.`,
    );
  }
  return sizes;
}

/** A line for every rule, under heads. */
function decisionRows(decisions: ReturnType<typeof evaluationRows>['decisions']): string[][] {
  if (decisions.length === 0) return [];
  const groups = decisions[0]?.groups.length ? ['many', 'medium', 'few'] : [];
  return [
    ['decision', 'accuracy', 'balanced', ...groups, ''],
    ...decisions.map((each) => [
      each.rule,
      each.accuracy,
      each.balancedAccuracy,
      ...each.groups,
      `${each.changed} decided otherwise`,
    ]),
  ];
}

function textOf(result: Evaluation): string[] {
  const { accuracy, calibration, decisions, detection } = evaluationRows(result);
  const tables = [
    [['measure', 'value'], ...[...accuracy, ...calibration].map(([name = '', value = '']) => [name, value])],
    decisionRows(decisions),
  ];
  return [
    ...tables.flatMap((rows) => (rows.length > 0 ? [aligned(rows), ''] : [])),
    ...(detection.rows.length > 0 ? [detectionText(detection), ''] : []),
    ...result.warnings.flatMap((warning) => [`Warning: ${warning}`, '']),
  ];
}
