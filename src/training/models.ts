/**
 * The networks that can be trained, their feature heads and classifiers: how they are asked for, what they need, and what the
 * extension is told. See native/torch/models.
 */
import type { AnyArray } from '../array/stored.js';
import { LayerpeelError } from '../check/errors.js';
import {
  checkBoolean,
  checkChoice,
  checkKeys,
  checkNumber,
  checkObject,
  checkPath,
  inside,
  type Place,
  show,
} from '../check/options.js';
import type { ImageSizes } from '../data/images.js';
import { simplexETF } from '../theory/simplex-etf.js';
import type { ArchitecturePlan } from './engine.js';

/** What becomes of the network's last features `h`. Features enter the logits as `scale · BatchNorm(h)`, by direction if normalized. */
export interface Head {
  /** Whether the network's last ReLU is there. @default true with a learnable classifier, false with a simplex */
  readonly relu?: boolean | undefined;
  /** @default false */
  readonly batchNorm?: boolean | undefined;
  /** Whether features enter by their direction. @default false */
  readonly normalize?: boolean | undefined;
  /** @default 1 */
  readonly scale?: number | undefined;
}

/** The prototypes: learned from PyTorch's beginning, learned from a simplex (UL D.1), or a simplex for good (PAL, ETF). */
export interface Classifier {
  /** @default 'learnable' */
  readonly kind?: 'learnable' | 'etf-initialized' | 'fixed-etf' | undefined;
  /** Whether there are biases. @default true for `learnable`, but not under dot regression and LDAM */
  readonly bias?: boolean | undefined;
  /** Length of a simplex's prototypes. @default 1 */
  readonly scale?: number | undefined;
  /** Of a simplex's orientation. @default the run's seed */
  readonly seed?: number | undefined;
}

/** What a network begins with; the path of a file alone stands for `{ file }`. */
export interface Weights {
  /**
   * A `.safetensors`, `.pth` (`.pt`, `.bin`, `.ckpt`) or `.npz` file, of which a part may be named after a colon
   * (`net.ckpt:state_dict`); or a run folder, or the checkpoint in one.
   */
  readonly file?: string | undefined;
  /** In place of a file: arrays of floats by PyTorch's names. */
  readonly tensors?: Readonly<Record<string, AnyArray>> | undefined;
  /** Whether the classifier begins with theirs too, which must then fit. @default false */
  readonly classifier?: boolean | undefined;
}

export interface Model {
  readonly kind: keyof typeof kinds;
  /** Of `resnet18`, `resnet34`, `resnet50`, `resnet101`: `small` is a 3×3 convolution, `imagenet` a 7×7 of stride 2 and a pooling. @default 'small' */
  readonly stem?: 'small' | 'imagenet' | undefined;
  /** Of `mlp`: the layers' widths, the last one that of the features. @default [512, 512] */
  readonly widths?: readonly number[] | undefined;
  /** Of `resnet20` to `resnet56`: channels of the first stage, an even number; the next ones have twice and four times as many. @default 16 */
  readonly width?: number | undefined;
  /** Of `densenet`. @default 150 */
  readonly depth?: number | undefined;
  /** Of `densenet`: channels that a layer adds. @default 12 */
  readonly growth?: number | undefined;
  /** Of `densenet`: share of channels that a transition keeps. @default 0.5 */
  readonly reduction?: number | undefined;
  readonly head?: Head | undefined;
  readonly classifier?: Classifier | undefined;
  /** What to begin with: the path of a file, or `Weights`. @default as PyTorch begins */
  readonly weights?: string | Weights | undefined;
}

const kinds = {
  mlp: { kind: 'mlp', depth: 0, keys: ['widths'] },
  resnet18: { kind: 'resnet', depth: 18, keys: ['stem'] },
  resnet34: { kind: 'resnet', depth: 34, keys: ['stem'] },
  resnet50: { kind: 'resnet', depth: 50, keys: ['stem'] },
  resnet101: { kind: 'resnet', depth: 101, keys: ['stem'] },
  resnet20: { kind: 'cifar-resnet', depth: 20, keys: ['width'] },
  resnet32: { kind: 'cifar-resnet', depth: 32, keys: ['width'] },
  resnet44: { kind: 'cifar-resnet', depth: 44, keys: ['width'] },
  resnet56: { kind: 'cifar-resnet', depth: 56, keys: ['width'] },
  vgg13: { kind: 'vgg', depth: 13, keys: [] },
  densenet: { kind: 'densenet', depth: 150, keys: ['depth', 'growth', 'reduction'] },
} as const;

/** The kind of architecture that a network is of. */
export const familyOf = (kind: Model['kind']): ArchitecturePlan['kind'] => kinds[kind].kind;

/** The names of the networks. */
export const modelKinds = Object.keys(kinds) as (keyof typeof kinds)[];

export interface CheckedModel {
  readonly architecture: ArchitecturePlan;
  readonly headNorm: boolean;
  readonly featureScale: number;
  readonly fixedPrototypes: boolean;
  readonly bias: boolean;
  /** The prototypes to begin with, where they are a simplex. */
  readonly prototypes?: Float32Array | undefined;
}

/** Checks a model against its images and classes; `biases` says whether the loss has a use for them. @throws the place's code, with the path to what is wrong */
export function checkModel(
  given: unknown,
  images: ImageSizes,
  classes: number,
  { seed, biases }: { seed: number; biases: boolean },
  place: Place,
): CheckedModel {
  const name = checkChoice((given as { kind?: unknown } | undefined)?.kind, modelKinds, inside(place, 'kind'));
  const { kind, depth, keys } = kinds[name];
  const model = checkKeys(given, ['kind', ...keys, 'head', 'classifier', 'weights'], place) as Partial<Model>;
  const widths = model.widths ?? [512, 512];
  if (!Array.isArray(widths) || widths.length === 0) {
    throw new LayerpeelError(place.code, `${place.path}.widths is ${show(widths)}; expected a list of at least one width.`);
  }
  const number = (key: 'width' | 'depth' | 'growth' | 'reduction', fallback: number, bounds: Parameters<typeof checkNumber>[2]) =>
    checkNumber(model[key] ?? fallback, inside(place, key), bounds);
  const classifier = checkClassifier(model.classifier ?? {}, seed, biases, inside(place, 'classifier'));
  if (model.weights !== undefined) checkWeights(model.weights, classifier.simplex !== undefined, inside(place, 'weights'));
  const here = inside(place, 'head');
  const head = checkKeys(model.head ?? {}, ['relu', 'batchNorm', 'normalize', 'scale'], here) as Head;
  const scale = checkNumber(head.scale ?? 1, inside(here, 'scale'), { above: 0 });
  const normalize = checkBoolean(head.normalize ?? false, inside(here, 'normalize'));
  const architecture: ArchitecturePlan = {
    kind,
    channels: images.channels,
    height: images.height,
    width: images.width,
    depth: kind === 'densenet' ? number('depth', depth, { min: 10, max: 1000, integer: true }) : depth,
    widths:
      kind === 'cifar-resnet'
        ? Float64Array.of(evenWidth(number('width', 16, { min: 2, max: 4096, integer: true }), place))
        : Float64Array.from(widths, (width, i) =>
            checkNumber(width, inside(place, `widths[${i}]`), { min: 1, max: 1e6, integer: true }),
          ),
    imagenetStem: checkChoice(model.stem ?? 'small', ['small', 'imagenet'], inside(place, 'stem')) === 'imagenet',
    growth: number('growth', 12, { min: 1, max: 1024, integer: true }),
    reduction: number('reduction', 0.5, { above: 0, max: 1 }),
    lastRelu: checkBoolean(head.relu ?? !classifier.simplex, inside(here, 'relu')),
  };
  checkImageSize(name, architecture, place);
  const dim = featureDimension(architecture);
  if (classifier.simplex && dim < classes - 1) {
    throw new LayerpeelError(
      place.code,
      `${place.path} has features of ${dim} dimensions, but a simplex of ${classes} classes needs ${classes - 1}; take a wider network or a learnable classifier.`,
    );
  }
  return {
    architecture,
    headNorm: checkBoolean(head.batchNorm ?? false, inside(here, 'batchNorm')),
    featureScale: normalize ? 1 : scale,
    fixedPrototypes: classifier.fixed,
    bias: classifier.bias,
    ...(classifier.simplex && {
      prototypes: simplexETF(classes, dim, { ...classifier.simplex, dtype: 'float32' }).data as Float32Array,
    }),
  };
}

/** A shortcut adds as many channels on one side as on the other. */
function evenWidth(width: number, place: Place): number {
  if (width % 2 === 0) return width;
  throw new LayerpeelError(place.code, `${inside(place, 'width').path} is ${width}; expected an even number.`);
}

function checkClassifier(given: unknown, seed: number, biases: boolean, place: Place) {
  const classifier = checkKeys(given, ['kind', 'bias', 'scale', 'seed'], place);
  const kind = checkChoice(classifier.kind ?? 'learnable', ['learnable', 'etf-initialized', 'fixed-etf'], inside(place, 'kind'));
  const odd = ['scale', 'seed'].find((key) => kind === 'learnable' && classifier[key] !== undefined);
  if (odd) throw new LayerpeelError(place.code, `${place.path}.${odd} belongs to a simplex; leave it out or choose another kind.`);
  return {
    fixed: kind === 'fixed-etf',
    bias: checkBoolean(classifier.bias ?? (biases && kind === 'learnable'), inside(place, 'bias')),
    simplex:
      kind === 'learnable'
        ? undefined
        : {
            scale: checkNumber(classifier.scale ?? 1, inside(place, 'scale'), { above: 0 }),
            seed: checkNumber(classifier.seed ?? seed, inside(place, 'seed'), { min: 0, integer: true }),
          },
  };
}

/** The entry of a model, checked but for what the file holds. */
export interface CheckedWeights {
  readonly file?: string | undefined;
  readonly tensors?: Readonly<Record<string, AnyArray>> | undefined;
  readonly classifier: boolean;
}

/** @param simplex whether the classifier begins as one */
export function checkWeights(given: unknown, simplex: boolean, place: Place): CheckedWeights {
  const weights =
    typeof given === 'string' ? { file: given } : (checkKeys(given, ['file', 'tensors', 'classifier'], place) as Weights);
  const { file, tensors } = weights;
  if ((file === undefined) === (tensors === undefined)) {
    throw new LayerpeelError(
      place.code,
      `${place.path} has ${file === undefined ? 'neither' : 'both'} file and tensors; expected one of them.`,
    );
  }
  if (file !== undefined) checkPath(file, inside(place, 'file'), 'the path of a file of weights');
  if (tensors !== undefined) checkObject(tensors, inside(place, 'tensors'));
  const classifier = checkBoolean(weights.classifier ?? false, inside(place, 'classifier'));
  if (classifier && simplex) {
    throw new LayerpeelError(
      place.code,
      `${place.path}.classifier is true, but the classifier begins as a simplex; leave it out, or take a learnable classifier.`,
    );
  }
  return { file, tensors, classifier };
}

/** Dimension `p` of the last features. */
export function featureDimension({ kind, depth, widths, growth, reduction }: ArchitecturePlan): number {
  if (kind === 'mlp') return widths[widths.length - 1] as number;
  if (kind === 'cifar-resnet') return 4 * (widths[0] as number);
  if (kind === 'resnet') return depth >= 50 ? 2048 : 512;
  if (kind === 'vgg') return 512;
  const added = Math.floor((depth - 4) / 6) * growth;
  return [0, 1].reduce((channels) => Math.floor((channels + added) * reduction), 2 * growth) + added;
}

/** Pixels of the smallest map that a BatchNorm of the network sees; Infinity where it has none. */
export function smallestMap({ kind, height, width, imagenetStem }: ArchitecturePlan): number {
  if (kind === 'mlp') return Number.POSITIVE_INFINITY;
  const halvings = { 'cifar-resnet': 2, resnet: imagenetStem ? 5 : 3, vgg: 4, densenet: 2 }[kind];
  const round = kind === 'densenet' ? Math.floor : Math.ceil;
  const side = (extent: number) =>
    Array(halvings)
      .fill(0)
      .reduce<number>((pixels) => round(pixels / 2), extent);
  return side(height) * side(width);
}

/** A network halves its images some times and must have pixels left. */
function checkImageSize(name: string, { kind, height, width, imagenetStem }: ArchitecturePlan, place: Place): void {
  const least = { mlp: 1, 'cifar-resnet': 4, resnet: imagenetStem ? 32 : 8, vgg: 2, densenet: 4 }[kind];
  if (Math.min(height, width) >= least) return;
  throw new LayerpeelError(
    place.code,
    `${place.path}: ${name} needs images of at least ${least}×${least} pixels; these have ${height}×${width}.`,
  );
}
