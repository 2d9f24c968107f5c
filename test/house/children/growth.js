// Prints by how much the resident memory grows over work that is over, in MB.
import { collapseSync, gradientFlowSync, projectedDescent, randomState } from 'layerpeel';

const state = randomState({ classes: 200, perClass: 5, dim: 256 }); // 2.3 MB, and a run of it 14 MB
const small = randomState({ classes: 5, perClass: 6, dim: 16 });
const options = { steps: 4, snapshots: 2, learningRates: { features: 1e-3, prototypes: 1e-3 }, momentum: 0.9 };
const problem = { loss: { kind: 'mse' }, state };
const round = {
  async finished() {
    for await (const _ of projectedDescent(problem, options));
  },
  async left() {
    for await (const _ of projectedDescent(problem, options)) break;
  },
  async abandoned() {
    await projectedDescent(problem, options).next();
  },
  collapse() {
    collapseSync(state);
  },
  trajectories() {
    for (let i = 0; i < 4; i++) {
      const flow = gradientFlowSync(small, { gamma: 0.1, rates: { features: 1, prototypes: 1 } });
      flow.measureSync([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], ['nc1']);
    }
  },
}[process.argv[2]];

for (let i = 0; i < 4; i++) await round();
const before = process.memoryUsage.rss();
for (let i = 0; i < 60; i++) await round();
console.log(`${Math.round((process.memoryUsage.rss() - before) / 2 ** 20)}`);
