// Typed arrays of another realm (Jest, the vm pools of vitest, `node:vm`) are typed arrays, in every function; and the advice of
// messages about types neither throws nor makes other numbers of the values.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import vm from 'node:vm';
import {
  calibration,
  collapse,
  etfOptimum,
  evaluate,
  formatNpy,
  formatSafetensors,
  gradientDescent,
  lossAndGradient,
  margins,
  matmul,
  parseNpy,
  parseSafetensors,
  projectedDescentSync,
  randomState,
  seededRandom,
  simplexETF,
  spectralProjections,
  writeFileAtomic,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const realm = vm.createContext({});
const foreign = (array) => {
  const made = new (vm.runInContext(Buffer.isBuffer(array) ? 'Uint8Array' : array.constructor.name, realm))(array.length);
  made.set(array);
  assert.not.instance(made, array.constructor);
  return made;
};
/** The same value with all its typed arrays of the other realm. */
function abroad(value) {
  if (ArrayBuffer.isView(value)) return foreign(value);
  if (Array.isArray(value) || typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, abroad(entry)]));
}

/** The same value with lists in place of typed arrays. */
const plain = (value) =>
  JSON.parse(JSON.stringify(value, (_, entry) => (ArrayBuffer.isView(entry) ? Array.from(entry, String) : entry)));

test('what is computed of them is the same', async () => {
  for (const dtype of ['float32', 'float64']) {
    const state = randomState({ classes: 3, perClass: 4, dim: 5, dtype });
    const { features, prototypes, labels } = state;
    const frame = simplexETF(3, 5, { dtype });
    const logits = await matmul(features, prototypes, { transposeB: true });
    const descent = { learningRates: { features: 0.1, prototypes: 0.1 }, steps: 3 };
    const calls = {
      collapse: (s) => collapse(s),
      spectralProjections: (s) => spectralProjections(s),
      margins: (s) => margins(s),
      loss: (s) =>
        lossAndGradient(
          { kind: 'cross-entropy', classWeights: s === state ? Float64Array.of(1, 2, 3) : foreign(Float64Array.of(1, 2, 3)) },
          s,
        ),
      matmul: (s) => matmul(s.features, s.prototypes, { transposeB: true }),
      etfOptimum: (s) => etfOptimum(s === state ? frame : abroad(frame), s.labels),
      descent: async (s) => (await gradientDescent(s, { gamma: 0.1, learningRates: descent.learningRates })).at(3),
      projected: (s) => [...projectedDescentSync({ loss: { kind: 'mse' }, state: s }, descent)].at(-1).state.features,
      npy: (s) => parseNpy(s === state ? formatNpy(s.features) : foreign(formatNpy(s.features))),
      safetensors: (s) =>
        parseSafetensors(
          s === state
            ? formatSafetensors({ h: s.features, y: s.labels })
            : foreign(formatSafetensors({ h: s.features, y: s.labels })),
        ).tensors,
      evaluate: (s) => evaluate(s === state ? { logits, labels } : abroad({ logits, labels }), { resamples: 0 }),
      calibration: (s) => calibration(s === state ? logits : abroad(logits), s.labels),
    };
    for (const [name, call] of Object.entries(calls)) {
      const own = await call(state);
      assert.equal(plain(await call(abroad(state))), plain(own), `${name}, ${dtype}`);
    }
  }
  const numbers = foreign(new Float64Array(4));
  seededRandom(1).fillNormal(numbers);
  assert.equal([...numbers], [...seededRandom(1).fillNormal(new Float64Array(4))]);
  const folder = mkdtempSync(join(tmpdir(), 'layerpeel-'));
  await writeFileAtomic(join(folder, 'a'), foreign(Uint8Array.of(1, 2)));
  await writeFileAtomic(join(folder, 'b'), [foreign(Uint8Array.of(1)), Uint8Array.of(2)]);
  for (const name of ['a', 'b']) assert.equal([...readFileSync(join(folder, name))], [1, 2]);
  rmSync(folder, { recursive: true });
});

test('a signal that only looks like one of this realm stops', async () => {
  const { signal } = new AbortController();
  const look = { aborted: true, reason: 'x', addEventListener: signal.addEventListener.bind(signal) };
  const error = await matmul(
    { shape: [1, 1], data: new Float64Array(1) },
    { shape: [1, 1], data: new Float64Array(1) },
    { signal: look },
  ).catch((e) => e);
  assert.is(error.code, 'LP_ABORTED');
});

test('what a message advises can be done, and gives the values', async () => {
  const shape = [3, 1];
  const ask = (features, labels = Int32Array.of(0, 1, 2)) =>
    collapse({ features, labels }).then(
      () => assert.unreachable('should have been refused'),
      (error) => error.message,
    );
  const advised = (message) => /\(([^()]*from\(.*\)) converts\)/.exec(message)?.[1];
  for (const values of [
    BigInt64Array.of(1n, 2n, 3n),
    [1, 2, 3],
    Int16Array.of(1, 2, 3),
    [[1], [2], [3]],
    [1n, 2n, 3n],
    Uint8Array.of(1, 2, 3),
  ]) {
    const advice = advised(await ask({ shape, data: values }));
    assert.equal([...new Function('values', `return ${advice}`)(values)], [1, 2, 3], String(values));
  }
  for (const labels of [BigInt64Array.of(0n, 1n, 2n), [0, 1, 2], Float32Array.of(0, 1, 2), Uint8Array.of(0, 1, 2)]) {
    const advice = advised(await ask({ shape, data: Float64Array.of(1, 2, 4) }, labels)).replaceAll('labels', 'values');
    assert.equal([...new Function('values', `return ${advice}`)(labels)], [0, 1, 2], String(labels));
  }
  for (const data of [
    Buffer.from([1, 2, 3]),
    ['a', 'b', 'c'],
    new DataView(new ArrayBuffer(3)),
    new ArrayBuffer(3),
    'abc',
    { 0: 1 },
    [1, undefined, 2],
  ]) {
    assert.is(advised(await ask({ shape, data })), undefined, String(data));
  }
  for (const labels of [['cat', 'dog', 'cat'], Float64Array.of(0.5, 1, 2), [true, false, true], Buffer.from([0, 1, 2])]) {
    assert.is(advised(await ask({ shape, data: Float64Array.of(1, 2, 4) }, labels)), undefined, String(labels));
  }
  assert.match(await ask({ shape, data: Uint16Array.of(15360, 1, 2) }), /bits of float16 it would not/);
  assert.match(
    await ask({ shape: Int32Array.of(3, 1), data: Float64Array.of(1, 2, 3) }),
    /shape is Int32Array; expected a list of numbers \(Array\.from\(shape, Number\)/,
  );
});

test.run();
