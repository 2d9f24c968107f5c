/**
 * `layerpeel predict`: what a trained network makes of any images, as arrays.
 */
import { basename } from 'node:path';
import type { NpyWriter } from '../array/npy.js';
import { fitImages } from '../data/fit.js';
import type { ImageSet } from '../data/images.js';
import { type ImageSource, loadImagesAt, sourceAt } from '../data/load.js';
import { drive } from '../engine/run.js';
import { classNamesFile } from '../evaluation/files.js';
import { softmaxRows } from '../evaluation/rows.js';
import { formatNumber } from '../report/ticks.js';
import { type Network, type OutputsPart, outputs, readNetwork } from '../training/outputs.js';
import { aligned, type Command, type Context, type Outcome, UsageError } from './command.js';

export const command: Command = {
  name: 'predict',
  summary: 'Features, logits and classes of any images by a trained network',
  positionals: ['RUN'],
  description:
    'Gives images to the network of a run of layerpeel train (or of its checkpoint.safetensors), in evaluation mode, normalized as its\n' +
    'training images were and stretched to their size, and writes arrays/features.npy [n, p], logits.npy [n, C], predicted.npy,\n' +
    'prototypes.npy and biases.npy, and predictions.csv. Where the classes of the images are those of the network, by their names,\n' +
    'labels.npy and the accuracy too, and layerpeel evaluate takes the folder.\n\n' +
    'PATH is a folder of class folders, or of images alone; a published set (CIFAR, IDX, SVHN, STL-10), of which the test split is\n' +
    'taken unless --split says otherwise; or a .npz of images. Images of a folder go by their classes and names, in the order of their\n' +
    'bytes. Needs libtorch: layerpeel torch install.',
  options: {
    images: { value: 'PATH', help: 'The images (needed)' },
    split: { value: 'NAME', help: 'The split of them: train, test, or a folder in PATH' },
  },
  examples: [
    'layerpeel predict runs/first --images photographs',
    'layerpeel predict runs/first --images cifar-10-batches-bin --split train --out runs/features',
  ],
  async run(context: Context): Promise<Outcome> {
    const path = context.args[0] as string;
    const { images: at, split } = context.options as Readonly<Record<string, string | undefined>>;
    if (at === undefined) throw new UsageError('--images is missing: the images that the network is given.');
    const folder = await context.folder(basename(path));
    const network = await readNetwork(path);
    const { source, images } = await imagesOf(network, at, split, context);
    const labels = labelsOf(images, network);
    await folder.begin({ network: network.file, images: source });
    const count = images.labels.length;
    const writers: NpyWriter[] = [];
    const predicted = new Int32Array(count);
    const confidences = new Float64Array(count);
    let classifier: Pick<OutputsPart, 'prototypes' | 'biases'> | undefined;
    try {
      const { signal } = context;
      const onProgress = (share: number) => context.progress(share, 'predicting');
      for await (const part of outputs(path, images, { signal, onProgress })) {
        const { first, features, logits } = part;
        if (first === 0) {
          classifier = part;
          for (const [name, { shape }] of Object.entries({ features, logits }))
            writers.push(await folder.rows(name, [count, shape[1] as number]));
        }
        const [samples, classes] = logits.shape as [number, number];
        const rows = await drive(softmaxRows({ data: logits.data, samples, classes }, 1, 'logits'), { signal });
        predicted.set(rows.predicted, first);
        confidences.set(rows.confidence, first);
        for (const [i, { data }] of [features, logits].entries()) await (writers[i] as NpyWriter).append(data);
      }
      for (const writer of writers) await writer.end();
    } catch (error) {
      for (const writer of writers) await writer.abort();
      throw error;
    }
    const { prototypes, biases } = classifier as NonNullable<typeof classifier>;
    const integers = (data: Int32Array) => ({ shape: [data.length], data });
    const arrays = { predicted: integers(predicted), prototypes, ...(biases && { biases }), counts: integers(network.counts) };
    for (const [name, array] of Object.entries({ ...arrays, ...(labels && { labels: integers(labels) }) }))
      await folder.array(name, array);
    await folder.json(classNamesFile, network.classes);
    const named = (classes: Int32Array) => Array.from(classes, (c) => network.classes[c] as string);
    await folder.metrics(
      {
        ...{ image: Array.from(predicted, (_, i) => i), predicted: named(predicted), confidence: confidences },
        ...(labels && { label: named(labels) }),
      },
      'predictions',
    );
    const correct = labels?.reduce((sum, label, i) => sum + Number(label === predicted[i]), 0);
    const measures = {
      ...(correct !== undefined && { accuracy: correct / count }),
      confidence: confidences.reduce((sum, confidence) => sum + confidence / count, 0),
    };
    const rows = Object.entries({ images: count, ...measures }).map(([name, value]) => [name, formatNumber(value)]);
    return {
      text: `${aligned(rows)}\n\nArrays: ${folder.path}`,
      measures,
      json: { folder: folder.path, images: count, ...measures },
    };
  },
};

/** The images at a path as the network takes them. */
export async function imagesOf(
  { images: size }: Network,
  path: string,
  split: string | undefined,
  { signal, progress }: Pick<Context, 'signal' | 'progress'>,
): Promise<{ source: ImageSource; images: ImageSet }> {
  const source = { ...sourceAt(path, [size.height, size.width]), ...(split !== undefined && { split }) };
  const control = { signal, onProgress: (share: number) => progress(share, `reading ${path}`) };
  const images = await loadImagesAt({ path: '--images', code: 'LP_OPTION' }, source, control);
  return { source, images: await fitImages(images, size, { signal }) };
}

/** Labels by the network's numbers, where all classes of the images are classes of it. */
function labelsOf({ labels, classes }: ImageSet, { classes: known }: Network): Int32Array | undefined {
  const numbers = classes.map((name) => known.indexOf(name));
  return numbers.includes(-1) ? undefined : labels.map((label) => numbers[label] as number);
}
