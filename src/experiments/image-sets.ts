/**
 * The papers' sets of images: where they are in a folder of data, `<data>/<name>/`, in which forms, and what is said where they are not.
 */
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { LayerpeelError } from '../check/errors.js';
import type { DataFiles } from '../training/config.js';

/** A form in which a set is kept. */
interface Form {
  readonly source: Omit<DataFiles, 'path'>;
  /** Files or folders that are there, by what their names begin with. */
  readonly needs: readonly string[];
}

interface KnownSet {
  readonly title: string;
  readonly classes: number;
  readonly forms: readonly Form[];
}

const folders: Form = { source: { kind: 'folder' }, needs: ['train', 'test'] };
const idx: Form = {
  source: { kind: 'idx' },
  needs: ['train-images', 'train-labels', 't10k-images', 't10k-labels'],
};

const sets = {
  mnist: { title: 'MNIST', classes: 10, forms: [idx, folders] },
  kmnist: { title: 'KMNIST', classes: 10, forms: [idx, folders] },
  'fashion-mnist': { title: 'Fashion-MNIST', classes: 10, forms: [idx, folders] },
  cifar10: {
    title: 'CIFAR-10',
    classes: 10,
    forms: [{ source: { kind: 'cifar10' }, needs: ['data_batch_', 'test_batch.bin'] }, folders],
  },
  cifar100: {
    title: 'CIFAR-100',
    classes: 100,
    forms: [{ source: { kind: 'cifar100' }, needs: ['train.bin', 'test.bin'] }, folders],
  },
  svhn: { title: 'SVHN', classes: 10, forms: [{ source: { kind: 'svhn' }, needs: ['train_32x32', 'test_32x32'] }, folders] },
  stl10: {
    title: 'STL-10',
    classes: 10,
    forms: [{ source: { kind: 'stl10' }, needs: ['train_X', 'train_y', 'test_X', 'test_y'] }, folders],
  },
} as const satisfies Readonly<Record<string, KnownSet>>;

export type SetName = keyof typeof sets;
export const setNames = Object.keys(sets) as SetName[];
export const setTitle = (name: SetName): string => sets[name].title;
export const classesOf = (name: SetName): number => sets[name].classes;

/** Where sets of images are, by their names. */
export type Sources = Readonly<Record<string, DataFiles>>;

/** In words: what is needed of a set, and where. */
export function whereToPut(name: SetName, data: string): string {
  const { title, forms } = sets[name];
  const files = forms.map(({ source, needs }) =>
    source.kind === 'folder'
      ? 'images as train/<class>/ and test/<class>/'
      : needs.map((need) => (need.endsWith('.bin') ? need : `${need}…`)).join(', '),
  );
  return `${title} in ${join(data, name)}: ${files.join('; or ')}`;
}

/** @throws `LP_FILE` with all that is missing, and where it goes */
export async function findSets(names: readonly SetName[], data: string): Promise<Sources> {
  const found = new Map<string, DataFiles>();
  for (const name of names) {
    const path = resolve(data, name);
    const there: readonly string[] = await readdir(path).catch(() => []);
    const form = (sets[name].forms as readonly Form[]).find(({ needs }) =>
      needs.every((need) => there.some((file) => file.startsWith(need))),
    );
    if (form) found.set(name, { ...form.source, path } as DataFiles);
  }
  const missing = names.filter((name) => !found.has(name));
  if (missing.length > 0) {
    throw new LayerpeelError(
      'LP_FILE',
      `Not there: ${missing.map((name) => whereToPut(name, data)).join('. ')}. --data names another folder.`,
    );
  }
  return Object.fromEntries(found);
}
