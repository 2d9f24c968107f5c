// The addon's own functions, called past the TypeScript front: what they refuse bears the code of what was wrong.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { engine } from '../../lib/native.js';

test('a chunk of another dtype than the measurement is refused as such', () => {
  const native = engine();
  const labels = Int32Array.of(0, 1);
  for (const [dtype, Type, Other] of [
    ['float32', Float32Array, Float64Array],
    ['float64', Float64Array, Float32Array],
  ]) {
    const handle = native.collapseBegin(dtype, 2, 3, undefined, undefined, { meanOfSamples: false, ddof: 0 });
    const refused = (call) => assert.throws(call, (error) => error.code === 'LP_DTYPE' && /dtype/.test(error.message));
    refused(() => native.collapseSum(undefined, handle, new Other(6), 2, labels));
    native.collapseSum(undefined, handle, Type.of(1, 0, 0, 0, 1, 0), 2, labels);
    native.collapseCenter(undefined, handle);
    refused(() => native.collapseMeasure(undefined, handle, new Other(6), 2, labels));
  }
});

test.run();
