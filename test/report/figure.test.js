import { seededRandom } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { heatmap, lineChart, phaseDiagram, renderSvg } from '../../lib/report/figure.js';
import { formatNumber, linearTicks, logTicks } from '../../lib/report/ticks.js';
import { drawnIn } from './recorder.js';

/** Throws unless tags nest properly and text holds no bare markup: well-formedness, without an XML library. */
function checkXml(text) {
  const open = [];
  for (const [, close, name, attributes, empty] of text.matchAll(/<(\/?)([\w:-]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g)) {
    if (close) assert.is(open.pop(), name);
    else if (!empty) open.push(name);
    assert.not.match(attributes, /&(?!#?\w+;)/);
  }
  assert.equal(open, []);
  assert.not.match(text.replace(/<(\/?)([\w:-]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g, ''), /[<>]|&(?!#?\w+;)/);
}

const texts = (svg) => Array.from(svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g), ([, text]) => text);
const counted = (length, f) => Float64Array.from({ length }, (_, i) => f(i));

test('a chart has its title, axis titles, legend and powers of ten', async () => {
  const x = counted(1000, (i) => i * 100);
  const svg = await renderSvg(
    lineChart({
      title: 'Distance & "limit" <1>',
      x: { title: 'step' },
      y: { title: '‖Ẑ(t) − Z̄‖', scale: 'log' },
      rules: [{ y: Math.SQRT2, label: '√2' }],
      series: [
        { name: 'γ = 0', x, y: x.map((v) => Math.exp(-v / 5000)) },
        { name: 'γ < 1', x, y: x.map((v) => Math.exp(-v / 9000)), mark: 'points' },
      ],
    }),
  );
  checkXml(svg);
  const all = texts(svg);
  for (const text of ['step', '‖Ẑ(t) − Z̄‖', 'γ = 0', 'γ &lt; 1', '10⁰', '10⁻⁴', '20,000', '√2'])
    assert.ok(all.includes(text), text);
  assert.match(svg, /^<svg role="img" aria-label="Distance &#38; &#34;limit&#34; &#60;1&#62;"/);
  assert.not.match(svg, /NaN|undefined/);
});

test('points at the edge of a given domain are drawn whole, points beyond it not at all', async () => {
  const svg = await renderSvg(
    lineChart({
      title: 't',
      x: { title: 'x', domain: [0, 2], whole: true },
      y: { title: 'y' },
      series: [{ mark: 'points', x: [0, 1, 2, 2.01, -3], y: [1, 2, 3, 2, 2] }],
    }),
  );
  checkXml(svg);
  assert.is(svg.match(/fill="#0072B2"/g).length, 3);
  assert.not.match(svg, /clip-path/);
});

test('scripts are lowered and raised, without a trace of their notation', async () => {
  const svg = await renderSvg(
    lineChart({
      title: 'Spectrum of Σ_{W} Σ_{B}⁺',
      x: { title: '10^{k}' },
      y: { title: 'file_name' },
      series: [
        { name: 'q_{a < b}', x: [0, 1], y: [0, 1] },
        { name: 'r', x: [0, 1], y: [1, 0] },
      ],
    }),
  );
  checkXml(svg);
  assert.ok(
    svg.includes(
      'Spectrum of Σ<tspan dy="3" font-size="75%">W</tspan><tspan dy="-3"> Σ</tspan><tspan dy="3" font-size="75%">B</tspan><tspan dy="-3">⁺</tspan><',
    ),
  );
  assert.ok(svg.includes('10<tspan dy="-4" font-size="75%">k</tspan></text>'));
  assert.ok(svg.includes('q<tspan dy="3" font-size="75%">a &lt; b</tspan></text>'));
  assert.ok(svg.includes('>file_name</text>'));
  assert.ok(svg.includes('aria-label="Spectrum of Σ_W Σ_B⁺"'));
});

test('bars stand on 0 from their left to their right edges', async () => {
  const svg = await renderSvg(
    lineChart({
      title: 't',
      x: { title: 'x', domain: [0, 4] },
      y: { title: 'y', domain: [0, 10] },
      width: 400,
      height: 100,
      series: [
        { name: 'a', mark: 'bars', x: [0, 1, 2], right: [1, 2, 4], y: [10, Number.NaN, 5] },
        { name: 'b', mark: 'bars', x: [3], right: [4], y: [2] },
      ],
    }),
  );
  checkXml(svg);
  const bars = Array.from(
    svg.matchAll(/<path [^>]*d="M([\d.]+),([\d.]+)h([\d.]+)v([\d.]+)h-[\d.]+Z"[^>]*fill-opacity="0.3"/g),
    (match) => match.slice(1, 5).map(Number),
  );
  for (const bar of [
    [0, 0, 100, 100],
    [200, 50, 200, 50],
    [300, 80, 100, 20],
  ])
    assert.ok(
      bars.some((each) => String(each) === String(bar)),
      `${bar} is not among ${bars.join('; ')}`,
    );
  assert.is(bars.filter(([, , , height]) => height > 10).length, 3); // and two of the legend
});

test('what an axis cannot show leaves a gap', async () => {
  const y = [1, 2, Number.NaN, 3, 4, Number.NEGATIVE_INFINITY, 0, -1, 5, 6];
  const svg = await renderSvg(
    lineChart({
      title: 't',
      x: { title: 'x' },
      y: { title: 'y', scale: 'log' },
      series: [{ name: 'a', x: [...y.keys()], y }],
    }),
  );
  checkXml(svg);
  assert.not.match(svg, /NaN|Infinity/);
  const line = /class="mark-line[^>]*><path d="([^"]*)"/.exec(svg)?.[1] ?? '';
  assert.is(line.match(/M/g).length, 3);
});

test('series without a drawable value, or of one value, still give axes', async () => {
  for (const y of [[], [0], [-1], [Number.NaN], [7], [7, 7, 7], [1e-300], [1e308]]) {
    for (const scale of ['linear', 'log']) {
      const svg = await renderSvg(
        lineChart({
          title: 't',
          x: { title: 'time' },
          y: { title: 'loss', scale },
          series: [{ name: 'a', x: y.map((_, i) => i), y }],
        }),
      );
      checkXml(svg);
      assert.ok(texts(svg).includes('loss'));
      assert.not.match(svg, /NaN|Infinity|undefined/);
    }
  }
});

test('a long series is thinned and keeps its extremes', async () => {
  const spike = 61_803;
  const y = counted(100_000, (i) => (i === spike ? 40 : i === spike + 1 ? -40 : Math.sin(i)));
  const spec = lineChart({
    title: 't',
    x: { title: 'x' },
    y: { title: 'y' },
    series: [{ name: 'a', x: counted(100_000, (i) => i), y }],
  });
  const drawn = spec.layer.flatMap((layer) => layer.data.values).filter((point) => Number.isFinite(point.y));
  assert.ok(drawn.length <= 4 * 401, String(drawn.length));
  assert.ok(drawn.some((point) => point.x === spike && point.y === 40));
  assert.ok(drawn.some((point) => point.x === spike + 1 && point.y === -40));
  assert.is(drawn[0].x, 0);
  assert.is(drawn.at(-1).x, 99_999);
});

test('a heat map draws every cell of 10 and of 100 classes', async () => {
  for (const classes of [10, 100]) {
    const matrix = counted(classes * classes, (i) => (i % (classes + 1) === 0 ? 1 : -1 / (classes - 1)));
    const svg = await renderSvg(
      heatmap({
        title: 'Cosines',
        matrix,
        size: classes,
        axis: 'class',
        legend: 'cosine',
      }),
    );
    checkXml(svg);
    const all = texts(svg);
    for (const text of ['class', 'cosine', '0', classes === 10 ? '9' : '90']) assert.ok(all.includes(text), text);
    assert.is(all.includes('−0.11'), classes === 10);
    const fills = Array.from(svg.matchAll(/<path d="([^"]*)" fill="rgb[^>]*>/g), ([, path]) => path.match(/M/g).length);
    assert.ok(fills.includes(classes) && fills.includes(classes * (classes - 1)), fills.join());
    assert.ok(svg.length < 250_000);
  }
});

test('a heat map of a thousand classes averages blocks and says so', async () => {
  const classes = 1000;
  const matrix = new Float32Array(classes * classes).fill(-0.5);
  const svg = await renderSvg(heatmap({ title: 'Cosines', matrix, size: classes, axis: 'class', legend: 'cosine' }));
  assert.ok(texts(svg).includes('cosine, mean of 9×9'));
  assert.ok(texts(svg).includes('900'));
  assert.ok(svg.length < 400_000, String(svg.length));
});

test('a phase diagram writes each value in its cell, rows from below', async () => {
  const svg = await renderSvg(
    phaseDiagram({
      title: 'Phases',
      x: { title: 'imbalance ρ', values: [1, 20, 300] },
      y: { title: 'energy E', values: [0.5, 2] },
      matrix: [-0.2, 0.31, 1, -0.001, -1, 0.77],
      legend: 'cosine',
      domain: [-1, 1],
    }),
  );
  checkXml(svg);
  const all = texts(svg);
  for (const text of ['imbalance ρ', 'energy E', 'cosine', '20', '300', '0.5', '−0.20', '0.31', '0.00', '−1.00', '0.77']) {
    assert.ok(all.includes(text), text);
  }
  assert.not.ok(all.includes('−0.00'));
  const placeOf = (text) => Number(new RegExp(`translate\\([\\d.]+,([\\d.]+)\\)"[^>]*>${text}<`).exec(svg)?.[1]);
  assert.ok(placeOf('−0.20') > placeOf('0.77'), `${placeOf('−0.20')} ${placeOf('0.77')}`);
});

test('cells of maps stand where their numbers do: rows of a matrix from the top, of a diagram from below', () => {
  const matrix = counted(9, (i) => i);
  const cells = heatmap({ title: 't', matrix, size: 3, axis: 'class', legend: 'l', domain: [0, 8] }).data.values;
  const at = (row, column) => cells.find(({ left, top }) => left === column && top === row);
  for (const i of matrix) {
    const { value, label } = at(Math.floor(i / 3), i % 3);
    assert.equal([value, label], [i, `${i}.00`]);
  }
  const diagram = phaseDiagram({
    ...{ title: 't', legend: 'l', domain: [0, 6], matrix: [1, 2, 3, 4, 5, 6] },
    ...{ x: { title: 'x', values: [10, 20, 30] }, y: { title: 'y', values: [0.5, 2] } },
  });
  assert.equal(
    diagram.data.values.map(({ x, y, value }) => [x, y, value]),
    [
      [10, 0.5, 1],
      [20, 0.5, 2],
      [30, 0.5, 3],
      [10, 2, 4],
      [20, 2, 5],
      [30, 2, 6],
    ],
  );
});

test('blocks of a large matrix are means of what they have, whatever of them is at its edge', () => {
  // Blocks of 3×3, the last ones a single row or column: of a matrix i + 1000 j the mean is that of the middle.
  const size = 241;
  const matrix = Float64Array.from({ length: size * size }, (_, k) => Math.floor(k / size) + 1000 * (k % size));
  matrix[3 * size + 5] = Number.NaN;
  const cells = heatmap({ title: 't', matrix, size, axis: 'class', legend: 'l', domain: [0, 3e5] }).data.values;
  assert.is(cells.length, 81 ** 2 - 1); // of the block with the NaN there is none
  for (const { left, right, top, bottom, value } of cells) {
    assert.ok(Math.abs(value - (top + bottom - 1) / 2 - 500 * (left + right - 1)) < 1e-6, `${left} ${top}`);
  }
});

test('series have the colours and styles that they ask for, in the plot and in the legend', () => {
  const series = [
    { name: 'a', x: [0, 1], y: [0, 1], color: 2, style: 0 },
    { name: 'b', x: [0, 1], y: [1, 0], color: 1, style: 1 },
    { name: 'c', x: [0, 1], y: [1, 2], mark: 'points', color: 2, style: 1 },
  ];
  const drawn = drawnIn(lineChart({ title: 't', x: { title: 'x' }, y: { title: 'y' }, series }));
  assert.equal(
    drawn.series.map(({ name, mark, color, y }) => [name, mark, color, y]),
    [
      ['a', 'line', '#009E73', [0, 1]],
      ['b', 'line', '#D55E00', [1, 0]],
      ['c', 'points', '#009E73', [1, 2]],
    ],
  );
});

test('an axis reaches to its lines of reference, and bars to 0', () => {
  const domains = (chart) => {
    const [{ encoding }] = lineChart({ title: 't', x: { title: 'x' }, y: { title: 'y' }, ...chart }).layer;
    return [encoding.x.scale.domain, encoding.y.scale.domain];
  };
  const points = { mark: 'points', x: [1, 2], y: [3, 4] };
  const [x, y] = domains({ series: [points], rules: [{ x: 7 }, { y: 9 }] });
  assert.ok(x[0] <= 1 && x[1] >= 7 && y[0] <= 3 && y[1] >= 9, `${x} ${y}`);
  const [, ground] = domains({ series: [{ mark: 'bars', x: [1, 2], right: [2, 5], y: [3, 4] }] });
  assert.is(ground[0], 0);
});

test('of the points on one column of pixels the first, lowest, highest and last are kept', () => {
  const ys = [5, 7, 1, 9, 4, 6];
  const x = [...ys.map((_, k) => k * 1e-4), 100];
  const { series } = drawnIn(lineChart({ title: 't', x: { title: 'x' }, y: { title: 'y' }, series: [{ x, y: [...ys, 2] }] }));
  assert.equal(series[0].y, [5, 1, 9, 6, 2]);
});

test('ticks are round and inside their axis', () => {
  assert.equal(linearTicks(0, 100_000, false).labels, ['0', '20,000', '40,000', '60,000', '80,000', '100,000']);
  assert.equal(linearTicks(0.013, 0.98, true).domain, [0, 1]);
  assert.equal(linearTicks(0, 1e7, false).labels, ['0', '2×10⁶', '4×10⁶', '6×10⁶', '8×10⁶', '10⁷']);
  assert.equal(linearTicks(715.678, 715.683, true).labels, ['715.678', '715.679', '715.680', '715.681', '715.682', '715.683']);
  assert.equal(linearTicks(-0.9, 0.2, true).labels, ['−1.0', '−0.5', '0.0', '0.5']);
  assert.equal(linearTicks(0, 5e-7, false).labels, ['0', '10⁻⁷', '2×10⁻⁷', '3×10⁻⁷', '4×10⁻⁷', '5×10⁻⁷']);
  assert.equal(linearTicks(-0.5, 1.5, false, true).labels, ['0', '1']);
  assert.equal(linearTicks(-0.5, 9.5, false, true).labels, ['0', '2', '4', '6', '8']);
  assert.equal(logTicks(3e-13, 2, true).labels, ['10⁻¹²', '10⁻¹⁰', '10⁻⁸', '10⁻⁶', '10⁻⁴', '10⁻²', '10⁰']);
  for (const ticks of [
    logTicks(1.1, 3, true),
    logTicks(0.02, 0.9, false),
    linearTicks(-3, 7, false),
    logTicks(1e-300, 1e300, true),
  ]) {
    assert.ok(ticks.values.length >= 2 && ticks.values.length <= 9, ticks.labels.join());
    for (const value of ticks.values)
      assert.ok(value >= ticks.domain[0] * (1 - 1e-9) - 1e-12 && value <= ticks.domain[1] * (1 + 1e-9) + 1e-12);
  }
});

test('numbers are written for people', () => {
  const cases = [
    [0, '0'],
    [1234567, '1,235,000'],
    [12345, '12,350'],
    [1234, '1234'],
    [0.000123456, '1.235×10⁻⁴'],
    [-1e-7, '−10⁻⁷'],
    [-2.5, '−2.5'],
    [Number.POSITIVE_INFINITY, '∞'],
    [Number.NaN, 'NaN'],
    [1e22, '10²²'],
    [1e7, '10⁷'],
    [9_999_000, '9,999,000'],
    [1e-3, '0.001'],
    [-12345.678, '−12,350'],
    [Number.NEGATIVE_INFINITY, '−∞'],
  ];
  for (const [value, text] of cases) assert.is(formatNumber(value), text);
});

test('a logarithmic axis has numbers, each its own, however short it is', () => {
  const random = seededRandom(3);
  for (let i = 0; i < 2000; i++) {
    const low = 10 ** (-300 + 600 * random.uniform());
    const high = Math.min(1e308, low * 10 ** (10 * random.uniform() ** 4));
    for (const widen of [true, false]) {
      const { domain, values, labels } = logTicks(low, high, widen);
      const inside = values.filter((value) => value >= domain[0] * (1 - 1e-9) && value <= domain[1] * (1 + 1e-9));
      assert.ok(inside.length >= 2 && inside.length === values.length, `${low} … ${high}: ${values}`);
      assert.is(new Set(labels).size, values.length, `${low} … ${high}: ${labels}`);
      assert.ok(domain[0] <= low * (1 + 1e-9) && domain[1] >= high * (1 - 1e-9), `${low} … ${high}`);
    }
  }
});

test('a single series keeps its name, unless the titles say it', () => {
  const legend = (name, title) =>
    lineChart({ title, x: { title: 'step' }, y: { title: 'value' }, series: [{ name, x: [0, 1], y: [1, 2] }] }).layer.flatMap(
      ({ mark }) => (mark.baseline === 'middle' ? [mark.text] : []),
    );
  assert.equal(legend('features, mean', 'Norms'), ['features, mean']);
  assert.equal(legend('loss', 'Loss'), []);
});

test.run();
