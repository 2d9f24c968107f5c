// Long loops of JavaScript are made in pieces: between them the event loop turns, and the signal is looked at.
import { calibration, evaluate, gradientDescent, gradientFlow, kernelFlow, randomState, unhingedBounds } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { atOnce } from '../../lib/array/rows.js';
import { transposed } from '../../lib/array/stored.js';
import { refuses } from '../helpers.js';

/** A signal that counts how often it is looked at, and fires at the look of that number. */
function counting(fires = Number.POSITIVE_INFINITY) {
  const { signal } = new AbortController();
  const looks = { count: 0 };
  Object.defineProperty(signal, 'aborted', { get: () => ++looks.count >= fires });
  return { signal, looks };
}

const samples = 300_000;
const labels = Int32Array.from({ length: samples }, (_, i) => i % 2);
const logits = { shape: [samples, 2], data: Float32Array.from({ length: 2 * samples }, (_, k) => 3 * Math.sin(k)) };
const wide = randomState({ classes: 50, perClass: 40, dim: 3 });

const few = randomState({ classes: 3, perClass: 2, dim: 2 });
const rates = { features: 0.1, prototypes: 0.2 };
/** A function whose fit up to time 1 takes hundreds of pieces. */
const restless = (time) => Math.sin(1000 * time) ** 2;
const identity = { shape: [6, 6], data: Float64Array.from({ length: 36 }, (_, k) => (k % 7 === 0 ? 1 : 0)) };
const asked = async (trajectory, time, control) => (await trajectory).directionAt(time, control);

/** Calls, and the pieces of 2¹⁷ elements that each has at least. */
const calls = [
  ['unhingedBounds', (control) => unhingedBounds(wide, { gamma: 0.1, ...control }), 12],
  ['calibration', (control) => calibration(logits, labels, control), 3],
  ['evaluate', (control) => evaluate({ logits, labels }, { resamples: 4, ...control }), 4 * 6],
  [
    'a descent under a function of the step',
    (control) => asked(gradientDescent(few, { gamma: 0.1, learningRates: rates, schedule: (k) => 1 / (1 + k) }), 300_000, control),
    9,
  ],
  [
    'a descent under two functions',
    (control) =>
      asked(
        gradientDescent(few, { gamma: 0.1, learningRates: { features: (k) => 1 / (1 + k), prototypes: (k) => 1 / (2 + k) } }),
        100_000,
        control,
      ),
    6,
  ],
  [
    'a flow at a restless rate',
    (control) => asked(gradientFlow(few, { gamma: 0.1, rates: { features: restless, prototypes: restless } }), 1, control),
    4,
  ],
  [
    'a flow at two rates',
    (control) => asked(gradientFlow(few, { gamma: 0.1, rates: { features: restless, prototypes: 1 } }), 1, control),
    4,
  ],
  [
    'a kernel flow',
    (control) => asked(kernelFlow(few, { loss: 'unhinged', gamma: 0.1, rate: restless, kernel: identity }), 1, control),
    4,
  ],
];

for (const [name, call, pieces] of calls) {
  test(`${name} looks at its signal between pieces, and stops there`, async () => {
    const { signal, looks } = counting();
    await call({ signal });
    assert.ok(looks.count >= pieces, `${looks.count} looks`);
    const stopped = counting(looks.count - 1);
    await refuses('LP_ABORTED', /stopped by its AbortSignal/, () => call({ signal: stopped.signal }));
  });
}

test('what stops or asks beside it leaves a fit of a rate as it was', async () => {
  const make = () => gradientFlow(few, { gamma: 0.1, rates: { features: restless, prototypes: restless } });
  const expected = await asked(make(), 1);
  const trajectory = await make();
  const { signal } = counting(3);
  const both = [trajectory.directionAt(1), trajectory.directionAt(0.7), trajectory.directionAt(1, { signal }).catch(() => {})];
  const [first] = await Promise.all(both);
  const distance = (x, y) => Math.max(...x.map((value, i) => Math.abs(value - y[i])));
  assert.ok(distance(first.features.data, expected.features.data) < 1e-12);
  assert.ok(distance((await trajectory.directionAt(1)).features.data, expected.features.data) < 1e-12);
});

test('a matrix is transposed in pieces, whatever its shape', () => {
  for (const [rows, columns] of [
    [1, 1],
    [33, 65],
    [5000, 3],
    [2, 200_001],
    [700, 900],
  ]) {
    const data = Float64Array.from({ length: rows * columns }, (_, k) => k);
    const turns = transposed(data, rows, columns);
    let [count, next] = [0, turns.next()];
    for (; !next.done; next = turns.next()) count++;
    assert.ok(count >= Math.floor((rows * columns) / 2 ** 17 / 2) - 1, `${count} turns of ${rows} × ${columns}`);
    const expected = data.map((_, k) => (k % rows) * columns + Math.floor(k / rows));
    assert.equal(next.value, expected);
    assert.equal(atOnce(transposed(next.value, columns, rows)), data);
  }
});

test.run();
