// Measures 10 000 classes and says the most memory that was held, in bytes, and what was found.
import { collapse, randomState } from 'layerpeel';

const state = randomState({ classes: 10_000, perClass: 2, dim: 16, seed: 0 });
const { featureCosines, prototypeCosines, featurePairs, nc1, nc2, nc3, nc4 } = await collapse(state);
const pairs = featurePairs.histogram.reduce((sum, count) => sum + count, 0);
const matrices = featureCosines !== undefined || prototypeCosines !== undefined;
console.log(JSON.stringify({ bytes: 1024 * process.resourceUsage().maxRSS, pairs, matrices, measures: { nc1, nc2, nc3, nc4 } }));
