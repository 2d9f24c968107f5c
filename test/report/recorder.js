// A run folder that keeps in memory what a command would write, and reads a chart's numbers back from its specification.

import { join } from 'node:path';

/** Colour, and dash or shape: what joins a series to its entry in the legend. */
const look = ({ color, fill, strokeDash, shape }) => JSON.stringify([color ?? fill, strokeDash ?? shape]);

/** What a chart shows: titles, scales, lines of reference, and of every series its name, mark, `x`, `y` and `right`. */
export function drawnIn(spec) {
  const [ground, ...layers] = spec.layer;
  const { x, y } = ground.encoding;
  const names = new Map();
  for (const [k, { mark }] of layers.entries()) {
    if (mark.type === 'text' && mark.baseline === 'middle') names.set(look(layers[k - 1].mark), mark.text);
  }
  const series = [];
  for (const { data, mark, encoding } of layers) {
    if (encoding.x?.field !== 'x') continue;
    const points = data.values.filter((point) => point.y !== null);
    const last = series.at(-1);
    const kind = { line: 'line', point: 'points', rect: 'bars', rule: 'stems' }[mark.type];
    // The lone points of a line, and the points of stems, are their line's and their stems' again.
    if (kind === 'points' && (last?.mark === 'stems' || (last?.mark === 'line' && last.color === mark.color))) continue;
    series.push({
      ...{ name: names.get(look(mark)), mark: kind, color: mark.color ?? mark.fill },
      ...{ x: points.map((point) => point.x), y: points.map((point) => point.y) },
      ...(kind === 'bars' && { right: points.map((point) => point.right) }),
    });
  }
  const rules = layers
    .filter(
      ({ mark, encoding }) =>
        mark.type === 'rule' && ['x', 'y'].some((axis) => encoding[axis]?.datum !== undefined && !encoding.x?.field),
    )
    .map(({ encoding }) => ({ ...(encoding.x?.datum !== undefined ? { x: encoding.x.datum } : { y: encoding.y.datum }) }));
  return {
    title: spec.title.text,
    ...{ x: { title: x.title, scale: x.scale.type }, y: { title: y.title, scale: y.scale.type } },
    ...{
      series,
      rules,
      labels: layers.filter(({ mark }) => mark.type === 'text' && mark.baseline !== 'middle').map(({ mark }) => mark.text),
    },
  };
}

/**
 * A run folder for what writes into one; `metrics`, `arrays`, `figures` and `page` of `kept` are what it was given.
 * @param path where files are put that do not come through it
 */
export function recorder(path = 'run') {
  const kept = { metrics: {}, arrays: {}, figures: {}, captions: {}, page: undefined };
  const list = (columns) => Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, Array.from(values)]));
  return {
    kept,
    path,
    async metrics(columns, name = 'metrics') {
      kept.metrics[name] = list(columns);
    },
    async begin(config) {
      return Object.assign(this, { config });
    },
    isComplete: async () => false,
    add: async (file) => join(path, file),
    async array(name, { shape, data }) {
      kept.arrays[name] = { shape: [...shape], data: data.slice() };
    },
    async figure(name, spec, caption) {
      kept.figures[name] = spec;
      kept.captions[name] = caption;
      return { name, svg: '', caption };
    },
    async draw(figures) {
      const drawn = [];
      for (const { name, spec, caption } of figures) drawn.push(await this.figure(name, spec, caption));
      return drawn;
    },
    async report(page) {
      kept.page = page;
      for (const { figures = [] } of page.sections) await this.draw(figures.filter(({ spec }) => spec));
      return join(path, 'report.html');
    },
  };
}

/** Runs a command within this process, and gives what it said and wrote. */
export async function record(command, args, options = {}, path = undefined) {
  const folder = recorder(path);
  const lines = [];
  const context = {
    ...{ args, options, settings: [], signal: new AbortController().signal, progress() {}, log: (line) => lines.push(line) },
    folder: async (id) => Object.assign(folder, { id }),
  };
  const outcome = await command.run(context);
  return { ...outcome, ...folder.kept, id: folder.id, config: folder.config, lines };
}
