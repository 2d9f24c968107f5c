/**
 * `layerpeel evaluate`: accuracy, calibration and out-of-distribution detection of a classifier's output in files.
 */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Place } from '../check/options.js';
import type { GroupName } from '../evaluation/accuracy.js';
import type { Calibration } from '../evaluation/calibration.js';
import type { Detection } from '../evaluation/detection.js';
import {
  checkSettings,
  type DecisionRule,
  type Evaluation,
  type EvaluationOptions,
  evaluate,
  type ScoreEvaluation,
  type ScoreName,
} from '../evaluation/evaluate.js';
import { type EvaluationFiles, evaluationFiles, filesOfRun, readEvaluation } from '../evaluation/files.js';
import { lineChart, type Series } from '../report/figure.js';
import type { PageFigure, Section } from '../report/page.js';
import type { RunFolder } from '../report/run-folder.js';
import { formatNumber } from '../report/ticks.js';
import { aligned, type Command, type Context, type Outcome, UsageError } from './command.js';

export const command: Command = {
  name: 'evaluate',
  summary: 'Evaluate a classifier: accuracy, calibration, out-of-distribution detection, from logits or features in files',
  positionals: ['[LOGITS.npy|RUN]'],
  description:
    'Evaluates logits [n, C] with their labels [n], or the logits that features [n, p], prototypes [C, p] and biases [C] make: accuracy\n' +
    'by class and group, centred decision rules, calibration with a fitted temperature, and with samples of other kinds how well max\n' +
    'softmax, energy and feature norm tell them apart, by either convention of the positive class. Every number comes with a bootstrap\n' +
    'interval. An array in a .npz or .safetensors file is named after a colon: data.npz:test. Of a run folder, RUN/arrays/logits.npy,\n' +
    'labels.npy, features.npy and so on are taken, by the names of the options.',
  options: {
    labels: { value: 'FILE', help: 'Labels, integers 0 … C−1 (needed)' },
    features: { value: 'FILE', help: 'Features: for decision rules and the feature norm' },
    prototypes: { value: 'FILE', help: 'Prototypes: the weights of the last layer' },
    biases: { value: 'FILE', help: 'Biases of the last layer' },
    'feature-mean': { value: 'FILE', help: 'Mean feature of the training set, for centred features; default: of these features' },
    counts: { value: 'LIST', help: 'Training samples of each class, 500,299,… or a file of them: accuracy of many, medium, few' },
    many: { value: 'N', help: 'More training samples than this make a class one of many; default: 100' },
    few: { value: 'N', help: 'Fewer than this make it one of few; default: 20' },
    'ood-logits': { value: 'FILE', help: 'Logits of samples out of distribution' },
    'ood-features': { value: 'FILE', help: 'Features of samples out of distribution' },
    temperature: { value: 'T', help: 'Temperature of the softmax for calibration; default: 1. A fitted one is reported beside it' },
    'energy-temperature': { value: 'T', help: 'Temperature of the energy; default: 1' },
    bins: { value: 'N', help: 'Bins of the reliability diagram; default: 15' },
    resamples: { value: 'N', help: 'Drawings of the bootstrap; default: 1000, 0 for no intervals' },
    confidence: { value: 'SHARE', help: 'Share of the drawings that an interval holds; default: 0.95' },
    seed: { value: 'N', help: 'Seed of the bootstrap; default: 0' },
  },
  examples: [
    'layerpeel evaluate logits.npy --labels labels.npy --counts 5000,2997,1796,1077,645,387,232,139,83,50',
    'layerpeel evaluate cifar.npz:logits --labels cifar.npz:y --ood-logits svhn.npz:logits',
    'layerpeel evaluate --features h.npy --prototypes w.npy --biases b.npy --labels y.npy --ood-features svhn.npy --json',
  ],
  async run(context: Context): Promise<Outcome> {
    const { args, signal, progress } = context;
    const options = context.options as Readonly<Record<string, string | undefined>>;
    const [path] = args;
    const run = path !== undefined && (!ARRAY_FILE.test(path) || (await stat(path).catch(() => undefined))?.isDirectory());
    const counts = listOf(options.counts);
    const given = Object.fromEntries(evaluationFiles.flatMap((name) => (options[name] ? [[name, options[name]]] : [])));
    const files: EvaluationFiles = { ...(run ? await filesOfRun(path) : { logits: path }), ...given };
    if (!files.labels) throw new UsageError('--labels is missing: a file with the class of each sample.');
    if (!files.logits && !(files.features && files.prototypes)) {
      throw new UsageError('LOGITS.npy is missing: a file of logits, or else --features and --prototypes.');
    }
    const settings = settingsOf(options);
    if (settings.groups && !files.counts && !counts) {
      throw new UsageError('--many and --few are given without --counts: the training samples of each class.');
    }
    const input = await readEvaluation(counts ? { ...files, counts: undefined } : files);
    const result = await evaluate(counts ? { ...input, counts } : input, {
      ...settings,
      signal,
      onProgress: (share) => progress(share, 'evaluating'),
    });
    const name = basename(path ?? (files.features as string)).replace(/\.[^.]*$/, '');
    const config = { ...files, ...settings };
    const folder = await context.folder(name, config);
    await saveNumbers(result, folder);
    const { samples, classes } = result;
    const intervals =
      settings.resamples === 0 ? '' : ` In brackets are ${percent(settings.confidence ?? 0.95)} bootstrap intervals.`;
    const report = await folder.report({
      title: `Evaluation of ${name}`,
      lead: `Of ${formatNumber(samples, 12)} samples of ${classes} classes ${percent(result.accuracy)} are decided right.${intervals}`,
      sections: await sectionsOf(result, folder),
      parameters: { ...config, samples, classes },
    });
    const { predicted, confidences, ...rest } = result;
    return { text: [...textOf(result), `Report: ${report}`].join('\n'), json: { ...rest, folder: folder.path, report } };
  },
};

/** Options that are numbers, by their names on the command line and in `EvaluationOptions`. */
const NUMBERS = {
  temperature: 'temperature',
  'energy-temperature': 'energyTemperature',
  bins: 'bins',
  resamples: 'resamples',
  confidence: 'confidence',
  seed: 'seed',
} as const;

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
    ...given(Object.entries(NUMBERS).map(([name, key]) => [key, number(name)])),
    ...(Object.keys(groups).length > 0 && { groups }),
  };
  try {
    checkSettings(settings, TYPED);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  return settings;
}

/** Options as they are typed: `energyTemperature` is `--energy-temperature`, `groups.many` is `--many`. */
const TYPED: Place = {
  path: '',
  code: 'LP_OPTION',
  called: (key) => `--${Object.entries(NUMBERS).find(([, name]) => name === key)?.[0] ?? key}`,
};

/** The path of an array, with its name in the file if need be. */
const ARRAY_FILE = /\.(npy|npz|safetensors)(:|$)/i;

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

const percent = (share: number): string => (Number.isNaN(share) ? '–' : `${formatNumber(100 * share, 4)}%`);
const precise = (value: number): string => formatNumber(value, 4);

interface Entry {
  readonly name: string;
  /** In the evaluation, and among its intervals. */
  readonly path: string;
  readonly value: number;
  readonly show: (value: number) => string;
  readonly meaning: string;
}

const GROUPS: readonly GroupName[] = ['many', 'medium', 'few'];

function accuracyEntries({ accuracy, balancedAccuracy, groups }: Evaluation): Entry[] {
  const entry = (name: string, path: string, value: number, meaning: string): Entry => ({
    name,
    path,
    value,
    show: percent,
    meaning,
  });
  return [
    entry('accuracy', 'accuracy', accuracy, 'share of samples decided right'),
    entry('balanced accuracy', 'balancedAccuracy', balancedAccuracy, 'mean accuracy of classes'),
    ...(groups
      ? GROUPS.map((name) =>
          entry(
            `accuracy of ${name}`,
            `groups.${name}.accuracy`,
            groups[name].accuracy,
            `mean accuracy of classes with ${name === 'medium' ? 'a medium number of' : name} training samples: ${groups[name].classes.length} of them`,
          ),
        )
      : []),
  ];
}

const CALIBRATION = {
  ece: ['ECE', percent, 'expected calibration error: mean |accuracy − confidence| of bins'],
  mce: ['MCE', percent, 'largest |accuracy − confidence| of a bin'],
  nll: ['NLL', precise, 'mean negative log-likelihood, in nats'],
  brier: ['Brier score', precise, 'mean Σ_{j} (p_{j} − 1{j = y})², 0 … 2'],
} as const;

function calibrationEntries({ calibration, fitted }: Evaluation): Entry[] {
  const of = (part: string, values: Calibration) =>
    (Object.keys(CALIBRATION) as (keyof typeof CALIBRATION)[]).map((key): Entry => {
      const [name, show, meaning] = CALIBRATION[key];
      const at = `${name} at T = ${precise(values.temperature)}`;
      return { name: at, path: `${part}.${key}`, value: values[key], show, meaning };
    });
  return [...of('calibration', calibration), ...(fitted ? of('fitted', fitted) : [])];
}

/** ` (84.0% … 85.3%)`, or nothing. */
function withInterval({ intervals }: Evaluation, path: string, show: (value: number) => string): string {
  const interval = intervals[path];
  return interval ? ` (${show(interval[0])} … ${show(interval[1])})` : '';
}

const SCORES: Readonly<Record<ScoreName, { readonly title: string; readonly axis: string }>> = {
  maxSoftmax: { title: 'Max softmax', axis: 'largest softmax probability' },
  energy: { title: 'Energy', axis: 'T log Σ exp(z/T)' },
  featureNorm: { title: 'Feature norm', axis: '‖h‖' },
};

const CONVENTIONS = {
  inDistributionPositive: {
    positive: 'in distribution',
    fpr: 'share of out-of-distribution samples accepted where 95% of in-distribution ones are',
  },
  outOfDistributionPositive: {
    positive: 'out of distribution',
    fpr: 'share of in-distribution samples rejected where 95% of out-of-distribution ones are',
  },
} as const;

const RULES: Readonly<Record<DecisionRule, string>> = {
  plain: 'argmax ⟨w, h⟩ + b',
  centeredPrototypes: 'argmax ⟨w − w̄, h⟩ + b',
  centeredFeatures: 'argmax ⟨w, h − h̄⟩ + b',
  centered: 'argmax ⟨w − w̄, h − h̄⟩ + b',
};

const scoresOf = (result: Evaluation): [ScoreName, ScoreEvaluation][] =>
  Object.entries(result.outOfDistribution ?? {}) as [ScoreName, ScoreEvaluation][];

const MEASURES = ['fpr95', 'auroc', 'aupr'] as const;

/** Score, positive class, FPR95, AUROC and AUPR, each with its interval. */
function detectionRows(result: Evaluation): string[][] {
  return scoresOf(result).flatMap(([score, evaluated]) =>
    (Object.keys(CONVENTIONS) as (keyof typeof CONVENTIONS)[]).map((convention) => [
      SCORES[score].title,
      CONVENTIONS[convention].positive,
      ...MEASURES.map((measure) => {
        const path = `outOfDistribution.${score}.${convention}.${measure}`;
        return `${percent(evaluated[convention][measure])}${withInterval(result, path, percent)}`;
      }),
    ]),
  );
}

const DETECTION_COLUMNS = ['score', 'positive class', 'FPR95', 'AUROC', 'AUPR'];

function textOf(result: Evaluation): string[] {
  const rows = [...accuracyEntries(result), ...calibrationEntries(result)].map(({ name, path, value, show }) => [
    name,
    `${show(value)}${withInterval(result, path, show)}`,
  ]);
  const { decisions, warnings } = result;
  const rules = Object.entries(decisions ?? {}).map(([rule, { accuracy, changed }]) => [
    RULES[rule as DecisionRule],
    percent(accuracy),
    `${changed} decided otherwise`,
  ]);
  const detected = detectionRows(result);
  return [
    aligned([['measure', 'value'], ...rows]),
    '',
    ...(rules.length > 0 ? [aligned(rules), ''] : []),
    ...(detected.length > 0 ? [aligned([DETECTION_COLUMNS, ...detected]), ''] : []),
    ...warnings.flatMap((warning) => [`Warning: ${warning}`, '']),
  ];
}

async function saveNumbers(result: Evaluation, folder: RunFolder): Promise<void> {
  const { calibration, fitted, predicted, confidences, perClass, counts, intervals } = result;
  const values: Record<string, number> = Object.fromEntries(
    [...accuracyEntries(result), ...calibrationEntries(result)].map(({ path, value }) => [path, value]),
  );
  values['temperature.temperature'] = result.temperature.temperature;
  for (const [score, evaluated] of scoresOf(result)) {
    for (const convention of Object.keys(CONVENTIONS) as (keyof typeof CONVENTIONS)[]) {
      const { positive, ...measures }: Detection = evaluated[convention];
      for (const [name, value] of Object.entries(measures)) values[`outOfDistribution.${score}.${convention}.${name}`] = value;
    }
    const { edges, inDistribution, outOfDistribution } = evaluated.histogram;
    await folder.metrics({ ...ends(edges), inDistribution, outOfDistribution }, `scores-${score}`);
  }
  await folder.metrics(Object.fromEntries(Object.entries(values).map(([path, value]) => [path, [value]])));
  if (Object.keys(intervals).length > 0) await folder.metrics(intervals, 'intervals');
  await folder.metrics({ class: Array.from(perClass.keys()), samples: counts, accuracy: perClass }, 'classes');
  for (const [name, values] of Object.entries({ reliability: calibration, ...(fitted && { 'reliability-fitted': fitted }) })) {
    const { edges, counts: samples, confidence, accuracy } = values.reliability;
    await folder.metrics({ ...ends(edges), samples, confidence, accuracy }, name);
  }
  await folder.array('predicted', { shape: [predicted.length], data: predicted });
  await folder.array('confidences', { shape: [confidences.length], data: confidences });
}

const ends = (edges: Float64Array) => ({ left: edges.subarray(0, -1), right: edges.subarray(1) });

async function sectionsOf(result: Evaluation, folder: RunFolder): Promise<Section[]> {
  const { warnings, decisions, temperature } = result;
  const table = (entries: readonly Entry[]) => ({
    columns: ['Measure', 'Value', 'Meaning'],
    rows: entries.map(({ name, path, value, show, meaning }) => [
      name,
      `${show(value)}${withInterval(result, path, show)}`,
      meaning,
    ]),
  });
  const sections: Section[] = [];
  if (warnings.length > 0) sections.push({ title: 'Before trusting a number', text: warnings });
  sections.push({ title: 'Accuracy', tables: [table(accuracyEntries(result))], figures: [await classFigure(result, folder)] });
  sections.push({
    title: 'Calibration',
    text: [
      'The confidence of a decision is the largest entry of softmax(z/T). Bins are of equal width and closed on the right; ECE is the mean ' +
        'distance of their points from the diagonal, weighed by samples. Drawing samples anew adds noise to every bin, so that ' +
        'intervals of ECE and MCE lie high.',
      `The temperature of the smallest NLL is ${precise(temperature.temperature)}, fitted to these same samples.`,
    ],
    tables: [table(calibrationEntries(result))],
    figures: await calibrationFigures(result, folder),
  });
  if (decisions) {
    sections.push({
      title: 'Decision rules',
      text: [
        'Descent stopped early leaves a common residual in features and prototypes, which centring removes (UL Appendix D.2). Centred ' +
          'prototypes alone turn no decision, as ⟨w̄, h⟩ is the same for every class.',
      ],
      tables: [
        {
          columns: ['Rule', 'Accuracy', 'Balanced accuracy', 'Decided otherwise'],
          rows: Object.entries(decisions).map(([rule, { accuracy, balancedAccuracy, changed }]) => [
            RULES[rule as DecisionRule],
            percent(accuracy),
            percent(balancedAccuracy),
            changed,
          ]),
        },
      ],
    });
  }
  if (result.outOfDistribution) {
    sections.push({
      title: 'Out-of-distribution detection',
      text: [
        `The positive class decides what FPR95 and AUPR mean. In distribution positive: FPR95 is the ${CONVENTIONS.inDistributionPositive.fpr}. ` +
          `Out of distribution positive: the ${CONVENTIONS.outOfDistributionPositive.fpr}. AUROC is the same by either; AUPR is average precision.`,
      ],
      tables: [{ columns: ['Score', 'Positive class', 'FPR95 ↓', 'AUROC ↑', 'AUPR ↑'], rows: detectionRows(result) }],
      figures: await scoreFigures(result, folder),
    });
  }
  return sections;
}

/** More classes than this are drawn as points, as bars would run into each other. */
const MOST_BARS = 50;

/** Marks at whole numbers. */
const marks = (x: readonly number[], classes: number): Pick<Series, 'mark' | 'x' | 'right'> =>
  classes > MOST_BARS ? { mark: 'points', x } : { mark: 'bars', x: x.map((at) => at - 0.4), right: x.map((at) => at + 0.4) };

async function classFigure({ perClass, balancedAccuracy, groups, classes }: Evaluation, folder: RunFolder): Promise<PageFigure> {
  const series = (name: string, members: readonly number[]): Series => ({
    name,
    ...marks(members, classes),
    y: members.map((label) => 100 * (perClass[label] as number)),
  });
  const all = Array.from(perClass.keys());
  return folder.figure(
    'classes',
    lineChart({
      title: 'Accuracy by class',
      x: { title: 'class', domain: [-0.5, classes - 0.5], whole: true },
      y: { title: 'accuracy, %', domain: [0, 100] },
      rules: [{ y: 100 * balancedAccuracy }],
      series: groups
        ? GROUPS.filter((name) => groups[name].classes.length > 0).map((name) => series(name, groups[name].classes))
        : [series('classes', all)],
    }),
    groups
      ? 'Share of each class decided right, by how many training samples the class had; the line is the mean of classes.'
      : 'Share of each class decided right; the line is the mean of classes.',
  );
}

async function calibrationFigures({ calibration, fitted }: Evaluation, folder: RunFolder): Promise<PageFigure[]> {
  const figures: PageFigure[] = [];
  for (const [name, { temperature, ece, reliability }] of Object.entries({
    reliability: calibration,
    ...(fitted && { 'reliability-fitted': fitted }),
  })) {
    const { edges, accuracy, confidence } = reliability;
    const { left, right } = ends(edges);
    const at = `T = ${precise(temperature)}`;
    figures.push(
      await folder.figure(
        name,
        lineChart({
          title: `Reliability at ${at}`,
          x: { title: 'confidence', domain: [0, 1] },
          y: { title: 'accuracy', domain: [0, 1] },
          width: 320,
          height: 320,
          series: [
            { name: 'accuracy of the bin', mark: 'bars', x: left, right, y: accuracy, style: 0 },
            { name: 'at its mean confidence', mark: 'points', x: confidence, y: accuracy, style: 0 },
            { name: 'calibrated', x: [0, 1], y: [0, 1], color: 6 },
          ],
        }),
        `Accuracy by confidence at ${at}: ECE ${percent(ece)}. Points below the diagonal are more confident than right.`,
      ),
    );
  }
  const { edges, counts, accuracy } = calibration.reliability;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const share = (of: (accuracy: number) => number) =>
    Array.from(counts, (count, bin) => (count === 0 ? 0 : (100 * count * of(accuracy[bin] as number)) / total));
  const { left, right } = ends(edges);
  figures.push(
    await folder.figure(
      'confidences',
      lineChart({
        title: `Confidence at T = ${precise(calibration.temperature)}`,
        x: { title: 'confidence', domain: [0, 1] },
        y: { title: 'samples, % of all' },
        width: 320,
        height: 320,
        series: [
          { name: 'decided right', mark: 'bars', x: left, right, y: share((each) => each) },
          { name: 'decided wrong', mark: 'bars', x: left, right, y: share((each) => 1 - each) },
        ],
      }),
      'How confident right and wrong decisions are.',
    ),
  );
  return figures;
}

async function scoreFigures(result: Evaluation, folder: RunFolder): Promise<PageFigure[]> {
  const figures: PageFigure[] = [];
  for (const [score, { histogram, inDistributionPositive, outOfDistributionPositive }] of scoresOf(result)) {
    const { title, axis } = SCORES[score];
    const { left, right } = ends(histogram.edges);
    const share = (counts: Int32Array) => {
      const total = counts.reduce((sum, count) => sum + count, 0);
      return Array.from(counts, (count) => (100 * count) / total);
    };
    figures.push(
      await folder.figure(
        `scores-${score}`,
        lineChart({
          title,
          x: { title: axis },
          y: { title: 'samples, % of their set' },
          rules: [{ x: inDistributionPositive.threshold, label: '95% kept' }],
          series: [
            { name: 'in distribution', mark: 'bars', x: left, right, y: share(histogram.inDistribution) },
            { name: 'out of distribution', mark: 'bars', x: left, right, y: share(histogram.outOfDistribution) },
          ],
        }),
        `${title} of both sets. Beyond the line lie 95% of the samples in distribution, and ${percent(inDistributionPositive.fpr95)} of those ` +
          `out of it. To catch 95% of the latter, all up to ${precise(outOfDistributionPositive.threshold)} are rejected: ` +
          `${percent(outOfDistributionPositive.fpr95)} of those in distribution.`,
      ),
    );
  }
  return figures;
}
