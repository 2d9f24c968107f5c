/**
 * Deep nearest neighbours (Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022): of unit features
 * `z = h/‖h‖` the distance to the `k`-th nearest of the training set,
 *
 *     score = −‖z − z_(k)‖
 *
 * A feature of length 0 stays 0. Neighbours are ordered by products; the distance of the `k`-th is taken of differences, so that
 * close ones cost no digits.
 */
import { checkRoom } from '../array/ndarray.js';
import { eachRow, norms, type Turns } from '../array/rows.js';
import type { Steps } from '../engine/run.js';
import { type Block, eachBlock, type Features, productOf, type Trained } from './trained.js';

/** Samples of the training set whose products with a block of features are at hand at once. */
const TRAINING_BLOCK = 4096;

export function* fitNeighbors(trained: Trained, k: number): Steps<(features: Features) => Steps<Float64Array>> {
  const { samples, dim } = trained;
  checkRoom(8 * samples * dim, 'The unit features of the training set', 'leave training out, or take a part of it');
  const known = new Float64Array(new SharedArrayBuffer(8 * samples * dim));
  const halves = new Float64Array(samples); // ‖z‖²/2
  yield* eachBlock(trained, undefined, dim, function* (block) {
    const lengths = yield* normalize(block, dim);
    known.set(block.data, block.first * dim);
    halves.set(
      lengths.map((length) => (length > 0 ? 0.5 : 0)),
      block.first,
    );
  });
  const size = Math.min(samples, TRAINING_BLOCK);
  return function* (features) {
    const scores = new Float64Array(features.samples);
    yield* eachBlock(features, undefined, size, function* (block) {
      yield* normalize(block, dim);
      const nearest = new Nearest(block.rows, k);
      for (let first = 0; first < samples; first += size) {
        const some = known.subarray(first * dim, Math.min(samples, first + size) * dim);
        const products = yield* productOf(block.data, some, dim);
        const columns = some.length / dim;
        yield* eachRow(block.rows, columns, (row, offset) => {
          for (let j = 0; j < columns; j++) {
            nearest.offer(row, first + j, (products[offset + j] as number) - (halves[first + j] as number));
          }
        });
      }
      yield* eachRow(block.rows, dim, (row, offset) => {
        const neighbor = nearest.last(row) * dim;
        let sum = 0;
        for (let j = 0; j < dim; j++) sum += ((block.data[offset + j] as number) - (known[neighbor + j] as number)) ** 2;
        scores[block.first + row] = -Math.sqrt(sum);
      });
    });
    return scores;
  };
}

/** Makes unit features of a block; their lengths. */
function* normalize({ data, rows }: Block, dim: number): Turns<Float64Array> {
  const lengths = yield* norms(data, [rows, dim], 'features');
  yield* eachRow(rows, dim, (row, offset) => {
    const length = (lengths[row] as number) || 1;
    for (let j = 0; j < dim; j++) data[offset + j] = (data[offset + j] as number) / length;
  });
  return lengths;
}

/** Of every row the `k` samples of the largest keys, as a heap with the smallest of them on top. */
class Nearest {
  private readonly keys: Float64Array;
  private readonly samples: Int32Array;

  constructor(
    rows: number,
    private readonly k: number,
  ) {
    this.keys = new Float64Array(rows * k).fill(Number.NEGATIVE_INFINITY);
    this.samples = new Int32Array(rows * k);
  }

  offer(row: number, sample: number, key: number): void {
    const { keys, samples, k } = this;
    const top = row * k;
    if (!(key > (keys[top] as number))) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child + 1 < k && (keys[top + child + 1] as number) < (keys[top + child] as number)) child++;
      if (child >= k || (keys[top + child] as number) >= key) break;
      keys[top + at] = keys[top + child] as number;
      samples[top + at] = samples[top + child] as number;
      at = child;
    }
    keys[top + at] = key;
    samples[top + at] = sample;
  }

  /** The sample of the smallest key. */
  last(row: number): number {
    return this.samples[row * this.k] as number;
  }
}
