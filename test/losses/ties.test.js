// Of equal logits the first class is the decision, wherever accuracy is measured.
import {
  collapseSync,
  crossEntropyFlowSync,
  evaluateSync,
  gradientDescentSync,
  gradientFlowSync,
  kernelFlowSync,
  lossAndGradientSync,
  projectedDescentSync,
  sphericalDescentSync,
} from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { array } from '../helpers.js';

/** Classes 0 and 1 tie for the first two samples, of which the second alone is right; the third has no equal. */
const tied = (Type) => ({
  features: array(
    [
      [1, 0],
      [1, 0],
      [0, 1],
    ],
    Type,
  ),
  prototypes: array(
    [
      [1, 0],
      [1, 0],
      [0, 1],
    ],
    Type,
  ),
  labels: Int32Array.of(1, 0, 2),
});

/** The same among 300 classes of 300 dimensions, whose logits are made block by block. */
function wide(Type) {
  const { features, prototypes, labels } = tied(Type);
  const spread = ({ shape, data }, rows) => {
    const out = { shape: [rows, 300], data: new Type(rows * 300) };
    for (let i = 0; i < rows; i++) out.data[300 * i + 2] = i < shape[0] ? 0 : -1;
    for (let i = 0; i < shape[0]; i++) out.data.set(data.subarray(2 * i, 2 * i + 2), 300 * i);
    return out;
  };
  const far = spread(features, 3);
  for (let i = 0; i < 3; i++) far.data[300 * i + 2] = 1;
  return { features: far, prototypes: spread(prototypes, 300), labels };
}

const losses = [
  { kind: 'unhinged', gamma: 0.1 },
  { kind: 'cross-entropy' },
  { kind: 'mse' },
  { kind: 'hinge' },
  { kind: 'dot-regression' },
];
const last = (iterator) => [...iterator].at(-1);

for (const Type of [Float32Array, Float64Array]) {
  const state = tied(Type);
  const biased = { ...state, biases: array([0, 0, 0], Type) };
  const kernel = { shape: [3, 3], data: Type.of(1, 0, 0, 0, 1, 0, 0, 0, 1) };
  const atStart = (trajectory) => trajectory.measureSync([0], ['accuracy']).accuracy[0];
  const rates = { features: 0.1, prototypes: 0.1 };
  const places = {
    collapse: () => collapseSync(state).accuracy,
    gradientFlow: () => atStart(gradientFlowSync(state, { gamma: 0.1, rates })),
    gradientDescent: () => atStart(gradientDescentSync(biased, { gamma: 0.1, learningRates: rates })),
    sphericalDescent: () => atStart(sphericalDescentSync(state, { gamma: 0.1, learningRate: 0.1 })),
    'kernelFlow, unhinged': () => atStart(kernelFlowSync(state, { loss: 'unhinged', gamma: 0.1, rate: 1, kernel })),
    'kernelFlow, mse': () => atStart(kernelFlowSync(biased, { loss: 'mse', rate: 1, kernel })),
    crossEntropyFlow: () => atStart(crossEntropyFlowSync(state)),
    evaluate: () => evaluateSync(state, { resamples: 0 }).accuracy,
  };
  for (const loss of losses) {
    for (const normalizeFeatures of [false, true]) {
      const what = `${loss.kind}${normalizeFeatures ? ', normalized' : ''}`;
      for (const [name, given] of Object.entries({ few: state, biased, many: wide(Type) })) {
        places[`lossAndGradient of ${what}, ${name} classes`] = () =>
          lossAndGradientSync(loss, given, { normalizeFeatures }).accuracy;
      }
      const problem = { loss, state, normalizeFeatures };
      const options = { learningRates: rates, steps: 0, measure: { names: ['accuracy'] } };
      places[`projectedDescent of ${what}`] = () => last(projectedDescentSync(problem, options)).measures.accuracy[0];
    }
  }
  for (const [place, accuracy] of Object.entries(places)) {
    test(`${place}, ${Type.name}`, () => assert.is(accuracy(), 2 / 3));
  }
}

test('a tie that only the normalization or the biases make', () => {
  const state = {
    features: array([[0.5, 0]]),
    prototypes: array([
      [1, 0],
      [0, 1],
    ]),
    biases: array([0, 1]),
    labels: Int32Array.of(1),
  };
  for (const loss of losses.filter(({ kind }) => kind !== 'dot-regression')) {
    assert.is(lossAndGradientSync(loss, state, { normalizeFeatures: true }).accuracy, 0, loss.kind);
    assert.is(lossAndGradientSync(loss, state).accuracy, 1, loss.kind);
  }
});

test('NC4: of equal rivals the first, beside it and far from it', () => {
  for (const Type of [Float32Array, Float64Array]) {
    for (const twin of [2, 9]) {
      // Class c lies at axis c, but for a sample of class 0 that lies at axis 1, and the prototype of `twin` is that of class 1.
      const axis = (c) => Array.from({ length: 10 }, (_, j) => Number(j === c));
      const state = {
        features: array([...[0, 0, 0, 1].map(axis), ...Array.from({ length: 9 }, (_, c) => axis(c + 1))], Type),
        prototypes: array(
          Array.from({ length: 10 }, (_, c) => axis(c === twin ? 1 : c)),
          Type,
        ),
        labels: Int32Array.of(0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
      };
      const { nc4, accuracy } = collapseSync(state);
      // The samples of the twin have all logits 0 and are decided for class 0, far from their own mean; that of class 0 at axis 1
      // is wrong, but for both.
      assert.is(nc4, 1 / 13, `${twin}`);
      assert.is(accuracy, 11 / 13, `${twin}`);
    }
  }
});

test.run();
