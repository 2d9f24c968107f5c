/**
 * `layerpeel measure`: neural collapse of features in a file.
 */
import { basename } from 'node:path';
import { withDtype } from '../array/ndarray.js';
import { openArray, readFloats, readLabels } from '../array/open.js';
import { type Collapse, startCollapse } from '../collapse/collapse.js';
import { collapseMeasures } from '../collapse/measures.js';
import { atCollapse, collapsePage, collapseValues, cosineColumns } from '../report/pages/collapse.js';
import type { RunFolder } from '../report/run-folder.js';
import { formatNumber } from '../report/ticks.js';
import { aligned, type Command, type Context, type Outcome, UsageError } from './command.js';

export const command: Command = {
  name: 'measure',
  summary: 'Measure neural collapse of features in a .npy, .npz, .safetensors or .pth file',
  positionals: ['FEATURES.npy'],
  description:
    'Measures features [n, p] with their labels [n], and prototypes [C, p] and biases [C] where they are given: every variant in\n' +
    'use by its name. The features are streamed, so they may be larger than memory. Writes a run folder with the table, the spectrum\n' +
    'of Σ_W Σ_B⁺, the pairwise cosines and the norms. An array in a .npz, .safetensors or .pth file is named after a colon: data.npz:train.',
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
    const folder = await context.folder(basename(path).replace(/\.[^.]*$/, ''));
    await using features = await openArray(path, name === undefined ? {} : { name });
    const like = async (file: string | undefined) =>
      file === undefined ? undefined : withDtype(await readFloats(file), features.dtype);
    const input = { features, labels: await readLabels(labels), prototypes: await like(prototypes), biases: await like(biases) };
    const measure = startCollapse(input, {
      globalMean,
      classMeans: true,
      signal,
      onProgress: (share) => progress(share, 'measuring'),
    });
    const config = { features: path, name, labels, prototypes, biases, globalMean };
    await folder.begin(config);
    const measured = await measure();
    const values = collapseValues(measured);
    await folder.metrics(Object.fromEntries(values.map(([measure, value]) => [measure, [value]])));
    await saveArrays(measured, folder);
    const report = await folder.report(collapsePage(measured, { name: basename(path), parameters: config }));
    const rows = values.map(([measure, value]) => [
      measure,
      formatNumber(value, 6),
      String(atCollapse(measure)),
      collapseMeasures[measure].meaning,
    ]);
    const { samples, classes, dim, counts, spectrum } = measured;
    const measures = Object.fromEntries(values);
    return {
      text: [aligned([['measure', 'value', 'at collapse', 'meaning'], ...rows]), '', `Report: ${report}`].join('\n'),
      json: { samples, classes, dim, counts, measures, spectrum, folder: folder.path, report },
    };
  },
};

async function saveArrays(measured: Collapse, folder: RunFolder): Promise<void> {
  const vector = (data: Float64Array) => ({ shape: [data.length], data });
  if (measured.spectrum) await folder.array('spectrum', vector(measured.spectrum));
  await folder.array('class-norms', vector(measured.classNorms));
  if (measured.featureCosines) await folder.array('class-mean-cosines', measured.featureCosines);
  else await folder.metrics(cosineColumns(measured), 'cosines');
  if (measured.classMeans) await folder.array('class-means', measured.classMeans);
  if (measured.prototypeNorms) await folder.array('prototype-norms', vector(measured.prototypeNorms));
  if (measured.prototypeCosines) await folder.array('prototype-cosines', measured.prototypeCosines);
}
