/**
 * `layerpeel predict`: what a trained network makes of any images, as arrays. The network is that of a run, or one with weights that
 * were trained elsewhere, from a file:
 *
 *     { "model": { "kind": "resnet18", "stem": "imagenet", "weights": "resnet18.pth" },
 *       "normalization": { "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225] }, "size": [224, 224] }
 */
import { basename, dirname } from 'node:path';
import type { NpyWriter } from '../array/npy.js';
import { checkList, checkNumber, entry, inside } from '../check/options.js';
import { CONFIG } from '../configuration/file.js';
import { fitImages } from '../data/fit.js';
import type { ImageSet, ImageSizes } from '../data/images.js';
import { type ImageSource, loadImagesAt, sourceAt } from '../data/load.js';
import { drive } from '../engine/run.js';
import { classNamesFile } from '../evaluation/files.js';
import { softmaxRows } from '../evaluation/rows.js';
import type { RunFolder } from '../report/run-folder.js';
import { formatNumber } from '../report/ticks.js';
import { withPathsFrom } from '../training/config.js';
import { checkPretrained, type Network, type OutputsPart, outputs, type Pretrained, readNetwork } from '../training/outputs.js';
import { aligned, type Command, type Context, type Outcome, SET, UsageError } from './command.js';
import { readConfigFile } from './config-file.js';

export const command: Command = {
  name: 'predict',
  summary: 'Features, logits and classes of any images by a trained network',
  positionals: ['RUN|NETWORK.json'],
  description:
    'Gives images to the network of a run of layerpeel train (or of its checkpoint.safetensors), in evaluation mode, normalized as its\n' +
    'training images were and stretched to their size, and writes arrays/features.npy [n, p], logits.npy [n, C], predicted.npy,\n' +
    'prototypes.npy and biases.npy, and predictions.csv. Where the classes of the images are those of the network, by their names,\n' +
    'labels.npy and the accuracy too, and layerpeel evaluate takes the folder.\n\n' +
    'NETWORK.json describes a network with weights that were trained elsewhere: model with its weights (a file of PyTorch, safetensors or\n' +
    'NumPy), normalization ({ mean, std } of its training images), size ([height, width]) and classes (names); paths in it are relative\n' +
    'to the file. Without model.weights.classifier there are features alone, and the labels of the images.\n\n' +
    'PATH is a folder of class folders, or of images alone; a published set (CIFAR, IDX, SVHN, STL-10), of which the test split is\n' +
    'taken unless --split says otherwise; or a .npz of images. Images of a folder go by their classes and names, in the order of their\n' +
    'bytes. Needs libtorch: layerpeel torch install.',
  options: {
    images: { value: 'PATH', help: 'The images (needed)' },
    split: { value: 'NAME', help: 'The split of them: train, test, or a folder in PATH' },
    set: SET,
  },
  examples: [
    'layerpeel predict runs/first --images photographs',
    'layerpeel predict runs/first --images cifar-10-batches-bin --split train --out runs/features',
    'layerpeel predict resnet18.json --images photographs --set model.weights=resnet18.pth',
  ],
  async run(context: Context): Promise<Outcome> {
    const path = context.args[0] as string;
    const { images: at, split } = context.options as Readonly<Record<string, string | undefined>>;
    if (at === undefined) throw new UsageError('--images is missing: the images that the network is given.');
    const elsewhere = /\.json$/i.test(path);
    if (!elsewhere && context.settings.length > 0) throw new UsageError('--set is for NETWORK.json; a run has its configuration.');
    const folder = await context.folder(basename(path, '.json'));
    const asked = elsewhere ? await describedIn(path, context.settings) : await trainedIn(path);
    const { source, images } = await imagesOf(asked, at, split, context);
    await folder.begin({ network: asked.shown, images: source });
    const count = images.labels.length;
    const writers: NpyWriter[] = [];
    const predicted = new Int32Array(count);
    const confidences = new Float64Array(count);
    let classifier: Partial<OutputsPart> = {};
    try {
      const { signal } = context;
      const onProgress = (share: number) => context.progress(share, 'predicting');
      for await (const part of outputs(asked.network, images, { signal, onProgress })) {
        const { first, features, logits } = part;
        const arrays = Object.entries({ features, ...(logits && { logits }) });
        if (first === 0) {
          classifier = part;
          for (const [name, { shape }] of arrays) writers.push(await folder.rows(name, [count, shape[1] as number]));
        }
        for (const [i, [, { data }]] of arrays.entries()) await (writers[i] as NpyWriter).append(data);
        if (!logits) continue;
        const [samples, classes] = logits.shape as [number, number];
        const rows = await drive(softmaxRows({ data: logits.data, samples, classes }, 1, 'logits'), { signal });
        predicted.set(rows.predicted, first);
        confidences.set(rows.confidence, first);
      }
      for (const writer of writers) await writer.end();
    } catch (error) {
      for (const writer of writers) await writer.abort();
      throw error;
    }
    const { prototypes, biases } = classifier;
    const classes = prototypes
      ? (asked.classes ?? Array.from({ length: prototypes.shape[0] as number }, (_, c) => String(c)))
      : images.classes;
    const labels = labelsOf(images, classes);
    const integers = (data: Int32Array) => ({ shape: [data.length], data });
    const arrays = {
      ...(prototypes && { predicted: integers(predicted), prototypes }),
      ...(biases && { biases }),
      ...(asked.counts && { counts: integers(asked.counts) }),
      ...(labels && { labels: integers(labels) }),
    };
    for (const [name, array] of Object.entries(arrays)) await folder.array(name, array);
    await folder.json(classNamesFile, classes);
    const decided = prototypes && (await decisions(folder, { predicted, confidences, labels, classes }));
    const measures: Record<string, number> = decided ?? {};
    const rows = Object.entries({ images: count, ...measures }).map(([name, value]) => [name, formatNumber(value)]);
    return {
      text: `${aligned(rows)}\n\nArrays: ${folder.path}`,
      measures,
      json: { folder: folder.path, images: count, ...measures },
    };
  },
};

interface Decided {
  readonly predicted: Int32Array;
  readonly confidences: Float64Array;
  readonly labels: Int32Array | undefined;
  readonly classes: readonly string[];
}

/** Writes what the network decides of each image, and gives what that amounts to. */
async function decisions(folder: RunFolder, { predicted, confidences, labels, classes }: Decided): Promise<Record<string, number>> {
  const count = predicted.length;
  const named = (numbers: Int32Array) => Array.from(numbers, (c) => classes[c] as string);
  await folder.metrics(
    {
      ...{ image: Array.from(predicted, (_, i) => i), predicted: named(predicted), confidence: confidences },
      ...(labels && { label: named(labels) }),
    },
    'predictions',
  );
  const correct = labels?.reduce((sum, label, i) => sum + Number(label === predicted[i]), 0);
  return {
    ...(correct !== undefined && { accuracy: correct / count }),
    confidence: confidences.reduce((sum, confidence) => sum + confidence / count, 0),
  };
}

/** A network that is given images. */
interface Asked {
  readonly network: string | Pretrained;
  /** What the run folder says of it. */
  readonly shown: unknown;
  readonly images: Omit<ImageSizes, 'count'>;
  /** Names of its classes, where they are known. */
  readonly classes?: readonly string[] | undefined;
  /** Training samples of each class, where they are known. */
  readonly counts?: Int32Array | undefined;
}

async function trainedIn(path: string): Promise<Asked> {
  const { file, ...more } = await readNetwork(path);
  return { network: path, shown: file, ...more };
}

async function describedIn(path: string, settings: readonly string[]): Promise<Asked> {
  const given = withPathsFrom(dirname(path), await readConfigFile(path, settings));
  const { size, ...described } = Object(given) as { size?: unknown };
  const network = checkPretrained(described);
  const place = inside(CONFIG, 'size');
  const extents = checkList(size, place, '[height, width]');
  const [height, width] = [0, 1].map((k) => checkNumber(extents[k], entry(place, k), { min: 1, max: 4096, integer: true })) as [
    number,
    number,
  ];
  const images = { height, width, channels: network.normalization.mean.length };
  return { network, shown: given, images, classes: network.classes };
}

/** The images at a path as the network takes them. */
export async function imagesOf(
  { images: size }: Pick<Network, 'images'>,
  path: string,
  split: string | undefined,
  { signal, progress }: Pick<Context, 'signal' | 'progress'>,
): Promise<{ source: ImageSource; images: ImageSet }> {
  const source = { ...sourceAt(path, [size.height, size.width]), ...(split !== undefined && { split }) };
  const control = { signal, onProgress: (share: number) => progress(share, `reading ${path}`) };
  const images = await loadImagesAt({ path: '--images', code: 'LP_OPTION' }, source, control);
  return { source, images: await fitImages(images, size, { signal }) };
}

/** Labels by the numbers of classes, where all classes of the images are among them. */
function labelsOf({ labels, classes }: ImageSet, known: readonly string[]): Int32Array | undefined {
  const numbers = classes.map((name) => known.indexOf(name));
  return numbers.includes(-1) ? undefined : labels.map((label) => numbers[label] as number);
}
