// Reports made of results through `layerpeel/report`: what is drawn against the numbers of the result.
import {
  collapseSync,
  descentMeasures,
  evaluateSync,
  gradientFlowSync,
  projectedDescentSync,
  randomState,
  seededRandom,
} from 'layerpeel';
import { collapsePage, descentPage, evaluationPage, renderReport, simulationPage, trainingPage } from 'layerpeel/report';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../../helpers.js';
import { drawnIn } from '../recorder.js';

const figuresIn = ({ sections }) =>
  Object.fromEntries(sections.flatMap(({ figures = [] }) => figures).map((figure) => [figure.name, figure]));
const seriesOf = (figure) => drawnIn(figure.spec).series;
const list = (values) => Array.from(values);

test('collapse: the norms, the spectrum, and the cosines of every pair', () => {
  const measured = collapseSync(randomState({ counts: [9, 7, 5], dim: 6, seed: 2, dtype: 'float64' }));
  const page = collapsePage(measured, { name: 'h.npy', parameters: { of: 'a test' } });
  const figures = figuresIn(page);
  assert.equal(Object.keys(figures), ['spectrum', 'norms', 'class-mean-cosines', 'prototype-cosines']);
  assert.equal(seriesOf(figures.spectrum)[0].y, list(measured.spectrum));
  const mean = measured.classNorms.reduce((sum, norm) => sum + norm / 3, 0);
  for (const [c, y] of seriesOf(figures.norms)[0].y.entries()) assert.ok(Math.abs(y - measured.classNorms[c] / mean) < 1e-12);
  for (const { left, top, value } of figures['prototype-cosines'].spec.data.values) {
    assert.is(value, measured.prototypeCosines.data[3 * top + left]);
  }
  assert.equal(page.parameters, { of: 'a test', samples: 21, classes: 3, dim: 6, counts: [9, 7, 5] });
  const [table] = page.sections[1].tables;
  for (const [name, value] of table.rows) assert.is(value, measured[name], name);
});

test('collapse without matrices: how often each cosine is there', () => {
  const measured = collapseSync(randomState({ classes: 12, perClass: 3, dim: 4, seed: 2 }), { cosines: false });
  const figures = figuresIn(collapsePage(measured, { name: 'many' }));
  for (const [name, pairs] of [
    ['class-mean-cosines', measured.featurePairs],
    ['prototype-cosines', measured.centeredPrototypePairs],
  ]) {
    const { series, rules, labels } = drawnIn(figures[name].spec);
    assert.equal([rules, labels], [[{ x: -1 / 11 }], ['simplex']]);
    const [{ mark, x, right, y }] = series;
    assert.equal([mark, x.length, x[0], right.at(-1)], ['bars', 200, -1, 1]);
    assert.equal(
      y.map((share) => Math.round(66 * share)),
      list(pairs.histogram),
    );
    assert.match(figures[name].caption, /^Of 66 pairs, from −?0\.\d+ to 0\.\d+; all −0\.0909 at collapse\.$/);
  }
});

test('evaluation: bars of classes and of the reliability diagram', () => {
  const random = seededRandom(1);
  const labels = Int32Array.from({ length: 60 }, (_, i) => i % 3);
  const data = random.fillNormal(new Float64Array(180));
  for (const [i, label] of labels.entries()) data[3 * i + label] += 1;
  const result = evaluateSync({ logits: { shape: [60, 3], data }, labels }, { resamples: 20, confidence: 0.9 });
  const page = evaluationPage(result, { name: 'z', confidence: 0.9 });
  const figures = figuresIn(page);
  assert.equal(
    seriesOf(figures.classes)[0].y,
    list(result.perClass).map((share) => 100 * share),
  );
  const [bars, points] = seriesOf(figures.reliability);
  const { accuracy, confidence, counts } = result.calibration.reliability;
  const filled = list(counts.keys()).filter((bin) => counts[bin] > 0);
  assert.equal(
    [bars.y, points.x, points.y],
    [filled.map((bin) => accuracy[bin]), filled.map((bin) => confidence[bin]), filled.map((bin) => accuracy[bin])],
  );
  assert.match(page.lead, /^Of 60 samples of 3 classes [\d.]+% are decided right\. In brackets are 90% bootstrap intervals\.$/);
  assert.not.match(evaluationPage({ ...result, intervals: {} }, { name: 'z' }).lead, /brackets/);
});

test('simulation: a figure of each quantity over its times, the limit and the events', () => {
  const state = randomState({ classes: 4, perClass: 5, dim: 6, seed: 1 });
  const flow = gradientFlowSync(state, { gamma: 0.1, rates: { features: 1, prototypes: 1 } });
  const times = [0, 1, 2, 40];
  const measured = flow.measureSync(times, ['accuracy', 'distanceToLimit', 'loss']);
  const [event, limit] = [{ name: 'accuracy', value: 1, to: 100 }, flow.limitSync()];
  const result = { dynamics: 'gradientFlow', state, clock: 'time', times, measured, limit, events: [{ event, at: 7 }] };
  const page = simulationPage(result, { name: 'run' });
  const figures = figuresIn(page);
  assert.equal(Object.keys(figures), ['accuracy', 'distanceToLimit', 'loss']);
  const drawn = drawnIn(figures.accuracy.spec);
  assert.equal([drawn.series[0].x, drawn.series[0].y, drawn.x.scale], [times, list(measured.accuracy), 'linear']);
  assert.is(drawnIn(figures.distanceToLimit.spec).y.scale, 'log');
  // The loss falls below all bounds.
  assert.equal(seriesOf(figures.loss)[0].y, list(measured.loss).map(Math.abs));
  assert.match(page.lead, /^gradientFlow of 20 samples in 4 classes and 6 dimensions, computed exactly at 4 times from 0 to 40\.$/);
  assert.equal(page.sections[2].tables[0].rows, [['accuracy reaches 1', 7]]);
  assert.equal(page.sections[1].text, [limit.statement]);
});

test('descent: a figure of each column, and why it ended', () => {
  const state = randomState({ classes: 3, perClass: 4, dim: 5, seed: 1 });
  const options = { learningRates: { features: 0.1, prototypes: 0.1 }, steps: 20, measure: { names: ['loss', 'gradientNorm'] } };
  const [end] = projectedDescentSync({ loss: { kind: 'cross-entropy' }, state }, options);
  const page = descentPage({ loss: 'cross-entropy', steps: 20, columns: end.measures, end }, { name: 'run' });
  const figures = figuresIn(page);
  for (const name of ['loss', 'gradientNorm']) {
    const [{ x, y }] = seriesOf(figures[name]);
    assert.equal([x, y], [list(end.measures.step), list(end.measures[name])]);
    assert.is(figures[name].caption.toLowerCase().slice(0, 8), descentMeasures[name].toLowerCase().slice(0, 8));
  }
  assert.is(drawnIn(figures.gradientNorm.spec).y.scale, 'log');
  assert.is(page.lead, 'Projected descent under cross-entropy, to step 20 of 20. All steps are done.');
  const diverged = { step: 3, reason: 'diverged', advice: 'Take less.', projected: ['features'] };
  assert.match(
    descentPage({ loss: 'mse', steps: 20, columns: {}, end: diverged }, { name: 'run' }).lead,
    /to step 3 of 20\. The loss of the next step is not finite.* Take less\. The features of the start were projected/,
  );
});

test('a page becomes one file of HTML, with all of its figures in it', async () => {
  const measured = collapseSync(randomState({ classes: 3, perClass: 4, dim: 5 }));
  const page = collapsePage(measured, { name: 'a state' });
  const html = await renderReport(page, { command: 'node script.js' });
  assert.equal([html.match(/<figure>/g).length, html.match(/<svg role="img"/g).length], [4, 4]);
  assert.match(html, /<p class="command"><code>node script\.js<\/code><\/p>/);
  assert.not.match(await renderReport(page), /class="command"|undefined/);
});

test('what is no result is refused', async () => {
  for (const page of [collapsePage, evaluationPage, simulationPage, descentPage, trainingPage]) {
    await refuses('LP_OPTION', /^result is missing; expected what [\w ]+ gives\.$/, () => page(undefined, { name: 'x' }));
    await refuses('LP_OPTION', /^result\.\w+ is missing; expected what [\w ]+ gives\.$/, () => page({}, { name: 'x' }));
  }
  await refuses('LP_OPTION', /result\.title is missing; expected what a page of layerpeel\/report gives/, () => renderReport({}));
});

test.run();
