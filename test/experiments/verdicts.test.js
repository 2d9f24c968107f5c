// Every statement of the papers that an experiment sets beside a measurement holds, and every curve that it draws is a column that
// it writes.
import { gradientDescentSync, randomState } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { experiments } from '../../lib/experiments/index.js';
import { drawnIn, recorder } from '../report/recorder.js';

// What is measured to be otherwise, and why: see the files of the experiments.
const departures = {
  // It falls, but up to t = 10²⁸⁹ more slowly than the other measures do.
  'lp-fig2': ['Within-class variation, features: about 1/log t'],
  // Every set of prototypes at the bound that adds up to nothing attains the minimum.
  'ul-losses': ['Lemma 1: the minimum is attained at a simplex ETF alone'],
};

/** Columns by figure and curve; what is not named here is drawn of numbers that are no columns. */
const byCurve = (figure, curve) => `${figure} (${curve})`;
const variation = { 'class means': 'featureNormVariation', prototypes: 'centeredPrototypeNormVariation' };
const cosines = { 'class means': 'featureCosine', prototypes: 'centeredPrototypeCosine' };
const columns = {
  ...Object.fromEntries(['ul-fig4', 'ul-fig5', 'ul-fig6', 'ul-fig7', 'ul-fig8', 'ul-fig15'].map((id) => [id, byCurve])),
  'ul-losses': (figure, curve) =>
    ({ nc1: byCurve('nc1', curve?.split(',')[0]), duality: byCurve('self-duality', curve?.split(',')[0]) })[figure],
  'lp-thm31': {
    ratios: { measured: 'attained' },
    margins: { 'q_{min}': 'normalized', 'smoothed margin γ̃': 'smoothed' },
    gap: { undefined: 'gap' },
    stationarity: { measured: 'stationarity', 'ε of Lemma B.1': 'epsilon' },
    complementarity: { measured: 'complementarity', 'δ of Lemma B.1': 'delta' },
  },
  'lp-thm34': {
    path: { undefined: 'loss' },
    escape: { 'at the saddle': 'loss, at the saddle', 'pushed by 10⁻⁶ along the eigenvector': 'loss, beside it' },
    leaving: { measured: 'distance' },
  },
  'lp-fig2': {
    'descent-norms': variation,
    'descent-cosines': cosines,
    'descent-within': { undefined: 'withinClassVariation' },
    'descent-duality': { undefined: 'selfDuality' },
  },
  'etf-thm2': {
    contraction: { measured: 'ratio, dot regression', '(1 + cos∠)/2': 'bound, dot regression' },
    rates: { 'cross-entropy, mean': 'rate that cross-entropy needs' },
    distances: { 'dot regression, γ = 1': 'distance, dot regression', 'cross-entropy, γ = 1': 'distance, cross-entropy at rate 1' },
  },
  'etf-minority': {
    learnable: Object.fromEntries([1, 2, 3, 5].map((energy) => [`E = ${energy}`, 'cosine of minority prototypes, learnable'])),
    fixed: Object.fromEntries([1, 2, 3, 5].map((energy) => [`E = ${energy}`, 'cosine of minority features, fixed'])),
  },
};

/** Asserts that the points of a curve are pairs of numbers in one row of a table. */
function assertColumn(tables, { name, x, y }, column, where) {
  const ownOf = (table) => ['step', 'time', 'ratio', 'alpha', 'logTime'].find((each) => each in table);
  const table = Object.values(tables).find((each) => column in each && ownOf(each));
  assert.ok(table, `${where}: there is no column ${column}`);
  const own = ownOf(table);
  const energy = /^E = (.*)$/.exec(name)?.[1];
  const pairs = new Set(
    table[own].flatMap((at, k) => (energy && table.energy[k] !== Number(energy) ? [] : [`${at} ${table[column][k]}`])),
  );
  assert.ok(x.length > 0 && x.every((at, k) => pairs.has(`${at} ${y[k]}`)), `${where} is not ${column} over ${own}`);
}

// UL Fig. 1 has a test of its own; UL Fig. 9 takes ten times as long as the others and is left to `reproduce`.
const records = new Map();
// Those with networks are in networks.test.js.
for (const { id, run, config } of experiments.filter(({ id, networks }) => !networks && !['ul-fig1', 'ul-fig9'].includes(id))) {
  test(id, async () => {
    const folder = recorder();
    const { verdicts } = await run({ signal: new AbortController().signal, progress: () => {}, folder }, config);
    records.set(id, folder.kept);
    assert.ok(verdicts.length >= 4);
    for (const { claim, paper, measured, holds } of verdicts) {
      const expected = !departures[id]?.some((start) => claim.startsWith(start));
      assert.is(holds, expected, `${claim}: ${paper}, but ${measured} was measured`);
    }
    const { metrics, figures } = folder.kept;
    const named = columns[id];
    let curves = 0;
    for (const [figure, spec] of Object.entries(figures)) {
      if (!('layer' in spec) || spec.data) continue; // a map
      for (const series of drawnIn(spec).series) {
        const column = typeof named === 'function' ? named(figure, series.name) : named[figure]?.[series.name];
        if (column === undefined) continue;
        assertColumn(metrics, series, column, `${figure}, ${series.name}`);
        curves++;
      }
    }
    assert.ok(curves >= 4, `${curves} curves`);
  });
}

test('a phase diagram has the columns as its cells', () => {
  const { metrics, figures } = records.get('etf-minority');
  const { energy, ratio, 'cosine of minority prototypes, learnable': cosine } = metrics.metrics;
  assert.equal(
    figures.phases.data.values.map(({ x, y, value }) => [x, y, value]),
    energy.map((own, k) => [ratio[k], own, cosine[k]]),
  );
});

test('the columns of a descent with weight decay are those of its states', () => {
  const { step, ...measured } = records.get('ul-fig8').metrics.metrics;
  const initial = randomState({ classes: 100, perClass: 10, dim: 512, seed: 0 });
  const lambda = (1 + 1 / 99) / (100 * Math.sqrt(10));
  const length = ({ data }) =>
    Math.hypot(...[...Array(data.length / 1024 + 1).keys()].map((k) => Math.hypot(...data.subarray(1024 * k, 1024 * k + 1024))));
  const apart = (a, b) => length({ data: a.data.map((value, k) => value - b.data[k]) });
  for (const s of [0.01, 0.5]) {
    const descent = gradientDescentSync(initial, {
      ...{ gamma: 1 / 99, weightDecay: lambda, learningRates: { features: 0.5 * s, prototypes: 0.5 } },
    });
    const end = descent.atSync(1e8);
    for (const row of [0, 100, 200]) {
      const { features, prototypes } = descent.atSync(step[row]);
      const [h, w] = [length(features), length(prototypes)];
      const wanted = {
        logFeatureNorm: Math.log(h),
        logPrototypeNorm: Math.log(w),
        featureDistance: apart(features, end.features),
        prototypeDistance: apart(prototypes, end.prototypes),
        normDifference: Math.abs(h - w) / Math.hypot(h, w),
      };
      for (const [name, value] of Object.entries(wanted)) {
        const found = measured[`${name} (s = ${s})`][row];
        assert.ok(Math.abs(found - value) < 1e-7 * Math.max(1, Math.abs(value)), `${name}: ${found}, not ${value}`);
      }
    }
    descent.dispose();
  }
});

test.run();
