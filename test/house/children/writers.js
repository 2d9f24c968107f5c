// Writes files over others while the system refuses one call after another (faults.c), and says what is then in the folder.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectedDescentSync, randomState, saveCheckpoint, writeNpy, writeNpz } from 'layerpeel';

const [folder] = process.argv.slice(2);
const array = { shape: [40_000], data: new Float64Array(40_000).fill(1) };
const problem = { state: randomState({ classes: 2, perClass: 2, dim: 2 }), loss: { kind: 'mse' } };
const [{ checkpoint }] = projectedDescentSync(problem, { learningRates: { features: 1, prototypes: 1 }, steps: 1 });
const writers = {
  'a.npy': (path) => writeNpy(path, array),
  'a.npz': (path) => writeNpz(path, { array, again: array }),
  'a.safetensors': (path) => saveCheckpoint(path, checkpoint),
};
const outcomes = [];
for (const [name, write] of Object.entries(writers)) {
  for (const before of ['what stood there', undefined]) {
    for (let k = 0, done = false; !done; k++) {
      const path = join(folder, name);
      process.env.FAULT_FROM = '1000000';
      for (const old of readdirSync(folder)) rmSync(join(folder, old));
      if (before !== undefined) writeFileSync(path, before);
      process.env.FAULT_FROM = String(k);
      const error = await write(path).catch((caught) => caught);
      process.env.FAULT_FROM = '1000000';
      done = error === undefined;
      const left = readdirSync(folder);
      const stands = left.includes(name) ? readFileSync(path, 'latin1').slice(0, 20) : undefined;
      outcomes.push({ name, before, k, done, code: error?.code, message: error?.message, left, stands });
    }
  }
}
console.log(JSON.stringify(outcomes));
