// Calls operations after which no more than `argv[2]` threads can be started, and prints what became of each.
import { collapse, lossAndGradient, matmulSync, randomState } from 'layerpeel';

const state = randomState({ classes: 300, perClass: 20, dim: 128, seed: 1 });
const one = { shape: [1, 1], data: Float64Array.of(2) };
matmulSync(one, one); // loads the engine; too small for a second thread
process.env.MOST_THREADS = process.argv[2];

const outcomes = [];
for (let round = 0; round < 3; round++) {
  const product = matmulSync(state.features, state.prototypes, { transposeB: true }).data[7];
  const value = await lossAndGradient({ kind: 'cross-entropy' }, state).then(
    ({ value }) => value,
    ({ code }) => code,
  );
  const measured = await collapse(state).then(
    ({ nc1 }) => nc1,
    ({ code }) => code,
  );
  outcomes.push({ product, value, measured });
}
console.log(JSON.stringify(outcomes));
