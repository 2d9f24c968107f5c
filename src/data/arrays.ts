/**
 * Images kept as arrays: `[n, height, width]` or `[n, height, width, channels]` of unsigned bytes, with labels `[n]` or `[n, 1]` beside
 * them, in one `.npz` (MedMNIST: `train_images`, `train_labels`; Keras: `x_train`, `y_train`) or in `.npy` files (CIFAR-10-C:
 * `gaussian_noise.npy`, `labels.npy`).
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { showShape } from '../array/ndarray.js';
import { arrayNames } from '../array/npz.js';
import { readLabels, withArray } from '../array/open.js';
import { fileFault, type Located } from '../array/stored.js';
import { type ImageSet, sharedBytes } from './images.js';
import { numberLabels } from './labels.js';
import { type CheckedSource, type LoadControl, Progress, records, transpose } from './reading.js';

/** Channels of an image: grey, grey and alpha, colours, colours and alpha. */
const MOST_CHANNELS = 4;

export async function loadArrays(source: CheckedSource, control: LoadControl): Promise<ImageSet> {
  const { split } = source;
  const images = await addressOf(source, source.images, [`${split}_images`, `x_${split}`]);
  const labels = await addressOf(source, source.labels, [`${split}_labels`, `y_${split}`]);
  const pixels = await withArray(images.path, images.options, (located) => readPixels(located, source, control));
  const values = await readLabels(labels.path, labels.options);
  const where = labels.options.name === undefined ? labels.path : `${labels.path}:${labels.options.name}`;
  const [count] = pixels.shape;
  if (values.length !== count) throw fileFault(where, `it has ${values.length} labels for the ${count} images.`);
  const numbered = numberLabels(values, where, source);
  const from = `${source.kind === 'npz' ? `${images.options.name} of ` : ''}${images.path}`;
  return { ...pixels, labels: numbered.labels, classes: numbered.classes, source: `${from}${numbered.remark}` };
}

interface Address {
  readonly path: string;
  readonly options: { readonly name?: string };
}

/** Where an array is: under the name given, or the first of the usual ones that is there. */
async function addressOf({ kind, path }: CheckedSource, given: string | undefined, usual: readonly string[]): Promise<Address> {
  if (kind === 'npz') {
    const there = given === undefined ? await arrayNames(path) : [];
    const name = given ?? usual.find((one) => there.includes(one)) ?? (usual[0] as string);
    return { path, options: { name } };
  }
  if (given !== undefined) return { path: join(path, given), options: {} };
  for (const name of usual) {
    const file = join(path, `${name}.npy`);
    if (
      await stat(file).then(
        (found) => found.isFile(),
        () => false,
      )
    )
      return { path: file, options: {} };
  }
  return { path: join(path, `${usual[0]}.npy`), options: {} };
}

/** The very bytes of the file, in shared memory. */
async function readPixels(
  located: Located,
  source: CheckedSource,
  control: LoadControl,
): Promise<Pick<ImageSet, 'images' | 'shape'>> {
  const { stored } = located;
  const { element, shape, where } = stored;
  const [count = 0, height = 0, width = 0, channels = 1] = shape;
  const rank = shape.length === 3 || shape.length === 4;
  if (!rank || count < 1 || height < 1 || width < 1 || channels < 1 || channels > MOST_CHANNELS) {
    const first =
      shape.length === 4 && (shape[1] as number) <= MOST_CHANNELS ? '; images.transpose(0, 2, 3, 1) puts channels last' : '';
    throw fileFault(
      where,
      `its shape is ${showShape(shape)}; expected [n, height, width] or [n, height, width, channels]${first}.`,
    );
  }
  if (element !== 'uint8')
    throw fileFault(where, `it holds ${element}; expected images of uint8, 0 … 255 (images.astype('uint8') converts).`);
  const size = height * width * channels;
  const images = sharedBytes(count * size, `The images of ${where}`);
  const pass = await located.begin();
  try {
    const progress = new Progress(control, count);
    for await (const piece of records(pass.fill, count, size)) {
      images.set(piece.bytes, piece.first * size);
      progress.advance(piece.count);
    }
  } finally {
    pass.close();
  }
  const all = { images, shape: [count, height, width, channels] as const };
  return source.transpose ? transpose(all) : all;
}
