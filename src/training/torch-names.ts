/**
 * The names that PyTorch's users know the tensors of these networks by, and back: torchvision's, and those of the usual
 * implementations for CIFAR. One table, of what a name begins with here and there; `weight`, `bias`, `running_mean` and
 * `running_var` follow.
 *
 *     resnet, cifar-resnet   conv1, bn1, layer1.0.conv1, layer2.0.downsample.0: the same                            fc
 *     vgg                    convᵢ, bnᵢ           features.N, of convolutions, norms, ReLUs and poolings in a row      classifier
 *     densenet               conv1, bn1           features.conv0, features.norm5                                    classifier
 *                            block1.0.bn1         features.denseblock1.denselayer1.norm1
 *                            trans1.bn1, .conv1   features.transition1.norm, .conv
 *     mlp                    layer1, layer2, …    fc1, fc2, …, or any names that differ by one number                the next one
 *
 * A network's own names are read too, and `shortcut` for `downsample`, `block1.layer.0` for `block1.0`, `norm_final` for `norm5`.
 * The classifier is the first name of the last column, read as `fc`, `linear`, `classifier` or `head` alike.
 */
import type { ArchitecturePlan } from './engine.js';

type Family = ArchitecturePlan['kind'];

/** What is classified with, among a network's own names. */
export const CLASSIFIER = ['prototypes', 'biases'] as const;

const OF_CLASSIFIER = /^(?:fc|linear|classifier|head)\./;
/** Part of a layer among those of an MLP, which differ by one number. */
const LAYER = /^(.*?)(\d{1,9})\.(weight|bias)$/;

const place = (position: string) => Number(position) - 1;

/** What a name begins with here, and in torchvision. */
const TABLE: Readonly<Record<Family, readonly (readonly [own: RegExp, torch: (...match: string[]) => string])[]>> = {
  resnet: [],
  'cifar-resnet': [],
  vgg: [
    // A stage of two convolutions has seven members, the pooling included.
    [
      /^(conv|bn)(\d+)/,
      (_, layer, position) =>
        `features.${7 * Math.floor(place(position as string) / 2) + 3 * (place(position as string) % 2) + Number(layer === 'bn')}`,
    ],
  ],
  densenet: [
    [/^conv1/, () => 'features.conv0'],
    [/^bn1/, () => 'features.norm5'],
    [
      /^block(\d)\.(\d+)\.(bn|conv)/,
      (_, block, layer, what) => `features.denseblock${block}.denselayer${Number(layer) + 1}.${what === 'bn' ? 'norm' : 'conv'}`,
    ],
    [/^trans(\d)\.(bn|conv)1/, (_, block, what) => `features.transition${block}.${what === 'bn' ? 'norm' : 'conv'}`],
  ],
  mlp: [[/^layer(?=\d)/, () => 'fc']],
};

/** Other words of the same names. */
const ALIASES: readonly (readonly [RegExp, string])[] = [
  [/\.shortcut\./, '.downsample.'],
  [/^(block\d)\.layer\./, '$1.'],
  [/^features\.norm_final\./, 'features.norm5.'],
];

const layersOf = (own: readonly string[]): number => own.filter((name) => /^layer\d+\.weight$/.test(name)).length;

/** PyTorch's names of a network's tensors, `own` being all of them: `layer1.0.conv1.weight`, `prototypes`. */
export function torchNames(family: Family, own: readonly string[]): Map<string, string> {
  const classifier = {
    resnet: 'fc',
    'cifar-resnet': 'fc',
    vgg: 'classifier',
    densenet: 'classifier',
    mlp: `fc${layersOf(own) + 1}`,
  };
  const torchName = (name: string): string => {
    if (name === 'prototypes') return `${classifier[family]}.weight`;
    if (name === 'biases') return `${classifier[family]}.bias`;
    const [begin, torch] = TABLE[family].find(([begin]) => begin.test(name)) ?? [];
    return begin && torch ? name.replace(begin, torch) : name;
  };
  return new Map(own.map((name) => [name, torchName(name)]));
}

/** A name that is given: what it is called without wrappers, and which of the network's own it means, if any. */
export interface Meant {
  readonly own?: string | undefined;
  /** Whether it belongs to a classifier, the network's or another one. */
  readonly classifier: boolean;
}

/** What names that are given mean of a network whose own are `own`. Wrappers that stand before every name are left out. */
export function ownNames(family: Family, own: readonly string[], given: readonly string[]): Map<string, Meant> {
  const known = new Map([...torchNames(family, own)].flatMap(([name, torch]) => [[name, name] as const, [torch, name] as const]));
  const find = (name: string): string | undefined => {
    const [, part] = /^(?:fc|linear|classifier|head)\.(weight|bias)$/.exec(name) ?? [];
    if (part) return part === 'weight' ? 'prototypes' : 'biases';
    return known.get(ALIASES.reduce((renamed, [word, by]) => renamed.replace(word, by), name));
  };
  const isKnown = (name: string) => find(name) !== undefined || (family === 'mlp' && /^[^.\d]*\d+\.(?:weight|bias)$/.test(name));
  const wrapped = wrapper(given, isKnown).length;
  const layers = family === 'mlp' ? layerNames(given, layersOf(own)) : undefined;
  return new Map(
    given.map((name) => {
      const bare = name.slice(wrapped);
      const found = layers?.get(name) ?? find(bare);
      const classifier = found === undefined ? OF_CLASSIFIER.test(bare) : CLASSIFIER.includes(found as 'biases');
      return [name, { ...(found !== undefined && { own: found }), classifier }];
    }),
  );
}

/** Words before every name: `state_dict.`, `module.`, `model.` and their like; empty where names are known as they are, or not at all. */
function wrapper(names: readonly string[], isKnown: (name: string) => boolean): string {
  let taken = '';
  for (let depth = 0; depth < 8; depth++) {
    const rest = names.map((name) => name.slice(taken.length));
    if (rest.some(isKnown)) return taken;
    const first = rest[0] ?? '';
    const word = first.slice(0, first.indexOf('.') + 1);
    if (word === '' || !rest.every((name) => name.startsWith(word))) break;
    taken += word;
  }
  return '';
}

/** The layers of an MLP by the order of their numbers, of which the last one may be the classifier. */
function layerNames(given: readonly string[], count: number): Map<string, string> {
  const parts = given.flatMap((name) => {
    const [, prefix, number, part] = LAYER.exec(name) ?? [];
    return number === undefined ? [] : [{ name, prefix, number: Number(number), part }];
  });
  if (new Set(parts.map(({ prefix }) => prefix)).size !== 1) return new Map();
  const numbers = [...new Set(parts.map(({ number }) => number))].sort((a, b) => a - b);
  return new Map(
    parts.flatMap(({ name, number, part }): (readonly [string, string])[] => {
      const k = numbers.indexOf(number);
      if (k < count) return [[name, `layer${k + 1}.${part}`]];
      return k === count ? [[name, part === 'weight' ? 'prototypes' : 'biases']] : [];
    }),
  );
}
