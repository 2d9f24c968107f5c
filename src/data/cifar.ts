/**
 * CIFAR-10 and CIFAR-100, binary version: records of a label byte (CIFAR-100: a coarse, then a fine one) and 3072 bytes of pixels,
 * 32×32 red, then green, then blue, each row by row.
 * Source: https://www.cs.toronto.edu/~kriz/cifar.html
 */
import { type ImageSet, sharedBytes } from './images.js';
import {
  type CheckedSource,
  classNames,
  countRecords,
  interleave,
  type LoadControl,
  Progress,
  records,
  takeLabel,
  withFiles,
} from './reading.js';

const SHAPE = [32, 32, 3] as const;
const PIXELS = 32 * 32 * 3;

const LAYOUTS = {
  cifar10: {
    title: 'CIFAR-10',
    classes: 10,
    names: 'batches.meta.txt',
    train: [1, 2, 3, 4, 5].map((batch) => `data_batch_${batch}.bin`),
    test: ['test_batch.bin'],
    labelBytes: 1,
  },
  cifar100: {
    title: 'CIFAR-100',
    classes: 100,
    names: 'fine_label_names.txt',
    train: ['train.bin'],
    test: ['test.bin'],
    labelBytes: 2,
  },
} as const;

export async function loadCifar(source: CheckedSource, control: LoadControl): Promise<ImageSet> {
  const { title, classes, names, labelBytes, ...files } = LAYOUTS[source.kind as keyof typeof LAYOUTS];
  const split = source.split as 'train' | 'test';
  const record = labelBytes + PIXELS;
  return withFiles(source, files[split], control, async (inputs) => {
    const counts = inputs.map((file) => countRecords(file, record, `the binary version of ${title}`));
    const total = counts.reduce((sum, count) => sum + count);
    const images = sharedBytes(total * PIXELS, `The images of ${source.path}`);
    const labels = new Int32Array(total);
    const progress = new Progress(control, total);
    let at = 0;
    for (const [k, file] of inputs.entries()) {
      for await (const { count, bytes, first } of records(file.from(0), counts[k] as number, record)) {
        for (let i = 0; i < count; i++, at++) {
          labels[at] = takeLabel(bytes[i * record + labelBytes - 1] as number, first + i, file.path, classes);
          interleave(bytes, i * record + labelBytes, SHAPE, false, images, at * PIXELS);
        }
        progress.advance(count);
      }
    }
    const shape = [total, ...SHAPE] as const;
    const named = await classNames(source.path, names, classes);
    return { images, shape, labels, classes: named, source: `${title} ${split}, ${source.path}` };
  });
}
