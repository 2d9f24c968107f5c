// Small images that a network can learn: each class has a pattern of its own, under noise.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { seededRandom } from 'layerpeel';
import sharp from 'sharp';

export function patterns({ classes = 4, perClass = 24, size = 8, channels = 3, seed = 0, noise = 40, counts } = {}) {
  const shapes = seededRandom(99);
  const pixels = size * size * channels;
  const pattern = Array.from({ length: classes }, () =>
    Array.from({ length: pixels }, () => 55 + 145 * Math.round(shapes.uniform())),
  );
  const random = seededRandom(seed);
  const each = counts ?? new Array(classes).fill(perClass);
  const labels = Int32Array.from(each.flatMap((count, c) => new Array(count).fill(c)));
  for (let i = labels.length - 1; i > 0; i--) {
    const j = Math.floor(random.uniform() * (i + 1));
    [labels[i], labels[j]] = [labels[j], labels[i]];
  }
  const images = new Uint8Array(new SharedArrayBuffer(labels.length * pixels));
  for (const [i, label] of labels.entries()) {
    for (let k = 0; k < pixels; k++) {
      images[i * pixels + k] = Math.max(0, Math.min(255, pattern[label][k] + noise * random.normal()));
    }
  }
  return {
    images,
    labels,
    shape: [labels.length, size, size, channels],
    classes: Array.from({ length: classes }, (_, c) => `class ${c}`),
    source: 'patterns',
  };
}

/** IDX pairs of patterns, or of other sets of one channel, which `layerpeel train` reads from files. */
export async function idxFiles(folder, sets = {}) {
  const header = (type, ...extents) => {
    const bytes = Buffer.alloc(4 + 4 * extents.length);
    bytes.set([0, 0, type, extents.length]);
    extents.forEach((extent, k) => {
      bytes.writeInt32BE(extent, 4 + 4 * k);
    });
    return bytes;
  };
  const { train = patterns({ channels: 1 }), t10k = patterns({ channels: 1, seed: 1 }) } = sets;
  for (const [name, set] of Object.entries({ train, t10k })) {
    const [n] = set.shape;
    await writeFile(join(folder, `${name}-images-idx3-ubyte`), Buffer.concat([header(8, n, 8, 8), set.images]));
    await writeFile(join(folder, `${name}-labels-idx1-ubyte`), Buffer.concat([header(8, n), Uint8Array.from(set.labels)]));
  }
}

/** Writes images as files, by their classes or all in one folder. */
export async function imageFiles(path, set, { flat = false } = {}) {
  const [count, height, width, channels] = set.shape;
  const bytes = height * width * channels;
  for (let i = 0; i < count; i++) {
    const folder = flat ? path : join(path, set.classes[set.labels[i]]);
    await mkdir(folder, { recursive: true });
    const data = Uint8Array.from(set.images.subarray(i * bytes, (i + 1) * bytes));
    await sharp(data, { raw: { height, width, channels } })
      .png()
      .toFile(join(folder, `${String(i).padStart(3, '0')}.png`));
  }
}
