/**
 * LP §3.2: on a sphere every stationary point but neural collapse is a strict saddle. Example 3.1, whose gradient is parallel to
 * it, with its path down; and Theorem 3.4 at stationary points from random starts.
 *
 * Those are found where they are minima: in r < K−1 dimensions, by descent with a weight decay, which ends where ∇L = −λθ. In
 * d ≥ K dimensions, the new ones zero, they are stationary still. There the proof of Theorem 3.4 has its direction,
 * (u aᵀ, v aᵀ)/√2 with a unit vector a orthogonal to all features and prototypes and singular vectors u, v of ∇_Z L, along which
 * the curvature is λ − σ₁(∇_Z L): the lowest eigenvalue can only be below it.
 */
import type { NDArray, State } from '../array/ndarray.js';
import { seededRandom } from '../array/random.js';
import { type Constraint, projectedDescent } from '../dynamics/projected.js';
import { type TangentCurvature, tangentCurvature } from '../losses/curvature.js';
import { measureLoss } from '../losses/losses.js';
import { margins } from '../losses/margins.js';
import { lineChart } from '../report/figure.js';
import { randomState } from '../state/random-state.js';
import { saddleExample } from '../theory/saddle-example.js';
import { collapsed } from './collapsed.js';
import type { Experiment, ExperimentContext, Findings } from './experiment.js';
import { last, slope, states, vanishes, within } from './fit.js';
import { norm } from './setting.js';

const loss = { kind: 'cross-entropy' } as const;
const reduction = 'sum' as const;
const config = {
  shapes: [
    { classes: 4, perClass: 2 },
    { classes: 5, perClass: 3 },
    { classes: 6, perClass: 2 },
  ],
  starts: 4,
  seed: 7,
  descent: { learningRate: 0.1, momentum: 0.9, steps: 20_000 },
  leaving: { learningRate: 0.5, steps: 400, push: 1e-6 },
};
type Config = typeof config;

const brief = (x: number) => Number(x.toPrecision(4));
const radius = (x: State) => Math.hypot(norm(x.features), norm(x.prototypes));
/** The point of the sphere through `x` at `angle` from it along a direction. */
function turned(x: State, direction: TangentCurvature['direction'], angle: number): State {
  const length = radius(x);
  const part = (name: 'features' | 'prototypes') => {
    const along = direction[name].data;
    const turn = (value: number, k: number) => Math.cos(angle) * value + length * Math.sin(angle) * (along[k] as number);
    return { ...x[name], data: x[name].data.map(turn) };
  };
  return { ...x, features: part('features'), prototypes: part('prototypes') };
}

/** Example 3.1: the saddle itself, its path, and descent from beside it. */
async function example({ signal, folder, progress }: ExperimentContext, { leaving }: Config) {
  const saddle = saddleExample();
  const lossOf = async (state: State) => (await measureLoss(loss, state, { reduction, signal })).value;
  const [e2, e4] = [Math.exp(-2), Math.exp(-4)];
  const start = await lossOf(saddle);
  const floor = 4 * Math.log1p(3 * Math.exp(-8 / 3)); // collapse of the same norm, 16: all margins are 16/(2·3)

  const alphas = Array.from({ length: 81 }, (_, k) => (k - 40) / 50);
  const path: number[] = [];
  for (const alpha of alphas) path.push(await lossOf(saddleExample(alpha)));
  const h = 1e-3;
  const second = (2 * ((await lossOf(saddleExample(h))) - start)) / h ** 2; // f is even
  const curvature = await tangentCurvature(saddle, { reduction, signal });
  const end = await margins(saddleExample(0.5), { signal });

  const ball: Constraint = { kind: 'frobenius', radius: norm(saddle.features) };
  const constraints = { features: ball, prototypes: ball };
  const rates = { features: leaving.learningRate, prototypes: leaving.learningRate };
  const follow = async (state: State) => {
    const columns = { loss: [] as number[], distance: [] as number[] };
    const problem = { loss, state, reduction, constraints, target: { features: saddle.features, prototypes: saddle.prototypes } };
    const measure = { names: ['loss', 'distance'] as const };
    for await (const { measures } of projectedDescent(problem, { learningRates: rates, steps: leaving.steps, measure, signal })) {
      columns.loss.push(...(measures.loss as Float64Array));
      columns.distance.push(...(measures.distance as Float64Array));
    }
    return columns;
  };
  progress(0.1, 'descent from the example');
  const still = await follow(saddle);
  const pushed = await follow(turned(saddle, curvature.direction, leaving.push));
  const step = Array.from(pushed.loss.keys());
  await folder.metrics({ alpha: alphas, loss: path }, 'path');
  await folder.metrics(
    { step, 'loss, at the saddle': still.loss, 'loss, beside it': pushed.loss, distance: pushed.distance },
    'escape',
  );

  // A step of projected descent multiplies what is off the saddle, along the eigenvector, by 1 − η κ/(1 + ηλ).
  const { learningRate } = leaving;
  const factor = 1 - (learningRate * curvature.eigenvalue) / (1 + learningRate * curvature.multiplier);
  const small = (_: number, y: number) => y > Math.log(1e-5) && y < Math.log(1e-3);
  const growth = slope(step, pushed.distance.map(Math.log), small);
  const expected = step.map((k) => (pushed.distance[0] as number) * factor ** k);
  const figures = [
    await folder.figure(
      'path',
      lineChart({
        title: 'The path of Example 3.1',
        x: { title: 'α' },
        y: { title: 'L' },
        series: [{ x: alphas, y: path }],
        rules: [{ y: floor }],
      }),
      'Norms stay along the path. At α = ±½ it is at neural collapse (dotted).',
    ),
    await folder.figure(
      'escape',
      lineChart({
        title: 'Projected descent from the example',
        x: { title: 'step' },
        y: { title: 'L' },
        series: [
          { name: 'at the saddle', x: step, y: still.loss },
          { name: 'pushed by 10⁻⁶ along the eigenvector', x: step, y: pushed.loss },
        ],
        rules: [{ y: floor, label: 'neural collapse' }],
      }),
      'Norms of features and prototypes are held in balls of the saddle’s.',
    ),
    await folder.figure(
      'leaving',
      lineChart({
        title: 'Distance from the saddle',
        x: { title: 'step', domain: [0, 300] },
        y: { title: '‖θ − saddle‖', scale: 'log' },
        series: [
          { name: 'measured', x: step, y: pushed.distance },
          { name: '(1 − ηκ/(1 + ηλ))ᵏ', x: step, y: expected.map((y) => (y < 10 ? y : Number.NaN)) },
        ],
      }),
      'κ is the lowest eigenvalue, λ the multiplier, η the learning rate.',
    ),
  ];
  return {
    figures,
    verdicts: [
      vanishes('Example 3.1: part of the gradient along the sphere', curvature.tangentGradient, 16 * Number.EPSILON),
      within(
        'Example 3.1: −∇L = λθ with λ = (2 + 2e^{−2})/(2 + e^{−2} + e^{2})',
        (2 + 2 * e2) / (2 + e2 + 1 / e2),
        curvature.multiplier,
        16 * Number.EPSILON,
      ),
      // The fourth derivative over the second is of the order of 10, the difference of the losses is rounded by ε/h².
      within(
        'Example 3.1: f″(0) = 64e^{−2}(e^{−2} − 1)/(1 + e^{−2})^{2}, by a second difference',
        (64 * e2 * (e2 - 1)) / (1 + e2) ** 2,
        second,
        10 * h ** 2,
      ),
      // The path leaves along θ'(0), of squared norm 32, which is the direction of the theorem's proof.
      within(
        'Example 3.1: the lowest eigenvalue is that of its path, f″(0)/32 = λ − σ_{1}(∇_{Z}L)',
        (2 * (e4 - e2)) / (1 + e2) ** 2,
        curvature.eigenvalue,
        1e-8,
      ),
      vanishes(
        'Example 3.1: the path ends at collapse, gap over bound at α = ½',
        (end.gap as number) / (end.bound as number),
        1e-14,
      ),
      // To the square of the distances that are looked at, over the norm of 4.
      within('A push of 10⁻⁶ along the eigenvector grows by 1 − ηκ/(1 + ηλ) a step, logarithm', Math.log(factor), growth, 1e-6),
      within(`… and descent ends at the loss of collapse, after ${leaving.steps} steps`, floor, last(pushed.loss), 1e-9),
    ],
  };
}

/** A matrix with more columns, of zeros. */
function widened({ shape, data }: NDArray, dim: number): NDArray {
  const [rows, columns] = shape as [number, number];
  const out = new Float64Array(rows * dim);
  for (let i = 0; i < rows; i++) out.set(data.subarray(i * columns, (i + 1) * columns), i * dim);
  return { shape: [rows, dim], data: out };
}

/** The largest singular value of `∇_Z L`, `[n, K]`: of `softmax(Z) − Y`, by power iteration. */
function slopeOfLogits({ features, prototypes, labels }: State): number {
  const [samples, dim] = features.shape as [number, number];
  const classes = prototypes.shape[0] as number;
  const slopes = Array.from({ length: samples }, (_, i) => {
    const logits = Array.from({ length: classes }, (_, c) => {
      let sum = 0;
      for (let j = 0; j < dim; j++) sum += (features.data[i * dim + j] as number) * (prototypes.data[c * dim + j] as number);
      return Math.exp(sum);
    });
    const total = logits.reduce((sum, x) => sum + x, 0);
    return logits.map((x, c) => x / total - (c === labels[i] ? 1 : 0));
  });
  let vector = Array.from({ length: classes }, (_, c) => Math.cos(c + 1));
  let size = 0;
  for (let round = 0; round < 2000; round++) {
    const image = slopes.map((row) => row.reduce((sum, x, c) => sum + x * (vector[c] as number), 0));
    const back = vector.map((_, c) => slopes.reduce((sum, row, i) => sum + (row[c] as number) * (image[i] as number), 0));
    const length = Math.hypot(...back);
    vector = back.map((x) => x / length);
    size = Math.sqrt(length);
  }
  return size;
}

/** What is found at one stationary point and at collapse of the same norm. */
interface Point {
  readonly eigenvalue: number;
  readonly above: number;
  readonly fallen: number;
  readonly [key: string]: number;
}

/** Stationary points from random starts, in more dimensions than they were found in. */
async function theorem({ signal, folder, progress }: ExperimentContext, { shapes, starts, seed, descent }: Config) {
  const random = seededRandom(seed);
  const points: Point[] = [];
  const tally = { saddles: 0, optima: 0, lopsided: 0, confined: 0 };
  const tasks = shapes.flatMap((shape) =>
    Array.from({ length: (shape.classes - 2) * starts }, (_, k) => ({
      ...shape,
      rank: 1 + Math.floor(k / starts),
      start: k % starts,
    })),
  );
  for (const [k, { classes, perClass, rank, start }] of tasks.entries()) {
    progress(0.2 + (0.8 * k) / tasks.length, `${classes} classes, ${rank} dimensions`);
    const decay = Math.sqrt(perClass) * (0.1 + 0.5 * random.uniform()); // of √N and more the origin is the minimum
    const problem = {
      loss,
      state: randomState({ classes, perClass, dim: rank, seed: start }),
      reduction,
      weightDecay: { features: decay, prototypes: decay },
    };
    const { learningRate, ...rest } = descent;
    const options = { learningRates: { features: learningRate, prototypes: learningRate }, ...rest, signal };
    let found = problem.state;
    for await (const { state } of projectedDescent(problem, options)) found = state;
    const dim = classes;
    const point = { ...found, features: widened(found.features, dim), prototypes: widened(found.prototypes, dim) };
    const square = radius(point) ** 2;
    const best = collapsed({ classes, perClass, dim, square });
    const look = (state: State) => tangentCurvature(state, { reduction, signal });
    const [here, inside, there, lopsided] = [
      await look(point),
      await look(found),
      await look(best),
      await look(collapsed({ classes, perClass, dim, square, ratio: 1.1 })),
    ];
    const lossOf = async (state: State) => (await measureLoss(loss, state, { reduction, signal })).value;
    const [value, least] = [await lossOf(point), await lossOf(best)];
    tally.saddles += here.kind === 'strict-saddle' ? 1 : 0;
    tally.confined += inside.kind === 'optimum' ? 1 : 0;
    tally.optima += there.kind === 'optimum' ? 1 : 0;
    tally.lopsided += lopsided.kind === 'not-stationary' ? 1 : 0;
    points.push({
      classes,
      rank,
      multiplier: here.multiplier,
      eigenvalue: here.eigenvalue,
      proof: here.multiplier - slopeOfLogits(point),
      collapse: there.eigenvalue,
      above: value - least,
      fallen: (await lossOf(turned(point, here.direction, 0.01))) - value,
      expected: classes * perClass * Math.log1p((classes - 1) * Math.exp(-square / (2 * (classes - 1) * Math.sqrt(perClass)))),
      least,
    });
  }
  const column = (name: string) => points.map((each) => each[name] as number);
  await folder.metrics(Object.fromEntries(Object.keys(points[0] as Point).map((name) => [name, column(name)])));
  const count = points.length;
  const share = (name: string) => points.map((each) => (each[name] as number) / (each.multiplier as number));
  const figure = await folder.figure(
    'eigenvalues',
    lineChart({
      title: 'Lowest eigenvalue on the tangent space',
      x: { title: 'loss above that of collapse of the same norm' },
      y: { title: 'κ/λ' },
      series: [
        ...shapes.map(({ classes }) => ({
          name: `K = ${classes}`,
          x: column('above').filter((_, k) => points[k]?.classes === classes),
          y: share('eigenvalue').filter((_, k) => points[k]?.classes === classes),
          mark: 'points' as const,
        })),
        { name: 'collapse', x: points.map(() => 0), y: share('collapse'), mark: 'points' as const },
      ],
      rules: [{ y: 0 }],
    }),
    'Stationary points from random starts, over their multiplier λ.',
  );
  const excess = Math.max(
    ...points.map(({ eigenvalue, proof, multiplier }) => (eigenvalue - (proof as number)) / (multiplier as number)),
  );
  const of = (found: number) => `${found} of ${count}`;
  return {
    figures: [figure],
    verdicts: [
      states(
        'Stationary points without collapse are strict saddles (Theorem 3.4)',
        'all',
        of(tally.saddles),
        tally.saddles === count,
      ),
      // To the residual that the eigenpair is found with.
      states(
        'Their lowest eigenvalue is at most λ − σ_{1}(∇_{Z}L) (its proof), largest excess over λ',
        '≤ 0',
        brief(excess),
        excess < 1e-6,
      ),
      states(
        'A turn by 0.01 along the eigenvector lowers the loss at the same norm',
        'all',
        of(points.filter(({ fallen }) => fallen < 0).length),
        points.every(({ fallen }) => fallen < 0),
      ),
      states('Collapse with ‖W‖ = ‖H‖ is an optimum: no direction leads down', 'all', of(tally.optima), tally.optima === count),
      vanishes(
        'Its loss is n log(1 + (K−1) e^{−q}), q the bound of Theorem 3.1 (Theorem 3.3), largest relative difference',
        Math.max(...points.map(({ least, expected }) => Math.abs((least as number) / (expected as number) - 1))),
        1e-13,
      ),
      states(
        'It is below that of every other stationary point of the norm (Theorem 3.3), smallest difference',
        '> 0',
        brief(Math.min(...points.map(({ above }) => above))),
        points.every(({ above }) => above > 0),
      ),
      states('Collapse with ‖H‖ = 1.1 ‖W‖ is not stationary on the sphere', 'all', of(tally.lopsided), tally.lopsided === count),
      states(
        'In fewer than K−1 dimensions, where there is no collapse, the same points have no way down',
        '–',
        of(tally.confined),
        tally.confined === count,
      ),
    ],
  };
}

export const experiment: Experiment<Config> = {
  id: 'lp-thm34',
  title: 'all stationary points but collapse are strict saddles',
  source: 'LP Example 3.1, Theorems 3.3, 3.4',
  summary: 'The example, its path and the escape from it; lowest curvature at stationary points from random starts and at collapse',
  config,
  async run(context, config): Promise<Findings> {
    const first = await example(context, config);
    const second = await theorem(context, config);
    return {
      lead:
        'On the sphere through a state whose gradient is parallel to it, the lowest eigenvalue κ of ∇²L + λI on the tangent space ' +
        'tells whether a way leads down. At the paper’s example everything is known in closed form. Other stationary points are found by ' +
        'descent from random starts, with a random weight decay, in too few dimensions for collapse; then they are given the room.',
      verdicts: [...first.verdicts, ...second.verdicts],
      sections: [
        {
          title: 'Example 3.1',
          formulas: ['f(α) = L(W′(α), H′(α)),   f′(0) = 0,   f″(0) < 0'],
          figures: first.figures,
        },
        {
          title: 'Theorem 3.4',
          formulas: ['κ = min v^{T}(∇²L + λI)v,   ‖v‖ = 1,   ⟨v, θ⟩ = 0'],
          text: [
            'The proof takes a vector orthogonal to all features and prototypes, and so more dimensions than these span. Where there are fewer ' +
              'than K−1, the minimum on a sphere is another one, and no saddle.',
          ],
          figures: second.figures,
        },
      ],
    };
  },
};
