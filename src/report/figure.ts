/**
 * Figures: columns of numbers become Vega-Lite specifications, which become SVG.
 *
 * One house style: Okabe and Ito's colours (distinct to colour-blind readers) with a dash or a shape beside, so that
 * figures also read in grey; legends above the plot; axes with a title; white ground, so that figures print.
 * Titles and names may carry `_{…}` and `^{…}` for sub- and superscripts. Vega is loaded when the first figure is drawn, not before.
 */
import { linearTicks, logTicks, type Ticks } from './ticks.js';

/** A Vega-Lite specification. */
export type Spec = Record<string, unknown>;
export type Column = ArrayLike<number>;

export interface Axis {
  /** What is drawn, with its unit. */
  readonly title: string;
  /** @default 'linear' */
  readonly scale?: 'linear' | 'log' | undefined;
  /** Ends of the axis; what lies outside is not drawn. @default those of the data */
  readonly domain?: readonly [number, number] | undefined;
  /** Whether it counts, so that only whole numbers are marked. @default false */
  readonly whole?: boolean | undefined;
  /** What 0, 1, … stand for, written in place of them. */
  readonly names?: readonly string[] | undefined;
}

export interface Series {
  /** In the legend; a series without a name has no entry there. */
  readonly name?: string | undefined;
  readonly x: Column;
  readonly y: Column;
  /** `stems` are points with a line down to the axis; `bars` stand on 0 and reach from `x` to `right`. @default 'line' */
  readonly mark?: 'line' | 'points' | 'stems' | 'bars' | undefined;
  /** The right edges of bars. */
  readonly right?: Column | undefined;
  /** Between which a line is shaded, entry by entry. */
  readonly band?: { readonly low: Column; readonly high: Column } | undefined;
  /** Which colour of the palette, for series that belong together. @default the position of the series */
  readonly color?: number | undefined;
  /** Which dash of a line (0 is solid) or shape of points (0 is a disc). @default the position of the series */
  readonly style?: number | undefined;
}

/** A line of reference across the plot, at an `x` or a `y`. */
export interface Rule {
  readonly x?: number | undefined;
  readonly y?: number | undefined;
  readonly label?: string | undefined;
}

export interface LineChart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  readonly rules?: readonly Rule[] | undefined;
  /** Size of the plot itself in CSS pixels. @default 400 */
  readonly width?: number | undefined;
  /** @default 250 */
  readonly height?: number | undefined;
}

/** A quantity over a grid of two parameters. */
export interface PhaseDiagram {
  readonly title: string;
  /** Parameters of the columns, left to right, and of the rows, bottom to top. */
  readonly x: { readonly title: string; readonly values: readonly number[] };
  readonly y: { readonly title: string; readonly values: readonly number[] };
  /** Row-major `[y, x]`. */
  readonly matrix: Column;
  /** What the colour stands for. */
  readonly legend: string;
  /** Ends of the colour scale. */
  readonly domain: readonly [number, number];
}

export interface Heatmap {
  readonly title: string;
  /** Row-major `[size, size]`. */
  readonly matrix: Column;
  readonly size: number;
  /** What rows and columns stand for. */
  readonly axis: string;
  /** What the colour stands for. */
  readonly legend: string;
  /** Ends of the colour scale, symmetric for signed quantities. @default [-1, 1] */
  readonly domain?: readonly [number, number] | undefined;
}

const SCHEMA = 'https://vega.github.io/schema/vega-lite/v6.json';
const FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif";
const INK = '#222222';
const GREY = '#6b6b6b';
/** Okabe and Ito's palette without its yellow, which is lost on white. */
const PALETTE = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000'] as const;
const DASHES = [[], [7, 3], [2, 2], [9, 3, 2, 3], [12, 4], [5, 2, 1, 2, 1, 2], [1, 3]] as const;
const SHAPES = ['circle', 'square', 'triangle-up', 'diamond', 'cross', 'triangle-down', 'triangle-right'] as const;
const LEGEND_ROW = 18;
const LABEL_SIZE = 12;
/** Cells of a heat map along one side. */
const MOST_CELLS = 120;

const CONFIG = {
  background: 'white',
  aria: false,
  font: FONT,
  view: { stroke: null },
  title: { anchor: 'start', fontSize: 14, fontWeight: 600, color: INK },
  axis: {
    labelFontSize: LABEL_SIZE,
    titleFontSize: 13,
    titleFontWeight: 400,
    labelColor: INK,
    titleColor: INK,
    titlePadding: 8,
    domainColor: GREY,
    tickColor: GREY,
    gridColor: '#e4e4e4',
  },
  legend: { labelFontSize: LABEL_SIZE, titleFontSize: LABEL_SIZE, titleFontWeight: 400, labelColor: INK, titleColor: INK },
} as const;

/** Lines, points or stems over a common pair of axes. Values that an axis cannot show (NaN, ∞, ≤ 0 on a logarithm) leave gaps. */
export function lineChart(chart: LineChart): Spec {
  const { width = 400, height = 250, rules = [] } = chart;
  const drawable = chart.series.map((series) => ({ series, runs: runsOf(series, chart.x.scale, chart.y.scale) }));
  const points = drawable.flatMap(({ runs }) => runs.flat());
  const lines = chart.series.every((series) => (series.mark ?? 'line') === 'line');
  const edges = points.flatMap(({ right }) => right ?? []);
  const ground = chart.series.some(({ mark }) => mark === 'bars') ? [0] : [];
  const reference = (axis: 'x' | 'y') => rules.flatMap((rule) => rule[axis] ?? []);
  const x = axisOf(chart.x, points.map((point) => point.x).concat(edges, reference('x')), !lines);
  const shaded = points.flatMap(({ low, high }) => [low, high].filter((end) => fits(end ?? Number.NaN, chart.y.scale)) as number[]);
  const y = axisOf(chart.y, points.map((point) => point.y).concat(ground, shaded, reference('y')), true);
  const [xAxis, yAxis] = [axisEncoding(chart.x, x), axisEncoding(chart.y, y)];
  return {
    $schema: SCHEMA,
    description: chart.title,
    title: { text: chart.title, offset: 10 },
    width,
    height,
    config: CONFIG,
    layer: [
      // Holds the axes where no series has anything to draw.
      {
        data: { values: [{}] },
        mark: { type: 'point', opacity: 0 },
        encoding: { x: { ...xAxis, datum: x.domain[0] }, y: { ...yAxis, datum: y.domain[0] } },
      },
      ...rules.flatMap((rule) => ruleLayers(rule, width)),
      ...drawable.flatMap(({ series, runs }, index) => {
        const place = { x: { field: 'x', ...xAxis }, y: { field: 'y', ...yAxis } };
        return seriesLayers(
          styleOf(series, index),
          series.mark ?? 'line',
          // Each bar is a width of its own.
          series.mark === 'bars' ? runs : runs.map((run) => thin(run, pixelOf(chart.x, x, width, series.mark))),
          place,
          { x: x.domain, y: y.domain, clip: Boolean(chart.x.domain ?? chart.y.domain) },
        );
      }),
      ...legendOf(chart.series, width, [chart.title, chart.x.title, chart.y.title]),
    ],
  };
}

/** Without a minus before zero. */
const twoPlaces = (value: number): string => (Math.round(100 * value) / 100 + 0).toFixed(2).replace('-', '−');

/** Colours of the cells of a map. */
const shadesOf = (field: string, title: string, domain: readonly [number, number]) => ({
  field,
  type: 'quantitative',
  title,
  scale: { domain, scheme: 'blueorange', reverse: true, clamp: true },
  legend: { gradientLength: 200, titleLimit: 200 },
});

/** The numbers of cells, readable on their colours. */
function numbersOn(position: { x: unknown; y: unknown }, domain: readonly [number, number]) {
  const [middle, far] = [(domain[0] + domain[1]) / 2, 0.3 * (domain[1] - domain[0])];
  const onDark = { test: `abs(datum.value - ${middle}) > ${far}`, value: 'white' };
  return {
    mark: { type: 'text', fontSize: 10 },
    encoding: { ...position, text: { field: 'label', type: 'nominal' }, color: { condition: onDark, value: INK } },
  };
}

/** A phase diagram: a cell with its number for each pair of parameters. */
export function phaseDiagram(map: PhaseDiagram): Spec {
  const { x, y, domain } = map;
  const cells = y.values.flatMap((row, r) =>
    x.values.map((column, c) => {
      const value = map.matrix[r * x.values.length + c] as number;
      return { x: column, y: row, value, label: twoPlaces(value) };
    }),
  );
  const axis = { labelAngle: 0, ticks: false, domain: false, labelOverlap: false };
  const position = {
    x: { field: 'x', type: 'ordinal', title: x.title, axis },
    y: { field: 'y', type: 'ordinal', title: y.title, axis, sort: 'descending' },
  };
  return {
    $schema: SCHEMA,
    description: map.title,
    title: { text: map.title, offset: 10 },
    width: 36 * x.values.length,
    height: 26 * y.values.length,
    config: CONFIG,
    data: { values: cells },
    layer: [
      { mark: { type: 'rect' }, encoding: { ...position, color: shadesOf('value', map.legend, domain) } },
      numbersOn(position, domain),
    ],
  };
}

/**
 * A square matrix as coloured cells, the first row on top. Small ones carry their numbers; of large ones blocks of entries are
 * averaged, as a page has no room for more cells.
 */
export function heatmap(map: Heatmap): Spec {
  const { size, domain = [-1, 1] } = map;
  const pixels = 300;
  const block = Math.ceil(size / MOST_CELLS);
  const shades = 50 / (domain[1] - domain[0]);
  const cells = blockMeans(map.matrix, size, block).map(({ row, column, value }) => ({
    left: column,
    right: Math.min(size, column + block),
    top: row,
    bottom: Math.min(size, row + block),
    middleX: column + block / 2,
    middleY: row + block / 2,
    value,
    label: twoPlaces(value),
    shade: Math.round(value * shades) / shades,
  }));
  // Cells of one colour stand together, so that `renderSvg` can draw each colour as one path.
  cells.sort((a, b) => a.shade - b.shade);
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((each) => size / each <= 10) ?? Math.ceil(size / 10);
  const position = {
    title: map.axis,
    type: 'quantitative',
    axis: {
      values: Array.from({ length: Math.ceil(size / step) }, (_, i) => i * step + 0.5),
      labelExpr: 'format(datum.value - 0.5, "d")',
      labelOverlap: false,
      grid: false,
      ticks: false,
      domain: false,
    },
  };
  const x = { ...position, scale: { domain: [0, size], nice: false, zero: false } };
  const y = { ...position, scale: { domain: [size, 0], nice: false, zero: false } };
  const color = shadesOf('shade', block > 1 ? `${map.legend}, mean of ${block}×${block}` : map.legend, domain);
  const numbers = numbersOn({ x: { ...x, field: 'middleX' }, y: { ...y, field: 'middleY' } }, domain);
  return {
    $schema: SCHEMA,
    description: map.title,
    title: { text: map.title, offset: 10 },
    width: pixels,
    height: pixels,
    config: CONFIG,
    data: { values: cells },
    layer: [
      {
        mark: { type: 'rect' },
        encoding: { x: { ...x, field: 'left' }, x2: { field: 'right' }, y: { ...y, field: 'top' }, y2: { field: 'bottom' }, color },
      },
      ...(size <= 12 ? [numbers] : []),
    ],
  };
}

/** The mean of each block of a square matrix, where it is a number. */
function blockMeans(matrix: Column, size: number, block: number): { row: number; column: number; value: number }[] {
  const means = [];
  for (let row = 0; row < size; row += block) {
    for (let column = 0; column < size; column += block) {
      let [sum, count] = [0, 0];
      for (let i = row; i < Math.min(size, row + block); i++) {
        for (let j = column; j < Math.min(size, column + block); j++) {
          sum += matrix[i * size + j] as number;
          count++;
        }
      }
      if (Number.isFinite(sum)) means.push({ row, column, value: sum / count });
    }
  }
  return means;
}

interface Point {
  readonly x: number;
  readonly y: number;
  /** Ends of a band. */
  readonly low?: number | undefined;
  readonly high?: number | undefined;
  /** Of a bar. */
  readonly right?: number | undefined;
}

/** Whether an axis can show a value. */
const fits = (value: number, scale: Axis['scale']): boolean => Number.isFinite(value) && (scale !== 'log' || value > 0);

/** The stretches of a series that can be drawn; what cannot parts them. */
function runsOf(series: Series, xScale: Axis['scale'], yScale: Axis['scale']): Point[][] {
  const runs: Point[][] = [[]];
  for (let i = 0; i < Math.min(series.x.length, series.y.length); i++) {
    const [x, y] = [series.x[i] as number, series.y[i] as number];
    if (fits(x, xScale) && fits(y, yScale))
      (runs.at(-1) as Point[]).push({
        ...{ x, y },
        ...(series.right && { right: series.right[i] as number }),
        ...(series.band && { low: series.band.low[i] as number, high: series.band.high[i] as number }),
      });
    else if ((runs.at(-1) as Point[]).length > 0) runs.push([]);
  }
  return runs.filter((run) => run.length > 0);
}

/** Characters of a name beside an axis. */
const LONGEST_NAME = 24;

function axisOf(axis: Axis, values: readonly number[], widen: boolean): Ticks {
  if (axis.names) {
    const labels = axis.names.map((name) => (name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}…` : name));
    return { domain: axis.domain ?? [-0.5, labels.length - 0.5], values: Array.from(labels.keys()), labels };
  }
  let [low, high] = axis.domain ?? [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  if (!axis.domain) {
    for (const value of values) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    if (low > high) [low, high] = axis.scale === 'log' ? [0.1, 1] : [0, 1];
  }
  if (axis.scale === 'log') return logTicks(low, high, widen && !axis.domain);
  return linearTicks(low, high, widen && !axis.domain, axis.whole);
}

function axisEncoding(axis: Axis, ticks: Ticks): Spec {
  const labels = Object.fromEntries(ticks.values.map((value, i) => [String(value), ticks.labels[i]]));
  return {
    type: 'quantitative',
    title: axis.title,
    scale: { type: axis.scale ?? 'linear', domain: ticks.domain, nice: false, ...(axis.scale === 'log' ? {} : { zero: false }) },
    axis: {
      values: ticks.values,
      labelExpr: `(${JSON.stringify(labels)})[datum.value]`,
      grid: true,
      labelOverlap: false,
      labelFlush: false,
      ...(axis.names && { grid: false, labelAngle: -40, labelAlign: 'right', labelBaseline: 'middle' }),
    },
  };
}

/** The column of pixels a point falls on: one is as much as a line can show; points need room for themselves. */
function pixelOf(axis: Axis, ticks: Ticks, width: number, mark: Series['mark'] = 'line'): (point: Point) => number {
  const transform = axis.scale === 'log' ? Math.log : (value: number) => value;
  const [left, right] = [transform(ticks.domain[0]), transform(ticks.domain[1])];
  const pixels = mark === 'line' ? width : width / 4;
  return (point) => Math.floor((pixels * (transform(point.x) - left)) / (right - left));
}

function seriesLayers(
  style: Style,
  mark: Series['mark'],
  runs: Point[][],
  { x, y }: { x: Spec; y: Spec },
  plot: { x: Ticks['domain']; y: Ticks['domain']; clip: boolean },
): Spec[] {
  const { clip } = plot;
  // A point is in the plot or not; one at the edge is drawn whole.
  const inside = (value: number, [low, high]: Ticks['domain']) => value >= low && value <= high;
  const pointsOf = (points: Point[]) => {
    const values = clip ? points.filter((point) => inside(point.x, plot.x) && inside(point.y, plot.y)) : points;
    return { data: { values }, mark: { type: 'point', ...style.point }, encoding: { x, y } };
  };
  if (mark === 'points') return [pointsOf(runs.flat())];
  if (mark === 'bars') {
    const encoding = { x, x2: { field: 'right' }, y, y2: { datum: 0 } };
    return [{ data: { values: runs.flat() }, mark: { type: 'rect', clip, ...style.bar }, encoding }];
  }
  if (mark === 'stems') {
    const stem = { type: 'rule', clip, color: style.line.color, strokeWidth: 1, opacity: 0.45 };
    return [{ data: { values: runs.flat() }, mark: stem, encoding: { x, y, y2: { datum: plot.y[0] } } }, pointsOf(runs.flat())];
  }
  const lone = runs.filter((run) => run.length === 1).flat();
  // A band that leaves the axis ends where it does.
  const banded = runs.flatMap((run) =>
    run.every(({ high }) => high === undefined)
      ? []
      : [run.map(({ x: at, low = Number.NaN, high }) => ({ x: at, low: Math.max(low, plot.y[0]), high }))],
  );
  return [
    ...banded.map((values) => ({
      data: { values },
      mark: { type: 'area', clip: true, color: style.line.color, opacity: 0.18, line: false },
      encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' } },
    })),
    {
      data: { values: runs.flatMap((run) => [...run, { x: (run.at(-1) as Point).x, y: null }]) },
      mark: { type: 'line', clip, invalid: 'break-paths-show-path-domains', ...style.line },
      encoding: { x, y, order: { value: null } },
    },
    ...(lone.length > 0 ? [pointsOf(lone)] : []),
  ];
}

/** Keeps the first, lowest, highest and last of the points that fall on one column of pixels: the drawn line stays the same. */
function thin(run: readonly Point[], column: (point: Point) => number): Point[] {
  const kept: Point[] = [];
  for (let start = 0; start < run.length; ) {
    const here = column(run[start] as Point);
    let [end, low, high] = [start, start, start];
    while (end + 1 < run.length && column(run[end + 1] as Point) === here) {
      end++;
      if ((run[end] as Point).y < (run[low] as Point).y) low = end;
      if ((run[end] as Point).y > (run[high] as Point).y) high = end;
    }
    for (const i of [...new Set([start, low, high, end])].sort((a, b) => a - b)) kept.push(run[i] as Point);
    start = end + 1;
  }
  return kept;
}

type Style = ReturnType<typeof styleOf>;

function styleOf(series: Series, index: number) {
  const color = PALETTE[(series.color ?? index) % PALETTE.length];
  const style = series.style ?? index;
  return {
    line: { color, strokeWidth: 2, strokeDash: DASHES[style % DASHES.length] },
    point: { color, filled: true, opacity: 1, size: 34, shape: SHAPES[style % SHAPES.length] },
    bar: { fill: color, fillOpacity: 0.3, stroke: color, strokeWidth: 1, strokeDash: DASHES[style % DASHES.length] },
  };
}

function ruleLayers(rule: Rule, width: number): Spec[] {
  const line = { type: 'rule', color: GREY, strokeWidth: 1, strokeDash: [3, 3] };
  const label = { type: 'text', text: rule.label, color: GREY, fontSize: LABEL_SIZE };
  const [mark, encodings, place] =
    rule.y === undefined
      ? [{ ...label, align: 'left', baseline: 'top', dx: 5, dy: 4 }, { x: { datum: rule.x } }, { y: { value: 0 } }]
      : [{ ...label, align: 'right', baseline: 'bottom', dx: -4, dy: -3 }, { y: { datum: rule.y } }, { x: { value: width } }];
  const data = { values: [{}] };
  return [{ data, mark: line, encoding: encodings }, ...(rule.label ? [{ data, mark, encoding: { ...encodings, ...place } }] : [])];
}

/** A legend in rows above the plot, each entry a piece of its line or point and its name; none for a single series that the titles name. */
function legendOf(series: readonly Series[], width: number, titles: readonly string[]): Spec[] {
  const entries = series.flatMap(({ name, mark }, index) =>
    name ? [{ name, mark, style: styleOf(series[index] as Series, index) }] : [],
  );
  const named = (name: string) => titles.some((title) => title.toLowerCase().includes(name.toLowerCase()));
  if (entries.every(({ name }) => entries.length < 2 && named(name))) return [];
  const [sample, gap, between] = [22, 6, 14];
  const data = { values: [{}] };
  const widths = entries.map(({ name }) => sample + gap + textWidth(name, LABEL_SIZE) + between);
  // As many columns as fit, each as wide as its widest entry.
  const columnsOf = (count: number) =>
    Array.from({ length: count }, (_, column) => Math.max(...widths.filter((_, i) => i % count === column)));
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const fitting = entries.map((_, i) => columnsOf(entries.length - i)).find((columns) => sum(columns) - between <= width);
  const columns = fitting ?? columnsOf(1);
  const rows = Math.ceil(entries.length / columns.length);
  return entries.flatMap(({ name, mark = 'line', style }, index) => {
    const left = sum(columns.slice(0, index % columns.length));
    const y = { value: (Math.floor(index / columns.length) - rows) * LEGEND_ROW + LEGEND_ROW / 2 - 4 };
    const middle = { x: { value: left + sample / 2 }, y };
    const symbols = {
      line: { mark: { type: 'rule', ...style.line }, encoding: { x: { value: left }, x2: { value: left + sample }, y } },
      bars: { mark: { type: 'rect', width: sample - 4, height: 10, ...style.bar }, encoding: middle },
      points: { mark: { type: 'point', ...style.point }, encoding: middle },
    };
    const symbol = { data, ...symbols[mark === 'stems' ? 'points' : mark] };
    const text = { type: 'text', text: name, align: 'left', baseline: 'middle', fontSize: LABEL_SIZE, color: INK };
    return [symbol, { data, mark: text, encoding: { x: { value: left + sample + gap }, y } }];
  });
}

/** A sub- or superscript: which, and its text. */
const SCRIPTS = /([_^])\{([^{}]*)\}/g;

/** Width of a text in Helvetica or Arial, near enough for a layout. */
function textWidth(text: string, fontSize: number): number {
  let units = 0;
  for (const character of text.replace(SCRIPTS, '$2')) {
    if (/[ijl.,:;'|!()[\]⁻¹ ]/.test(character)) units += 0.3;
    else if (/[mwMW@%∞]/.test(character)) units += 0.87;
    else if (/[⁰²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉]/.test(character)) units += 0.37;
    else if (/[A-Z]/.test(character)) units += 0.69;
    else units += 0.56;
  }
  return units * fontSize;
}

/** Draws a specification. The result is a whole SVG document, described for those who cannot see it. */
export async function renderSvg(spec: Spec): Promise<string> {
  const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')]);
  const metrics = (vega as unknown as { textMetrics: { width: unknown } }).textMetrics;
  // Without a canvas Vega allows 0.8 of the font size a letter, which leaves holes.
  metrics.width = (item: { fontSize?: number }, text: unknown) => textWidth(String(text ?? ''), item.fontSize ?? 11);
  vega.resetSVGDefIds();
  const compiled = vegaLite.compile(spec as unknown as Parameters<typeof vegaLite.compile>[0]);
  const view = new vega.View(vega.parse(compiled.spec), { renderer: 'none' });
  try {
    return finish(await view.toSVG(), String(spec.description ?? ''));
  } finally {
    view.finalize();
  }
}

/**
 * Adds the description, sets scripts, rounds coordinates to a hundredth of a pixel, and draws neighbouring shapes of one colour
 * as one path.
 */
function finish(svg: string, description: string): string {
  const label = description.replace(SCRIPTS, '$1$2').replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  return svg
    .replace('<svg ', `<svg role="img" aria-label="${label}" `)
    .replace(/(<text[^>]*>)([^<]*)(?=<\/text>)/g, (_, tag: string, text: string) => tag + withScripts(text))
    .replace(/ d="[^"]*"/g, (path) => path.replace(/-?\d+\.\d{3,}(?:e-\d+)?/g, (value) => String(Number(Number(value).toFixed(2)))))
    .replace(/(?:<path d="[^"]*" fill="([^"]*)"\/>)(?:<path d="[^"]*" fill="\1"\/>)+/g, (paths, fill: string) => {
      const outline = Array.from(paths.matchAll(/ d="([^"]*)"/g), (match) => match[1]).join('');
      return `<path d="${outline}" fill="${fill}"/>`;
    });
}

/** A text with its scripts lowered or raised by a shift that the text after them takes back. */
function withScripts(text: string): string {
  const [start = '', ...rest] = text.split(/(?=[_^]\{[^{}]*\})/);
  return rest.reduce((line, piece) => {
    const [, kind, script, after] = piece.match(/^([_^])\{([^{}]*)\}(.*)$/s) as string[];
    const shift = kind === '_' ? 3 : -4;
    return `${line}<tspan dy="${shift}" font-size="75%">${script}</tspan>${after ? `<tspan dy="${-shift}">${after}</tspan>` : ''}`;
  }, start);
}
