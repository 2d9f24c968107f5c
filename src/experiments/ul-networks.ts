/**
 * The protocol of UL's experiments with networks (App. C.2): SGD with momentum 0.9, batches of 256, weight decay 5e-4 and a rate that
 * falls from 0.1 by a cosine, once an epoch, on images that are shifted and flipped. Where prototypes are anchored they are a simplex ETF
 * (PAL), before which the network's last ReLU is left out; features may be normalized too (FNPAL), with rescaled learning rates (RLR, UL §4.3).
 */
import { LayerpeelError } from '../check/errors.js';
import { entry, inside, nearest, type Place } from '../check/options.js';
import { CONFIG } from '../configuration/file.js';
import { classesOf, type SetName, type Sources, setTitle } from './image-sets.js';
import { type NetworkParameters, selected } from './networks.js';

type Entries = Readonly<Record<string, unknown>>;

/** The base of the studies. */
export function protocol(
  { network, epochs, largest }: NetworkParameters,
  set: SetName,
  sources: Sources,
  imbalance?: 'long-tailed',
): Entries {
  return {
    data: { ...selected(sources[set], largest, imbalance), augmentation: { padding: 4, flip: true } },
    model: { kind: network },
    loss: { kind: 'cross-entropy' },
    optimizer: { learningRate: { kind: 'cosine', value: 0.1, period: epochs }, ratePer: 'epoch', momentum: 0.9, weightDecay: 5e-4 },
    epochs,
    batch: 256,
  };
}

export const protocolOf = (set: SetName): string =>
  `${setTitle(set)}; SGD with momentum 0.9, weight decay 5·10⁻⁴, batches of 256, a cosine from 0.1 by epoch, images shifted and flipped. ` +
  'Anchored prototypes are a simplex ETF, without a ReLU before them; γ = 1/(C−1), under which anchored prototypes have the loss −C/(C−1)·z_{y}.';

const anchored = { 'model.classifier': { kind: 'fixed-etf' } };
const normalized = { 'model.head': { normalize: true } };
const unhinged = (set: SetName): Entries => ({ loss: { kind: 'unhinged', gamma: 1 / (classesOf(set) - 1) } });

/** Losses and constraints by the names that tables have; `λ` is explicit feature regularization, `λ Σ ‖h‖²` over a batch (UL §4.2). */
const methods: Readonly<Record<string, (set: SetName) => Entries>> = {
  CE: () => ({}),
  UL: unhinged,
  'UL (PAL)': (set) => ({ ...unhinged(set), ...anchored }),
  'UL (FNPAL)': (set) => ({ ...unhinged(set), ...anchored, ...normalized }),
  'UL (FNPAL), RLR': (set) => ({ ...unhinged(set), ...anchored, ...normalized, rescaled: true }),
  'dot regression': () => ({ loss: { kind: 'dot-regression' }, ...anchored, ...normalized }),
};

/** The axis of some methods: `CE`, `UL (PAL), λ = 1e-6`. @throws `LP_CONFIG` for one that there is not */
export function methodAxis(
  names: readonly string[],
  set: SetName,
  place: Place = inside(CONFIG, 'methods'),
): Record<string, Entries> {
  return Object.fromEntries(
    names.map((name, i) => {
      const [, base = name, weight] = /^(.*), λ = (\S+)$/.exec(name) ?? [];
      const method = Object.hasOwn(methods, base) ? methods[base] : undefined;
      if (!method || (weight !== undefined && !(Number(weight) >= 0))) {
        const guess = nearest(base, Object.keys(methods));
        throw new LayerpeelError(
          place.code,
          `${entry(place, i).path} is ${JSON.stringify(name)}; ${guess ? `did you mean ${guess}?` : `expected one of ${Object.keys(methods).join('; ')},`} with ", λ = 1e-5" for feature regularization.`,
        );
      }
      return [name, { ...method(set), ...(weight !== undefined && { regularization: { weight: Number(weight) } }) }];
    }),
  );
}
