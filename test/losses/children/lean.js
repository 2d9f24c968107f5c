// Prints, in MiB, all logits of a state, and by how much the memory in use grew at most while it was analysed.
import { etfOptimum, kktCertificate, margins, randomState, tangentCurvature } from 'layerpeel';

const [classes, perClass, dim] = [3000, 8, 16];
const { prototypes, labels } = randomState({ classes, perClass, dim, seed: 2 });
const peak = () => process.resourceUsage().maxRSS / 1024;
const before = peak();
// Prototypes on a sphere: each leads at its own feature.
for (let c = 0; c < classes; c++) {
  const row = prototypes.data.subarray(c * dim, (c + 1) * dim);
  const norm = Math.hypot(...row);
  for (let j = 0; j < dim; j++) row[j] *= 10 / norm;
}
const state = { features: etfOptimum(prototypes, labels), prototypes, labels };
const { smallest } = await margins(state);
const { multipliers } = await kktCertificate(state, { multipliers: false });
const { steps } = await tangentCurvature(state, { steps: 2 });
console.log(
  JSON.stringify({
    smallest,
    multipliers: multipliers.shape,
    steps,
    logits: (classes ** 2 * perClass * 8) / 2 ** 20,
    grown: peak() - before,
  }),
);
