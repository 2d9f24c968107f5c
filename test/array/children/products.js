// Products on the device, as JSON: in a process of its own, as cuBLAS is looked for once.
import { matmul, seededRandom } from 'layerpeel';

const sizes = [
  [1, 1, 1],
  [5, 130, 33],
  [67, 3, 700],
  [3, 4, 0],
];
const random = seededRandom(1);
const array = (Float, shape) => ({ shape, data: Float.from({ length: shape.reduce((a, b) => a * b, 1) }, random.normal) });

const results = [];
for (const Float of [Float64Array, Float32Array]) {
  for (const [m, n, k] of sizes) {
    for (const transposeA of [false, true]) {
      const a = array(Float, [2, 3, ...(transposeA ? [k, m] : [m, k])]);
      const b = array(Float, [3, n, k]); // one for both
      results.push([...(await matmul(a, b, { transposeA, transposeB: true, device: 'cuda' })).data]);
    }
  }
}
console.log(JSON.stringify(results));
