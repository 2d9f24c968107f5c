/**
 * The report of an evaluation: accuracy by class and group, calibration, decision rules and out-of-distribution detection, each
 * number with its bootstrap interval.
 */
import { LayerpeelError } from '../../check/errors.js';
import type { GroupName } from '../../evaluation/accuracy.js';
import type { Calibration } from '../../evaluation/calibration.js';
import type {
  DecisionRule,
  Evaluation,
  ScoreEvaluation,
  ScoreEvaluations,
  ScoreMeans,
  ScoreName,
  ScoresResult,
} from '../../evaluation/evaluate.js';
import { type Column, lineChart, type Series } from '../figure.js';
import { checkResult, type Figure, type Report, type Section } from '../page.js';
import { formatNumber } from '../ticks.js';
import { classAxis, IN_ORDER } from './classes.js';

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
function withInterval({ intervals }: Pick<Evaluation, 'intervals'>, path: string, show: (value: number) => string): string {
  const interval = intervals[path];
  return interval ? ` (${show(interval[0])} … ${show(interval[1])})` : '';
}

const SCORES: Readonly<Record<ScoreName, { readonly title: string; readonly axis: string }>> = {
  maxSoftmax: { title: 'Max softmax', axis: 'largest softmax probability' },
  maxLogit: { title: 'Max logit', axis: 'largest logit' },
  energy: { title: 'Energy', axis: 'T log Σ exp(z/T)' },
  featureNorm: { title: 'Feature norm', axis: '‖h‖' },
  knn: { title: 'KNN', axis: '−distance to the k-th nearest training feature, of unit length' },
  mahalanobis: { title: 'Mahalanobis', axis: '−½ squared distance to the nearest class' },
  relativeMahalanobis: { title: 'Relative Mahalanobis', axis: 'squared distance to all classes less that to the nearest' },
  residual: { title: 'Residual', axis: '−‖R(h − u)‖' },
  vim: { title: 'ViM', axis: 'log Σ exp(z) − α‖R(h − u)‖' },
  neco: { title: 'NECO', axis: '‖P s‖/‖s‖' },
  nci: { title: 'NCI', axis: '⟨h − μ, w⟩/‖h − μ‖ + α‖h‖₁' },
  score: { title: 'Score', axis: 'score' },
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
  logitAdjustment: 'argmax z − τ log π',
  tauNormalization: 'argmax ⟨w, h⟩/‖w‖^τ',
  nearestClassMean: 'argmin ‖h − μ‖',
};

const CONVENTION_NAMES = Object.keys(CONVENTIONS) as (keyof typeof CONVENTIONS)[];

/** What an evaluation says of scores. */
type Detected = Pick<Evaluation, 'outOfDistribution' | 'outOfDistributionSets' | 'outOfDistributionMeans' | 'intervals'>;

/** A score of a set, whose name is empty where there is one set by itself. */
interface Scored {
  readonly set: string;
  readonly score: ScoreName;
  /** Among the intervals. */
  readonly path: string;
  readonly evaluated: ScoreEvaluation;
}

function scoresOf({ outOfDistribution, outOfDistributionSets = {} }: Detected): Scored[] {
  const of = (scores: ScoreEvaluations = {}, path: string, set: string) =>
    (Object.entries(scores) as [ScoreName, ScoreEvaluation][]).map(([score, evaluated]) => ({
      ...{ set, score, path: `${path}.${score}`, evaluated },
    }));
  return [
    ...of(outOfDistribution, 'outOfDistribution', ''),
    ...Object.entries(outOfDistributionSets).flatMap(([name, { scores }]) =>
      of(scores, `outOfDistributionSets.${name}.scores`, name),
    ),
  ];
}

/** `Energy, svhn`, or the score alone. */
const titleOf = ({ set, score }: Scored): string => (set ? `${SCORES[score].title}, ${set}` : SCORES[score].title);

const labelled = (of: string, text: string): string => (of ? `${of}: ${text}` : text);

/** The name of a score's file. */
const fileOf = ({ set, score }: Scored): string => (set ? `scores-${set}-${score}` : `scores-${score}`);

const MEASURES = ['fpr95', 'auroc', 'aupr'] as const;

/** Score, positive class, FPR95, AUROC and AUPR, each with its interval; of several sets first the set, and means at the end. */
export function detectionTable(result: Detected): { readonly columns: string[]; readonly rows: string[][] } {
  const { outOfDistributionSets, outOfDistributionMeans = {} } = result;
  const row = (set: string, score: ScoreName, convention: keyof typeof CONVENTIONS, values: string[]) => [
    ...(outOfDistributionSets ? [set] : []),
    ...[SCORES[score].title, CONVENTIONS[convention].positive, ...values],
  ];
  const rows = scoresOf(result).flatMap(({ set, score, path, evaluated }) =>
    CONVENTION_NAMES.map((convention) =>
      row(
        distanceOf(result, set),
        score,
        convention,
        MEASURES.map((measure) => {
          const interval = withInterval(result, `${path}.${convention}.${measure}`, percent);
          return `${percent(evaluated[convention][measure])}${interval}`;
        }),
      ),
    ),
  );
  // Of one set a mean says nothing more.
  const members = Object.values(outOfDistributionSets ?? {});
  const several = (Object.entries(outOfDistributionMeans) as [string, ScoreMeans][]).filter(
    ([group]) => members.filter(({ distance }) => group === 'all' || group === distance).length > 1,
  );
  const means = several.flatMap(([group, scores]) =>
    (Object.entries(scores) as [ScoreName, Required<ScoreMeans>[ScoreName]][]).flatMap(([score, conventions]) =>
      CONVENTION_NAMES.map((convention) =>
        row(
          `mean of ${group}`,
          score,
          convention,
          MEASURES.map((measure) => percent(conventions[convention][measure])),
        ),
      ),
    ),
  );
  const columns = [...(outOfDistributionSets ? ['set'] : []), 'score', 'positive class', 'FPR95', 'AUROC', 'AUPR'];
  return { columns, rows: [...rows, ...means] };
}

/** A set's name, with how far it is. */
function distanceOf({ outOfDistributionSets = {} }: Detected, set: string): string {
  const distance = outOfDistributionSets[set]?.distance;
  return distance ? `${set} (${distance})` : set;
}

const ends = (edges: Float64Array) => ({ left: edges.subarray(0, -1), right: edges.subarray(1) });

/** What there is about scores as columns, each table by the name of its file. */
export function scoresColumns(result: Detected): Record<string, Record<string, Column>> {
  const metrics: Record<string, Column> = {};
  const tables: Record<string, Record<string, Column>> = { metrics };
  for (const scored of scoresOf(result)) {
    const { path, evaluated } = scored;
    for (const convention of CONVENTION_NAMES) {
      const { positive, ...measures } = evaluated[convention];
      for (const [name, value] of Object.entries(measures)) metrics[`${path}.${convention}.${name}`] = [value];
    }
    const { edges, inDistribution, outOfDistribution } = evaluated.histogram;
    tables[fileOf(scored)] = { ...ends(edges), inDistribution, outOfDistribution };
  }
  if (Object.keys(result.intervals).length > 0) tables.intervals = result.intervals;
  return tables;
}

/** An evaluation's numbers as columns, each table by the name of its file. */
export function evaluationColumns(
  result: Evaluation,
  { classNames, trainingCounts }: Pick<EvaluationAbout, 'classNames' | 'trainingCounts'> = {},
): Record<string, Record<string, Column | readonly string[]>> & { readonly metrics: Record<string, Column> } {
  const { calibration, fitted, perClass, counts } = result;
  const metrics: Record<string, Column> = Object.fromEntries(
    [...accuracyEntries(result), ...calibrationEntries(result)].map(({ path, value }) => [path, [value]]),
  );
  metrics['temperature.temperature'] = [result.temperature.temperature];
  const scores = scoresColumns(result);
  const tables: Record<string, Record<string, Column | readonly string[]>> = {
    ...scores,
    classes: {
      class: Array.from(perClass.keys()),
      ...(classNames && { name: classNames }),
      ...(trainingCounts && { training: trainingCounts }),
      ...{ samples: counts, accuracy: perClass },
    },
  };
  for (const [name, values] of Object.entries({ reliability: calibration, ...(fitted && { 'reliability-fitted': fitted }) })) {
    const { edges, counts: samples, confidence, accuracy } = values.reliability;
    tables[name] = { ...ends(edges), samples, confidence, accuracy };
  }
  return { ...tables, metrics: { ...metrics, ...scores.metrics } };
}

/** The same numbers for people, each row's first entry naming it. */
export function evaluationRows(result: Evaluation) {
  const described = ({ name, path, value, show, meaning }: Entry) => [
    name,
    `${show(value)}${withInterval(result, path, show)}`,
    meaning,
  ];
  return {
    accuracy: accuracyEntries(result).map(described),
    calibration: calibrationEntries(result).map(described),
    decisions: Object.entries(result.decisions ?? {}).map(([rule, { accuracy, balancedAccuracy, groups, changed }]) => ({
      rule: RULES[rule as DecisionRule],
      accuracy: percent(accuracy),
      balancedAccuracy: percent(balancedAccuracy),
      /** Accuracy of many, medium and few. */
      groups: groups ? GROUPS.map((name) => percent(groups[name].accuracy)) : [],
      changed,
    })),
    detection: detectionTable(result),
  };
}

export interface EvaluationAbout {
  /** What was evaluated. */
  readonly name: string;
  /** Of the intervals. @default 0.95 */
  readonly confidence?: number | undefined;
  /** Names of the classes, and their training samples, by which figures sort them: most first. */
  readonly classNames?: readonly string[] | undefined;
  readonly trainingCounts?: ArrayLike<number> | undefined;
  /** Shown as the parameters of the run. */
  readonly parameters?: Readonly<Record<string, unknown>> | undefined;
}

export function evaluationPage(result: Evaluation, about: EvaluationAbout): Report {
  const { name, confidence = 0.95, parameters = {} } = about;
  checkResult(result, ['samples', 'classes', 'accuracy', 'perClass', 'calibration', 'intervals', 'warnings'], 'evaluate');
  const { samples, classes, accuracy, intervals } = result;
  for (const key of ['classNames', 'trainingCounts'] as const) {
    const given = about[key];
    if (given === undefined || given.length === classes) continue;
    throw new LayerpeelError('LP_OPTION', `about.${key} has ${given.length} entries; expected ${classes}, one a class.`);
  }
  const bracketed = Object.keys(intervals).length > 0 ? ` In brackets are ${percent(confidence)} bootstrap intervals.` : '';
  return {
    title: `Evaluation of ${name}`,
    lead: `Of ${formatNumber(samples, 12)} samples of ${classes} classes ${percent(accuracy)} are decided right.${bracketed}`,
    sections: sectionsOf(result, about),
    parameters: { ...parameters, samples, classes },
  };
}

function sectionsOf(result: Evaluation, about: EvaluationAbout): Section[] {
  const { warnings, temperature, fittedTo, groups } = result;
  const { accuracy, calibration, decisions } = evaluationRows(result);
  const table = (rows: string[][]) => ({ columns: ['Measure', 'Value', 'Meaning'], rows });
  const sections: Section[] = [];
  if (warnings.length > 0) sections.push({ title: 'Before trusting a number', text: warnings });
  sections.push({ title: 'Accuracy', tables: [table(accuracy)], figures: [classFigure(result, about)] });
  sections.push({
    title: 'Calibration',
    text: [
      'The confidence of a decision is the largest entry of softmax(z/T). Bins are of equal width and closed on the right; ECE is the mean ' +
        'distance of their points from the diagonal, weighed by samples. Drawing samples anew adds noise to every bin, so that ' +
        'intervals of ECE and MCE lie high.',
      `The temperature of the smallest NLL is ${precise(temperature.temperature)}, fitted to ${fittedTo === 'validation' ? 'a validation set' : 'these same samples'}.`,
    ],
    tables: [table(calibration)],
    figures: calibrationFigures(result),
  });
  if (decisions.length > 0) {
    sections.push({
      title: 'Decision rules',
      text: [
        'Descent stopped early leaves a common residual in features and prototypes, which centring removes (UL Appendix D.2). Centred ' +
          'prototypes alone turn no decision, as ⟨w̄, h⟩ is the same for every class. Logit adjustment, τ-normalization and nearest class ' +
          'means make up for classes of unequal size.',
      ],
      tables: [
        {
          columns: [
            'Rule',
            'Accuracy',
            'Balanced accuracy',
            ...(groups ? GROUPS.map((name) => `Of ${name}`) : []),
            'Decided otherwise',
          ],
          rows: decisions.map((each) => [each.rule, each.accuracy, each.balancedAccuracy, ...each.groups, each.changed]),
        },
      ],
    });
  }
  if (scoresOf(result).length > 0) sections.push(detectionSection(result));
  return sections;
}

const detectionSection = (result: Detected): Section => ({
  title: 'Out-of-distribution detection',
  text: [
    `The positive class decides what FPR95 and AUPR mean. In distribution positive: FPR95 is the ${CONVENTIONS.inDistributionPositive.fpr}. ` +
      `Out of distribution positive: the ${CONVENTIONS.outOfDistributionPositive.fpr}. AUROC is the same by either; AUPR is average precision.`,
  ],
  tables: [reportTable(result)],
  figures: scoreFigures(result),
});

const ARROWS: Readonly<Record<string, string>> = { FPR95: ' ↓', AUROC: ' ↑', AUPR: ' ↑' };

function reportTable(result: Detected) {
  const { columns, rows } = detectionTable(result);
  const titled = (name: string) => `${name.charAt(0).toUpperCase()}${name.slice(1)}${ARROWS[name] ?? ''}`;
  return { columns: columns.map(titled), rows };
}

/** The report of a score that was computed elsewhere. */
export function scoresPage(result: ScoresResult, { name, confidence = 0.95, parameters = {} }: EvaluationAbout): Report {
  const bracketed = Object.keys(result.intervals).length > 0 ? ` In brackets are ${percent(confidence)} bootstrap intervals.` : '';
  return {
    title: `Detection by ${name}`,
    lead: `How well a score, large in distribution, tells samples in distribution from others.${bracketed}`,
    sections: [detectionSection(result)],
    parameters,
  };
}

function classFigure({ perClass, balancedAccuracy, groups, classes }: Evaluation, about: EvaluationAbout): Figure {
  const { classNames, trainingCounts: sizes } = about;
  const { axis, order, marks } = classAxis(classes, classNames, sizes);
  const series = (name: string, members: readonly number[]): Series => ({
    name,
    ...marks(members),
    y: members.map((label) => 100 * (perClass[label] as number)),
  });
  return {
    name: 'classes',
    spec: lineChart({
      title: 'Accuracy by class',
      x: axis,
      y: { title: 'accuracy, %', domain: [0, 100] },
      rules: [{ y: 100 * balancedAccuracy }],
      series: groups
        ? GROUPS.filter((name) => groups[name].classes.length > 0).map((name) => series(name, groups[name].classes))
        : [series('classes', order)],
    }),
    caption: [
      `Share of each class decided right${groups ? ', by how many training samples the class had' : ''}; the line is the mean of classes.`,
      ...(sizes ? [IN_ORDER] : []),
    ].join(' '),
  };
}

/** Reliability diagrams at both temperatures, and how confident decisions are. @param of what stands before their titles and names */
export function calibrationFigures({ calibration, fitted }: Evaluation, of = ''): Figure[] {
  const figures: Figure[] = [];
  for (const [name, { temperature, ece, reliability }] of Object.entries({
    reliability: calibration,
    ...(fitted && { 'reliability-fitted': fitted }),
  })) {
    const { edges, accuracy, confidence } = reliability;
    const { left, right } = ends(edges);
    const at = `T = ${precise(temperature)}`;
    figures.push({
      name: labelled(of, name),
      spec: lineChart({
        title: labelled(of, `Reliability at ${at}`),
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
      caption: `Accuracy by confidence at ${at}: ECE ${percent(ece)}. Points below the diagonal are more confident than right.`,
    });
  }
  const { edges, counts, accuracy } = calibration.reliability;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const share = (of: (accuracy: number) => number) =>
    Array.from(counts, (count, bin) => (count === 0 ? 0 : (100 * count * of(accuracy[bin] as number)) / total));
  const { left, right } = ends(edges);
  figures.push({
    name: labelled(of, 'confidences'),
    spec: lineChart({
      title: labelled(of, `Confidence at T = ${precise(calibration.temperature)}`),
      x: { title: 'confidence', domain: [0, 1] },
      y: { title: 'samples, % of all' },
      width: 320,
      height: 320,
      series: [
        { name: 'decided right', mark: 'bars', x: left, right, y: share((each) => each) },
        { name: 'decided wrong', mark: 'bars', x: left, right, y: share((each) => 1 - each) },
      ],
    }),
    caption: 'How confident right and wrong decisions are.',
  });
  return figures;
}

/** Scores of both sides in common bins. @param of what stands before their titles and names */
export function scoreFigures(result: Detected, of = ''): Figure[] {
  const figures: Figure[] = [];
  for (const scored of scoresOf(result)) {
    const { histogram, inDistributionPositive, outOfDistributionPositive } = scored.evaluated;
    const [title, { axis }] = [labelled(of, titleOf(scored)), SCORES[scored.score]];
    const { left, right } = ends(histogram.edges);
    const share = (counts: Int32Array) => {
      const total = counts.reduce((sum, count) => sum + count, 0);
      return Array.from(counts, (count) => (100 * count) / total);
    };
    figures.push({
      name: labelled(of, fileOf(scored)),
      spec: lineChart({
        title,
        x: { title: axis },
        y: { title: 'samples, % of their set' },
        rules: Number.isFinite(inDistributionPositive.threshold)
          ? [{ x: inDistributionPositive.threshold, label: '95% kept' }]
          : [],
        series: [
          { name: 'in distribution', mark: 'bars', x: left, right, y: share(histogram.inDistribution) },
          { name: 'out of distribution', mark: 'bars', x: left, right, y: share(histogram.outOfDistribution) },
        ],
      }),
      caption:
        `${title} of both sets. Beyond the line lie 95% of the samples in distribution, and ${percent(inDistributionPositive.fpr95)} of those ` +
        `out of it. To catch 95% of the latter, all up to ${precise(outOfDistributionPositive.threshold)} are rejected: ` +
        `${percent(outOfDistributionPositive.fpr95)} of those in distribution.`,
    });
  }
  return figures;
}
