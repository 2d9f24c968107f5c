/**
 * `layerpeel measure`: neural collapse of features in a file.
 */
import { basename } from 'node:path';
import { withDtype } from '../array/ndarray.js';
import { openArray, readFloats, readLabels } from '../array/open.js';
import { type Collapse, collapse } from '../collapse/collapse.js';
import { type CollapseMeasure, collapseMeasures, type MeasureInfo } from '../collapse/measures.js';
import { heatmap, lineChart } from '../report/figure.js';
import { type PageFigure, type Section, withScripts } from '../report/page.js';
import type { RunFolder } from '../report/run-folder.js';
import { formatNumber } from '../report/ticks.js';
import { aligned, type Command, type Context, type Outcome, UsageError } from './command.js';

export const command: Command = {
  name: 'measure',
  summary: 'Measure neural collapse of features in a .npy, .npz or .safetensors file',
  positionals: ['FEATURES.npy'],
  description:
    'Measures features [n, p] with their labels [n], and prototypes [C, p] and biases [C] where they are given: every variant in\n' +
    'use by its name. The features are streamed, so they may be larger than memory. Writes a run folder with the table, the spectrum\n' +
    'of Σ_W Σ_B⁺, the pairwise cosines and the norms. An array in a .npz or .safetensors file is named after a colon: data.npz:train.',
  options: {
    labels: { value: 'FILE', help: 'Labels, integers 0 … C−1 (needed)' },
    prototypes: { value: 'FILE', help: 'Prototypes: the weights of the last layer' },
    biases: { value: 'FILE', help: 'Biases of the last layer' },
    name: { value: 'NAME', help: 'Name of the features in a file of several arrays' },
    'global-mean': { value: 'OF', help: 'Global mean of: classes (the mean of class means, the default) or samples' },
  },
  examples: [
    'layerpeel measure features.npy --labels labels.npy',
    'layerpeel measure run.npz:h --labels run.npz:y --prototypes run.npz:w --biases run.npz:b --json',
  ],
  async run(context: Context): Promise<Outcome> {
    const { args, options, signal, progress } = context;
    const [path = ''] = args;
    const {
      labels,
      prototypes,
      biases,
      name,
      'global-mean': globalMean = 'classes',
    } = options as Record<string, string | undefined>;
    if (labels === undefined) throw new UsageError('--labels is missing: a file with the class of each feature.');
    if (globalMean !== 'classes' && globalMean !== 'samples') {
      throw new UsageError(`--global-mean is ${globalMean}; expected classes or samples.`);
    }
    await using features = await openArray(path, name === undefined ? {} : { name });
    const like = async (file: string | undefined) =>
      file === undefined ? undefined : withDtype(await readFloats(file), features.dtype);
    const input = { features, labels: await readLabels(labels), prototypes: await like(prototypes), biases: await like(biases) };
    const measured = await collapse(input, {
      globalMean,
      classMeans: true,
      signal,
      onProgress: (share) => progress(share, 'measuring'),
    });

    const config = { features: path, name, labels, prototypes, biases, globalMean };
    const folder = await context.folder(basename(path).replace(/\.[^.]*$/, ''), config);
    const values = valuesOf(measured);
    await folder.metrics(Object.fromEntries(values.map(([measure, value]) => [measure, [value]])));
    await saveArrays(measured, folder);
    const { samples, classes, dim, counts } = measured;
    const report = await folder.report({
      title: `Neural collapse of ${basename(path)}`,
      lead:
        `${formatNumber(samples, 12)} features of ${counted(dim, 'dimension')} in ${classes} classes of ` +
        `${range(counts)}${prototypes ? ', with the prototypes of their classifier' : ''}.`,
      sections: [await figureSection(measured, folder), tableSection(values)],
      parameters: { ...config, samples, classes, dim, counts: Array.from(counts) },
    });
    const rows = values.map(([measure, value]) => [
      measure,
      formatNumber(value, 6),
      String(atCollapse(measure)),
      collapseMeasures[measure].meaning,
    ]);
    return {
      text: [aligned([['measure', 'value', 'at collapse', 'meaning'], ...rows]), '', `Report: ${report}`].join('\n'),
      json: {
        samples,
        classes,
        dim,
        counts,
        measures: Object.fromEntries(values),
        spectrum: measured.spectrum,
        folder: folder.path,
        report,
      },
    };
  },
};

const counted = (count: number, noun: string): string => `${formatNumber(count, 12)} ${noun}${count === 1 ? '' : 's'}`;

const range = (counts: Int32Array): string => {
  const [least, most] = [counts.reduce((a, b) => Math.min(a, b)), counts.reduce((a, b) => Math.max(a, b))];
  return `${least === most ? '' : `${formatNumber(least, 12)} to `}${counted(most, 'sample')}`;
};

const valuesOf = (measured: Collapse): [CollapseMeasure, number][] =>
  (Object.keys(collapseMeasures) as CollapseMeasure[]).flatMap((name) => {
    const value = measured[name];
    return value === undefined ? [] : [[name, value] as [CollapseMeasure, number]];
  });

const atCollapse = (name: CollapseMeasure): number | '' => (collapseMeasures[name] as MeasureInfo).atCollapse ?? '';

function tableSection(values: readonly (readonly [CollapseMeasure, number])[]): Section {
  const rows = values.map(([name, value]) => {
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

async function figureSection(measured: Collapse, folder: RunFolder): Promise<Section> {
  const { classes, featureCosines, prototypeCosines, spectrum = new Float64Array(0) } = measured;
  const figures: PageFigure[] = [];
  const draw = async (...figure: Parameters<RunFolder['figure']>) => void figures.push(await folder.figure(...figure));
  const simplex = formatNumber(-1 / (classes - 1), 3);
  const cosines = (title: string, matrix: Float64Array) =>
    heatmap({ title, matrix, size: classes, axis: 'class', legend: 'cosine' });

  await draw(
    'spectrum',
    lineChart({
      title: 'Spectrum of Σ_{W} Σ_{B}⁺',
      x: { title: 'index of the eigenvalue', domain: [0.5, spectrum.length + 0.5], whole: true },
      y: { title: 'eigenvalue', scale: 'log' },
      series: [{ x: spectrum.map((_, i) => i + 1), y: spectrum, mark: 'stems' }],
    }),
    `The ${counted(spectrum.length, 'eigenvalue')} that can differ from 0: within-class variance against that between classes, by direction.`,
  );
  const norms = [
    { name: 'centred class means', values: measured.classNorms },
    ...(measured.centeredPrototypeNorms ? [{ name: 'centred prototypes', values: measured.centeredPrototypeNorms }] : []),
  ];
  await draw(
    'norms',
    lineChart({
      title: 'Norms by class',
      x: { title: 'class', domain: [-0.5, classes - 0.5], whole: true },
      y: { title: 'norm over the mean norm' },
      rules: [{ y: 1 }],
      series: norms.map(({ name, values }) => {
        const mean = values.reduce((sum, value) => sum + value, 0) / classes;
        return { name, mark: 'points', x: values.map((_, i) => i), y: values.map((value) => value / mean) };
      }),
    }),
    `Lengths relative to their mean; equal at collapse. The mean lengths are ${norms.map(({ name, values }) => `${formatNumber(values.reduce((sum, value) => sum + value, 0) / classes, 4)} (${name})`).join(' and ')}.`,
  );
  await draw(
    'class-mean-cosines',
    cosines('Cosines of centred class means', featureCosines.data),
    `Off the diagonal ${simplex} at collapse.`,
  );
  if (prototypeCosines) {
    await draw(
      'prototype-cosines',
      cosines('Cosines of centred prototypes', prototypeCosines.data),
      `Off the diagonal ${simplex} at collapse.`,
    );
  }
  return { title: 'Geometry', figures };
}

async function saveArrays(measured: Collapse, folder: RunFolder): Promise<void> {
  const vector = (data: Float64Array) => ({ shape: [data.length], data });
  if (measured.spectrum) await folder.array('spectrum', vector(measured.spectrum));
  await folder.array('class-norms', vector(measured.classNorms));
  await folder.array('class-mean-cosines', measured.featureCosines);
  if (measured.classMeans) await folder.array('class-means', measured.classMeans);
  if (measured.prototypeNorms) await folder.array('prototype-norms', vector(measured.prototypeNorms));
  if (measured.prototypeCosines) await folder.array('prototype-cosines', measured.prototypeCosines);
}
