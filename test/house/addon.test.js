// The addon's own functions, called past the TypeScript front: what they refuse bears the code of what was wrong.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { engine } from '../../lib/engine/load.js';

test('a chunk of another dtype than the measurement is refused as such', () => {
  const native = engine();
  const labels = Int32Array.of(0, 1);
  for (const [dtype, Type, Other] of [
    ['float32', Float32Array, Float64Array],
    ['float64', Float64Array, Float32Array],
  ]) {
    const handle = native.collapseBegin({ dtype, classes: 2, dim: 3, meanOfSamples: false, ddof: 0, cosines: true });
    const chunk = (features) => ({ features, labels, rows: 2 });
    const refused = (call) => assert.throws(call, (error) => error.code === 'LP_DTYPE' && /dtype/.test(error.message));
    refused(() => native.collapseSum(undefined, handle, chunk(new Other(6))));
    native.collapseSum(undefined, handle, chunk(Type.of(1, 0, 0, 0, 1, 0)));
    native.collapseCenter(undefined, handle);
    refused(() => native.collapseMeasure(undefined, handle, chunk(new Other(6))));
  }
});

test.run();
