/** The report of a measurement of collapse: its geometry, drawn, and every measure with its formula and source. */
import { least, most } from '../../array/extremes.js';
import type { Collapse, PairCosines } from '../../collapse/collapse.js';
import { type CollapseMeasure, collapseMeasures, type MeasureInfo } from '../../collapse/measures.js';
import { type Column, heatmap, lineChart } from '../figure.js';
import { checkResult, type Figure, type Report, type Section, withScripts } from '../page.js';
import { formatNumber } from '../ticks.js';

export interface CollapseAbout {
  /** Whose features were measured. */
  readonly name: string;
  /** Shown as the parameters of the run. */
  readonly parameters?: Readonly<Record<string, unknown>> | undefined;
}

export function collapsePage(measured: Collapse, { name, parameters = {} }: CollapseAbout): Report {
  checkResult(measured, ['samples', 'classes', 'dim', 'counts', 'featurePairs', 'classNorms'], 'collapse');
  const { samples, classes, dim, counts, prototypeNorms } = measured;
  return {
    title: `Neural collapse of ${name}`,
    lead:
      `${formatNumber(samples, 12)} features of ${counted(dim, 'dimension')} in ${classes} classes of ` +
      `${range(counts)}${prototypeNorms ? ', with the prototypes of their classifier' : ''}.`,
    sections: [{ title: 'Geometry', figures: figuresOf(measured) }, tableSection(measured)],
    parameters: { ...parameters, samples, classes, dim, counts: Array.from(counts) },
  };
}

/** What was measured, by name. */
export const collapseValues = (measured: Collapse): [CollapseMeasure, number][] =>
  (Object.keys(collapseMeasures) as CollapseMeasure[]).flatMap((name) => {
    const value = measured[name];
    return value === undefined ? [] : [[name, value] as [CollapseMeasure, number]];
  });

/** The value of a measure at collapse, where there is one. */
export const atCollapse = (name: CollapseMeasure): number | '' => (collapseMeasures[name] as MeasureInfo).atCollapse ?? '';

/** Pairs of classes by their cosine, as columns. */
export function cosineColumns({ featurePairs, centeredPrototypePairs }: Collapse): Record<string, Column> {
  const { left, right } = binsOf(featurePairs);
  const prototypes = centeredPrototypePairs && { prototypes: centeredPrototypePairs.histogram };
  return { left, right, classMeans: featurePairs.histogram, ...prototypes };
}

function binsOf({ histogram }: PairCosines) {
  const edge = (bin: number) => -1 + (2 * bin) / histogram.length;
  return { left: Array.from(histogram, (_, bin) => edge(bin)), right: Array.from(histogram, (_, bin) => edge(bin + 1)) };
}

const counted = (count: number, noun: string): string => `${formatNumber(count, 12)} ${noun}${count === 1 ? '' : 's'}`;

const range = (counts: Int32Array): string => {
  const [fewest, largest] = [least(counts), most(counts)];
  return `${fewest === largest ? '' : `${formatNumber(fewest, 12)} to `}${counted(largest, 'sample')}`;
};

function tableSection(measured: Collapse): Section {
  const rows = collapseValues(measured).map(([name, value]) => {
    const { meaning, formula, source } = collapseMeasures[name];
    return [name, value, atCollapse(name), withScripts(formula), `${meaning} (${source})`];
  });
  return {
    title: 'Measures',
    text: [
      'μ_{c} is the mean of class c, h̄ the global mean, M_{c} = μ_{c} − h̄; w_{c} the prototypes, v_{c} the centred ones; z = Wh + b; ' +
        'Σ_{W} the covariance within classes, Σ_{B} that of the class means; E the Gram matrix of a simplex frame of unit norm.',
    ],
    tables: [{ columns: ['Measure', 'Value', 'At collapse', 'Formula', 'Meaning and source'], rows }],
  };
}

function figuresOf(measured: Collapse): Figure[] {
  const { featureCosines, featurePairs, prototypeCosines, centeredPrototypePairs } = measured;
  return [
    spectrumFigure(measured.spectrum ?? new Float64Array(0)),
    normsFigure(measured),
    cosineFigure('class-mean-cosines', 'Cosines of centred class means', measured.classes, featurePairs, featureCosines?.data),
    ...(centeredPrototypePairs
      ? [
          cosineFigure(
            'prototype-cosines',
            'Cosines of centred prototypes',
            measured.classes,
            centeredPrototypePairs,
            prototypeCosines?.data,
          ),
        ]
      : []),
  ];
}

const spectrumFigure = (spectrum: Float64Array): Figure => ({
  name: 'spectrum',
  spec: lineChart({
    title: 'Spectrum of Σ_{W} Σ_{B}⁺',
    x: { title: 'index of the eigenvalue', domain: [0.5, spectrum.length + 0.5], whole: true },
    y: { title: 'eigenvalue', scale: 'log' },
    series: [{ x: spectrum.map((_, i) => i + 1), y: spectrum, mark: 'stems' }],
  }),
  caption: `The ${counted(spectrum.length, 'eigenvalue')} that can differ from 0: within-class variance against that between classes, by direction.`,
});

function normsFigure({ classes, classNorms, centeredPrototypeNorms }: Collapse): Figure {
  const norms = [
    { name: 'centred class means', values: classNorms },
    ...(centeredPrototypeNorms ? [{ name: 'centred prototypes', values: centeredPrototypeNorms }] : []),
  ].map(({ name, values }) => ({ name, values, mean: values.reduce((sum, value) => sum + value, 0) / classes }));
  return {
    name: 'norms',
    spec: lineChart({
      title: 'Norms by class',
      x: { title: 'class', domain: [-0.5, classes - 0.5], whole: true },
      y: { title: 'norm over the mean norm' },
      rules: [{ y: 1 }],
      series: norms.map(({ name, values, mean }) => ({
        ...{ name, mark: 'points' as const },
        ...{ x: values.map((_, i) => i), y: values.map((value) => value / mean) },
      })),
    }),
    caption: `Lengths relative to their mean; equal at collapse. The mean lengths are ${norms.map(({ name, mean }) => `${formatNumber(mean, 4)} (${name})`).join(' and ')}.`,
  };
}

/** The matrix of cosines; of too many classes for one, how often each cosine is there. */
function cosineFigure(name: string, title: string, size: number, pairs: PairCosines, matrix?: Float64Array): Figure {
  const simplex = -1 / (size - 1);
  if (matrix) {
    const spec = heatmap({ title, matrix, size, axis: 'class', legend: 'cosine' });
    return { name, spec, caption: `Off the diagonal ${formatNumber(simplex, 3)} at collapse.` };
  }
  const total = (size * (size - 1)) / 2;
  const { left, right } = binsOf(pairs);
  const y = Array.from(pairs.histogram, (count) => count / total);
  return {
    name,
    spec: lineChart({
      title,
      x: { title: 'cosine of two classes', domain: [-1, 1] },
      y: { title: 'share of the pairs' },
      rules: [{ x: simplex, label: 'simplex' }],
      series: [{ mark: 'bars', x: left, right, y }],
    }),
    caption:
      `Of ${formatNumber(total, 12)} pairs, from ${formatNumber(pairs.smallest, 3)} to ${formatNumber(pairs.largest, 3)}; ` +
      `all ${formatNumber(simplex, 3)} at collapse.`,
  };
}
