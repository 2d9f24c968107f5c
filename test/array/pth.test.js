// PyTorch's files, as PyTorch wrote them (make-pth-fixtures.py) and as nobody should.
import { readFileSync } from 'node:fs';
import { readArray, readPth } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fixture } from './cases.js';

/** What PyTorch reads in the fixtures: for each file its tensors by name, `{ dtype, shape, values }`, or what is not read here. */
const EXPECTED = JSON.parse(readFileSync(new URL('pth.json', import.meta.url)));

/** JSON of Python has Infinity in it. */
const WIDE = new Set(['int64', 'uint64', 'uint32']);

function same(actual, { dtype, shape, values }, name) {
  assert.equal(actual.shape, shape, name);
  const float = dtype.includes('float');
  const beyond = WIDE.has(dtype) && values.some((value) => Math.abs(value) > 2 ** 31);
  const Data = float ? (dtype === 'float64' ? Float64Array : Float32Array) : beyond ? BigInt64Array : Int32Array;
  assert.is(actual.data.constructor, Data, name);
  assert.equal([...actual.data].map(Number), values, name);
}

test('every tensor as PyTorch reads it, all at once and one by one', async () => {
  for (const [file, expected] of Object.entries(EXPECTED)) {
    const { tensors, unsupported } = await readPth(fixture(file));
    const kinds = Object.entries(expected).filter(([, value]) => typeof value === 'string');
    assert.equal(unsupported, Object.fromEntries(kinds), file);
    assert.equal(
      Object.keys(tensors),
      Object.keys(expected).filter((name) => !Object.hasOwn(unsupported, name)),
      file,
    );
    for (const [name, tensor] of Object.entries(tensors)) {
      same(tensor, expected[name], `${file}:${name}`);
      same(await readArray(`${fixture(file)}:${name}`), expected[name], `${file}:${name}`);
    }
  }
});

test.run();
