// The layer-peeled model under the unhinged loss by brute force, straight from its definition: the loss over all logits,
// descent by iterating the optimizer's update, flow by Runge–Kutta steps. Everything in plain double loops.

/** `{ features, prototypes, biases }` as Float64Arrays, and what derivatives need. */
export function model(state, gamma) {
  const [n, p] = state.features.shape;
  const [classes] = state.prototypes.shape;
  return { n, p, classes, gamma, labels: state.labels };
}

export const parametersOf = (state) => ({
  features: Float64Array.from(state.features.data),
  prototypes: Float64Array.from(state.prototypes.data),
  biases: Float64Array.from(state.biases?.data ?? new Float64Array(state.prototypes.shape[0])),
});

/** Logits `[n][C]`. */
export function logits({ n, p, classes }, { features, prototypes, biases }) {
  return Array.from({ length: n }, (_, i) =>
    Array.from({ length: classes }, (_, c) => {
      let sum = biases[c];
      for (let j = 0; j < p; j++) sum += features[i * p + j] * prototypes[c * p + j];
      return sum;
    }),
  );
}

export function loss(of, x) {
  const all = logits(of, x);
  let sum = 0;
  for (const [i, z] of all.entries()) {
    for (let c = 0; c < of.classes; c++) sum += c === of.labels[i] ? -z[c] : of.gamma * z[c];
  }
  return sum / of.n;
}

/** Margins `z_y − max_{j≠y} z_j`, and whether the label wins, the lowest class of several that tie being chosen. */
export function margins(of, x) {
  return logits(of, x).map((z, i) => {
    const y = of.labels[i];
    const margin = z[y] - Math.max(...z.filter((_, c) => c !== y));
    return { margin, correct: z.indexOf(Math.max(...z)) === y };
  });
}

/** The gradient of the loss: `∂L/∂z_{ic} = (−[c = y_i] + γ [c ≠ y_i])/n` through the logits. */
export function gradient({ n, p, classes, gamma, labels }, { features, prototypes }) {
  const g = {
    features: new Float64Array(n * p),
    prototypes: new Float64Array(classes * p),
    biases: new Float64Array(classes),
  };
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < classes; c++) {
      const d = (c === labels[i] ? -1 : gamma) / n;
      for (let j = 0; j < p; j++) {
        g.features[i * p + j] += d * prototypes[c * p + j];
        g.prototypes[c * p + j] += d * features[i * p + j];
      }
      g.biases[c] += d;
    }
  }
  return g;
}

const names = ['features', 'prototypes', 'biases'];

/** The usual SGD optimizer, `steps` times; `factor(k, name)` multiplies the learning rate of step `k`. */
export function descend(state, { gamma, learningRates, weightDecay, momentum = 0, nesterov = false, factor = () => 1 }, steps) {
  const of = model(state, gamma);
  const x = parametersOf(state);
  const rate = { ...learningRates, biases: learningRates.prototypes };
  const decay = { features: 0, prototypes: 0, ...weightDecay };
  decay.biases = decay.prototypes;
  let velocity;
  for (let k = 0; k < steps; k++) {
    const g = gradient(of, x);
    for (const name of names) for (let i = 0; i < x[name].length; i++) g[name][i] += decay[name] * x[name][i];
    velocity = velocity
      ? Object.fromEntries(names.map((name) => [name, velocity[name].map((v, i) => momentum * v + g[name][i])]))
      : Object.fromEntries(names.map((name) => [name, g[name].slice()]));
    for (const name of names) {
      for (let i = 0; i < x[name].length; i++) {
        const step = nesterov ? g[name][i] + momentum * velocity[name][i] : velocity[name][i];
        x[name][i] -= rate[name] * factor(k, name) * step;
      }
    }
  }
  return x;
}

/** The flow with rates `eta1(t)`, `eta2(t)` up to `time`, by `steps` classical Runge–Kutta steps. */
export function flow(state, { gamma, eta1, eta2, weightDecay }, time, steps) {
  const of = model(state, gamma);
  const decay = { features: 0, prototypes: 0, ...weightDecay };
  const slope = (t, x) => {
    const g = gradient(of, x);
    const side = (name, eta, lambda) => x[name].map((value, i) => -eta(t) * (g[name][i] + lambda * value));
    return {
      features: side('features', eta1, decay.features),
      prototypes: side('prototypes', eta2, decay.prototypes),
      biases: side('biases', eta2, decay.prototypes),
    };
  };
  const plus = (x, h, k) => Object.fromEntries(names.map((name) => [name, x[name].map((v, i) => v + h * k[name][i])]));
  let x = parametersOf(state);
  const h = time / steps;
  for (let s = 0; s < steps; s++) {
    const t = s * h;
    const k1 = slope(t, x);
    const k2 = slope(t + h / 2, plus(x, h / 2, k1));
    const k3 = slope(t + h / 2, plus(x, h / 2, k2));
    const k4 = slope(t + h, plus(x, h, k3));
    x = plus(plus(plus(plus(x, h / 6, k1), h / 3, k2), h / 3, k3), h / 6, k4);
  }
  return x;
}

export const norm = (...arrays) => Math.sqrt(arrays.reduce((sum, array) => array.reduce((s, v) => s + v * v, sum), 0));
