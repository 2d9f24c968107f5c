/** Configurations with entries changed, removed, added or misspelt, and what must hold: they are read, or refused with a code of this package. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { LayerpeelError } from 'layerpeel';
import { train } from 'layerpeel/torch';
import { readConfiguration } from '../../lib/configuration/file.js';
import { EXAMPLE, readSimulation } from '../../lib/configuration/simulation.js';

const iterated = {
  dynamics: 'projectedDescent',
  state: { random: { classes: 3, perClass: 2, dim: 4, seed: 0 } },
  problem: { loss: { kind: 'cross-entropy' }, constraints: { features: { kind: 'ball', radius: 5 } } },
  options: { learningRates: { features: 1, prototypes: 0.1 }, steps: 100 },
};
const network = {
  data: {
    kind: 'folder',
    path: 'nowhere',
    split: 'train',
    imbalance: { kind: 'step', ratio: 10 },
    labelNoise: { share: 0.1 },
    heldOut: ['a'],
  },
  model: {
    ...{ kind: 'resnet18', head: { normalize: true, scale: 2 }, classifier: { kind: 'fixed-etf' } },
    weights: { file: 'nowhere.pth:state_dict', classifier: false },
  },
  loss: { kind: 'ldam', largestMargin: 0.5, scale: 30 },
  reweighting: { beta: 0.99, from: 2 },
  optimizer: { learningRate: { kind: 'cosine', value: 0.1, period: 5, warmup: 1 }, momentum: 0.9, weightDecay: { weights: 0.1 } },
  epochs: 5,
  batch: 8,
};
const simulation = { ...EXAMPLE, state: { random: { classes: 3, perClass: 2, dim: 4 } } };

/** What may stand in the place of an entry. */
const odd = fc.constantFrom(
  null,
  true,
  '',
  'x',
  '__proto__',
  'a.npy',
  '/dev/zero',
  -1,
  0,
  0.5,
  1e308,
  -1e308,
  2 ** 53,
  1e-320,
  [],
  [null],
  [[]],
  {},
  { kind: 'x' },
);

/** All places of a tree, as the object and its key. */
const places = (tree) =>
  Object.entries(tree).flatMap(([key, value]) => [
    [tree, key],
    ...(typeof value === 'object' && value !== null ? places(value) : []),
  ]);

const change = fc
  .tuple(fc.nat(), fc.constantFrom('replace', 'remove', 'rename', 'add'), odd)
  .map(([where, how, value]) => (tree) => {
    const all = places(tree);
    if (all.length === 0) return;
    const [holder, key] = all[where % all.length];
    if (how === 'replace') holder[key] = value;
    if (how === 'add' && !Array.isArray(holder)) holder.more = value;
    if (how === 'remove' || how === 'rename') {
      if (how === 'rename' && !Array.isArray(holder)) holder[`${key}s`] = holder[key];
      if (!Array.isArray(holder)) delete holder[key];
    }
  });

/** Text in place of JSON, now and then. */
const text = fc.oneof({ arbitrary: fc.constant(undefined), weight: 9 }, { arbitrary: fc.uint8Array({ maxLength: 40 }), weight: 1 });

export const changedConfigurations = fc
  .tuple(fc.constantFrom(simulation, iterated, network), fc.array(change, { minLength: 1, maxLength: 3 }), text)
  .map(([base, list, bytes]) => {
    const config = structuredClone(base);
    for (const apply of list) apply(config);
    return { config, bytes, network: base === network };
  });

export async function checkConfiguration({ config, bytes, network: trained }, folder) {
  const path = join(folder, 'config.json');
  writeFileSync(path, bytes ?? JSON.stringify(config));
  try {
    if (trained) await train(config).next();
    else await readSimulation(await readConfiguration(path), dirname(path));
  } catch (error) {
    if (!(error instanceof LayerpeelError) || error.code === 'LP_INTERNAL') throw error;
  }
}
