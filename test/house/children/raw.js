// Calls of the addon's own functions that must not end the process; prints the code of the error that each throws.
import { engine } from '../../../lib/engine/load.js';

const E = engine();
const numbers = (n) => Float64Array.from({ length: n }, (_, i) => Math.sin(i + 1));
const labels = (n, classes) => Int32Array.from({ length: n }, (_, i) => i % classes);
const stateOf = (samples, classes, dim) => ({
  ...{ features: numbers(samples * dim), prototypes: numbers(classes * dim), labels: labels(samples, classes) },
  ...{ samples, classes, dim },
});
const small = stateOf(4, 2, 3);
const chunk = { features: numbers(12), labels: labels(4, 2), rows: 4 };
const law = {
  ...{ kind: 'flow', end: 'unknown', featureRate: 0.1, prototypeRate: 0.1, featureDecay: 0, prototypeDecay: 0 },
  ...{ momentum: 0, nesterov: false, endTime: 10, endFactor: 1 },
};
const part = { moves: true, decay: 0, constraint: 'none', radius: 1 };
const loss = {
  ...{ kind: 'cross-entropy', gamma: 0, smoothing: 0, margin: 1, epsilon: 0.1, ownLength: false, normalized: false },
  ...{ radius: 1, sum: false, regularization: 0 },
};
const descent = {
  ...{ loss, features: part, prototypes: part, biases: part, momentum: 0, nesterov: false, rescaled: false, batch: 0 },
  ...{ seed: 0, asItIs: false, measures: [], every: 1, stationary: -1 },
};
const begin = {
  trajectory: () => E.trajectoryStart(undefined, small, { gamma: 0.1, law }),
  collapse: () => E.collapseBegin({ dtype: 'float64', classes: 2, dim: 3, meanOfSamples: false, ddof: 0, cosines: true }),
  descent: () => E.descentBegin({ dtype: 'float64', samples: 4, classes: 2, dim: 3 }),
};
/** What takes a handle of each kind. */
const users = {
  trajectory: (handle) => E.trajectoryState(undefined, handle, { time: 0, unit: false }),
  collapse: (handle) => E.collapseSum(undefined, handle, chunk),
  descent: (handle) => E.descentAdd(handle, small, descent),
};

const large = stateOf(4000, 2, 1000);
const drop = () => structuredClone(null, { transfer: [large.features.buffer] });
/** A number whose reading takes the features' memory away. */
const detaching = (plan, key) => {
  const value = plan[key];
  return Object.defineProperty({ ...plan }, key, {
    get() {
      drop();
      return value;
    },
  });
};

const cases = {
  'the steps of a measurement out of order': () => E.collapseMeasure(undefined, begin.collapse(), chunk),
  'a result before anything': () => E.collapseResult(undefined, begin.collapse()),
  'a step after the result': () => {
    const handle = begin.collapse();
    E.collapseSum(undefined, handle, chunk);
    E.collapseCenter(undefined, handle);
    E.collapseMeasure(undefined, handle, chunk);
    E.collapseResult(undefined, handle);
    E.collapseMeasure(undefined, handle, chunk);
  },
  'a getter of the plan takes the features away': () =>
    E.tangentCurvature(undefined, large, detaching({ sum: false, steps: 2, seed: 0, tolerance: 0.1 }, 'tolerance')),
  'a getter of the state takes the features away': () => E.projections(undefined, detaching(large, 'dim')),
  'a constructor put in its place since takes the features away': () => {
    for (const name of ['ArrayBuffer', 'Float64Array']) {
      const Original = globalThis[name];
      globalThis[name] = (size) => {
        drop();
        return new Original(size);
      };
    }
    E.projections(undefined, large);
    throw Object.assign(new Error(), { code: 'done' });
  },
  'a setter that all objects have': () => {
    Object.defineProperty(Object.prototype, 'plus1', { set: drop, configurable: true });
    E.projections(undefined, large);
    throw Object.assign(new Error(), { code: 'done' });
  },
  'a getter of the mode throws': () =>
    E.matmul(
      {
        get progress() {
          throw Object.assign(new Error('mine'), { code: 'mine' });
        },
      },
      { a: numbers(12), b: numbers(12) },
      { m: 3, n: 3, k: 4, transposeA: false, transposeB: false, alpha: 1, beta: 0, batch: new Float64Array() },
    ),
  'more memory than there is': () =>
    E.collapseBegin({
      ...{ dtype: 'float64', classes: 2 ** 31 - 1, dim: 2 ** 31 - 1, meanOfSamples: false, ddof: 0, cosines: true },
    }),
  'a time that nothing has driven to': () => {
    const handle = E.trajectoryStart(undefined, small, { gamma: 0.1, law: { ...law, kind: 'stepped' } });
    E.trajectoryDrive(handle, { factors: numbers(2), factors2: numbers(2) });
    E.trajectoryState(undefined, handle, { time: 5, unit: false });
  },
  'a time that is none': () => E.trajectoryState(undefined, begin.trajectory(), { time: Number.NaN, unit: false }),
  'a state of a run that is being computed': () => {
    const handle = begin.descent();
    E.descentAdd(handle, small, descent);
    const { promise, cancel } = E.descentAdvance({}, handle, { rates: new Float64Array(3e6).fill(1e-9), steps: 1e6, shown: true });
    promise.catch(() => {}); // it is stopped
    try {
      // As soon as the job has begun it has the run.
      for (;;) E.descentState(handle, { run: 0, velocity: false });
    } finally {
      cancel();
    }
  },
};
for (const [kind, use] of Object.entries(users)) {
  for (const [other, make] of Object.entries(begin)) {
    if (other !== kind) cases[`a handle of a ${other} for one of a ${kind}`] = () => use(make());
  }
  cases[`a ${kind} that is disposed of`] = () => {
    const handle = begin[kind]();
    E.dispose(handle);
    E.dispose(handle);
    use(handle);
  };
  cases[`forged handles of a ${kind}`] = () => {
    const handle = begin[kind]();
    for (const forged of [{}, Object.create(handle), new Proxy(handle, {}), undefined, 5]) {
      try {
        use(forged);
        throw Object.assign(new Error(), { code: 'taken' });
      } catch (error) {
        if (error.code !== 'LP_OPTION') throw error;
      }
    }
    E.dispose({});
  };
}
for (const sizes of [
  [0, 0, 0],
  [0, 2, 3],
  [4, 0, 3],
  [4, 2, 0],
]) {
  const empty = stateOf(...sizes);
  const rates = new Float64Array(1);
  const step = { featureDecay: 0, prototypeDecay: 0, momentum: 0, nesterov: false };
  for (const [name, use] of Object.entries({
    products: () => E.products(undefined, empty, { gamma: 0.1 }),
    projections: () => E.projections(undefined, empty),
    descend: () => E.descend(undefined, empty, { gamma: 0.1, featureRates: rates, prototypeRates: rates, ...step }),
    lossAndGradient: () => E.lossAndGradient(undefined, empty, loss),
    measureLoss: () => E.measureLoss(undefined, empty, loss),
    margins: () => E.margins(undefined, empty),
    crossEntropyFlow: () =>
      E.crossEntropyFlow(
        undefined,
        { z: numbers((sizes[0] + sizes[1]) * sizes[2]), ...empty },
        { loss, biased: false, from: 0, to: 1, step: 0, tolerance: 0.1, maxSteps: 9 },
      ),
    sphericalStart: () => E.sphericalStart(undefined, empty, { gamma: 0.1 }),
    trajectoryStart: () => E.trajectoryStart(undefined, empty, { gamma: 0.1, law }),
  })) {
    cases[`${name} of ${sizes.join(', ')}`] = use;
  }
}

const names = process.argv.slice(2);
if (names.length === 0) console.log(JSON.stringify(Object.keys(cases)));
for (const name of names) {
  try {
    cases[name]();
    console.log('no error');
  } catch (error) {
    console.log(error.code ?? error);
  }
}
