/**
 * The report of a study or a comparison: a table of each measure, paired differences, curves over the runs, a map where rows and
 * columns are numbers, what failed and why, and every run.
 */
import { join } from 'node:path';
import { writeFileAtomic } from '../array/files.js';
import { lineChart, phaseDiagram, renderSvg, type Series } from '../report/figure.js';
import { type Cell, type Figure, type PageFigure, type Report, renderReport, type Section, type Table } from '../report/page.js';
import { formatNumber } from '../report/ticks.js';
import type { Crossing } from './boundary.js';
import { columnsIn } from './results.js';
import { bestOf, cellText, labelOf, type RunRow, rowsOf, type StudyTable, summaryText, type TableCell } from './table.js';

export interface StudyAbout {
  /** What was studied. */
  readonly name: string;
  /** What the page begins with. */
  readonly lead: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly table: StudyTable;
  readonly boundary?:
    | { readonly axis: string; readonly measure: string; readonly value: number; readonly found: readonly Crossing[] }
    | undefined;
  /** The folder of a run. */
  folderOf(run: RunRow): string | undefined;
}

/** Groups of runs that a figure tells apart, and figures of one measure. */
const MOST_CURVES = 7;
const MOST_PANELS = 4;
/** Rows and columns of tables on a page: the files have all. */
const MOST_ROWS = 2000;

/** Draws the figures into `figures/`, writes `report.html`, and gives its path. */
export async function writeReport(out: string, about: StudyAbout, command: string): Promise<string> {
  const draw = async (figure: Figure): Promise<PageFigure> => {
    const svg = await renderSvg(figure.spec);
    await writeFileAtomic(join(out, 'figures', `${figure.name}.svg`), svg);
    return { name: figure.name, caption: figure.caption, svg };
  };
  const report = await studyPage(about);
  const sections: Section<PageFigure>[] = [];
  for (const { figures = [], ...section } of report.sections) {
    const drawn: PageFigure[] = [];
    for (const figure of figures) drawn.push(await draw(figure));
    sections.push({ ...section, figures: drawn });
  }
  const path = join(out, 'report.html');
  await writeFileAtomic(path, await renderReport({ ...report, sections }, { command }));
  return path;
}

/** The report of a study or a comparison. */
export async function studyPage(about: StudyAbout): Promise<Report<Figure>> {
  const { name, lead, table, parameters } = about;
  const bad = table.runs.filter(({ status }) => status !== 'complete');
  return {
    title: name,
    lead: `${lead} ${bad.length === 0 ? 'All of them came to their end.' : `${count(bad, 'failed')}${count(bad, 'diverged')}${count(bad, 'missing')}`.trim()}`,
    sections: [
      ...(table.columns.length === 0 ? [resultSection(table)] : table.measures.map((measure) => measureSection(table, measure))),
      ...boundarySection(about),
      ...(await curveSection(about)),
      ...(bad.some(({ reason }) => reason) ? [reasonSection(bad)] : []),
      runSection(table),
    ],
    parameters,
  };
}

function count(runs: readonly RunRow[], status: RunRow['status']): string {
  const some = runs.filter((run) => run.status === status).length;
  if (some === 0) return '';
  return `${some} ${status === 'missing' ? (some === 1 ? 'is' : 'are') : ''} ${status}. `.replace(/ {2}/, ' ');
}

const overSeeds = ({ seed, runs }: StudyTable): string => {
  const seeds = seed === undefined ? 1 : new Set(runs.map(({ levels }) => levels[seed])).size;
  return seeds > 1 ? `mean ± standard deviation over ${seed}` : 'a run each';
};

/** Without columns, the measures side by side. */
function resultSection(table: StudyTable): Section<Figure> {
  const columns = [table.rows.join(', ') || 'all runs', ...table.measures];
  const rows = (entry: (cell: TableCell) => string | Cell) =>
    rowsOf(table)
      .slice(0, MOST_ROWS)
      .map(({ row, cells }) => [row || 'all', ...cells.map(entry)]);
  const tables: Table[] = [
    { caption: `${capital(overSeeds(table))}; the best of a column in bold`, columns, rows: rows((cell) => entryOf(table, cell)) },
  ];
  if (table.cells.some(({ difference }) => difference))
    tables.push({ caption: differenceCaption(table), columns, rows: rows(differenceText) });
  return { title: 'Results', tables };
}

const capital = (text: string): string => `${text[0]?.toUpperCase()}${text.slice(1)}`;

const entryOf = (table: StudyTable, cell: TableCell): Cell => ({ text: cellText(cell), bold: cell.best, ...linkOf(table, cell) });

function measureSection(table: StudyTable, measure: string): Section<Figure> {
  const cells = table.cells.filter((cell) => cell.measure === measure);
  const which = bestOf(measure, table.best);
  const differs = cells.some(({ difference }) => difference);
  return {
    title: measure,
    tables: [
      {
        caption: `${measure}, ${overSeeds(table)}${which ? `; the ${which} of a column in bold` : ''}`,
        ...grid(table, cells, (cell) => entryOf(table, cell)),
      },
      ...(differs ? [{ caption: differenceCaption(table), ...grid(table, cells, differenceText) }] : []),
    ],
    figures: [...mapOf(table, measure, cells), ...alongColumns(table, measure, cells)],
  };
}

const columnsOf = ({ columns, columnLabels }: StudyTable): string[] =>
  columnLabels.map((label) => `${columns.join(', ')} = ${label}`);

function grid(
  table: StudyTable,
  cells: readonly TableCell[],
  entry: (cell: TableCell) => string | Cell,
): Pick<Table, 'columns' | 'rows'> {
  const width = table.columnLabels.length;
  return {
    columns: [table.rows.join(', ') || 'all runs', ...columnsOf(table)],
    rows: table.rowLabels
      .slice(0, MOST_ROWS)
      .map((row, i) => [row || 'all', ...cells.slice(i * width, (i + 1) * width).map(entry)]),
  };
}

/** A cell of a single run leads to it. */
function linkOf(table: StudyTable, { row, column }: TableCell): { href?: string } {
  if (table.seed !== undefined || table.runs.length > MOST_ROWS) return {};
  const href = table.runs.find((run) => labelOf(run, table.rows) === row && labelOf(run, table.columns) === column)?.href;
  return href === undefined ? {} : { href };
}

function differenceCaption({ seed, rowLabels }: StudyTable): string {
  return `Difference to ${rowLabels[0]}${seed === undefined ? '' : `, mean ± standard deviation over pairs of one ${seed}`}`;
}

const differenceText = ({ difference }: TableCell): string => (difference ? summaryText(difference) : '–');

const fileName = (text: string): string => text.replace(/[^\p{L}\p{N}.-]+/gu, '-').replace(/^[.-]+|-+$/g, '') || 'figure';

const numbers = (labels: readonly string[]): number[] | undefined => {
  const values = labels.map((label) => (label.trim() === '' ? Number.NaN : Number(label)));
  return values.every(Number.isFinite) ? values : undefined;
};

/** A map where rows and columns are an axis of numbers each. */
function mapOf(table: StudyTable, measure: string, cells: readonly TableCell[]): Figure[] {
  const [y, x] = [numbers(table.rowLabels), numbers(table.columnLabels)];
  if (table.rows.length !== 1 || table.columns.length !== 1 || !x || !y || x.length < 2 || y.length < 2) return [];
  if (x.length > 60 || y.length > 60) return [];
  const matrix = cells.map(({ mean }) => mean);
  const known = matrix.filter(Number.isFinite);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  if (!(low < high)) return [];
  const spec = phaseDiagram({
    title: measure,
    x: { title: table.columns[0] as string, values: x },
    y: { title: table.rows[0] as string, values: y },
    ...{ matrix, legend: 'mean', domain: [low, high] },
  });
  return [{ name: fileName(`map-${measure}`), spec, caption: `${measure}, ${overSeeds(table)}. An empty cell has no value.` }];
}

/** A measure over an axis of numbers, a curve for each row. */
function alongColumns(table: StudyTable, measure: string, cells: readonly TableCell[]): Figure[] {
  const x = numbers(table.columnLabels);
  if (table.columns.length !== 1 || !x || x.length < 2 || table.rowLabels.length > MOST_CURVES) return [];
  const order = x.map((_, i) => i).sort((a, b) => (x[a] as number) - (x[b] as number));
  const series = table.rowLabels.map((row, r) => {
    const own = order.map((i) => cells[r * x.length + i] as TableCell);
    return {
      name: row || 'all',
      x: order.map((i) => x[i] as number),
      y: own.map(({ mean }) => mean),
      band: { low: own.map(({ values }) => Math.min(...values)), high: own.map(({ values }) => Math.max(...values)) },
    };
  });
  if (!series.some(({ y }) => y.some(Number.isFinite))) return [];
  const logarithmic = x.every((value) => value > 0) && Math.max(...x) >= 50 * Math.min(...x);
  const spec = lineChart({
    title: `${measure} along ${table.columns[0]}`,
    x: { title: table.columns[0] as string, scale: logarithmic ? 'log' : 'linear' },
    y: { title: measure, scale: spread(series) },
    series,
  });
  return [
    { name: fileName(`along-${measure}`), spec, caption: `Mean over the runs; the band is from the smallest to the largest.` },
  ];
}

/** The axis on which values can be told apart. */
function spread(series: readonly Pick<Series, 'y'>[]): 'linear' | 'log' {
  const values = series.flatMap(({ y }) => Array.from(y)).filter(Number.isFinite);
  const least = values.reduce((low, value) => Math.min(low, value), Number.POSITIVE_INFINITY);
  const most = values.reduce((high, value) => Math.max(high, value), 0);
  return least > 0 && most > 30 * least ? 'log' : 'linear';
}

function boundarySection({ table, boundary }: StudyAbout): Section<Figure>[] {
  if (!boundary) return [];
  const { axis, measure, value, found } = boundary;
  const others = table.axes.filter((name) => name !== axis);
  const rows = found.map(({ levels, at, from, to, rising }) => [
    others.map((name) => levels[name]).join(', ') || 'all',
    ...(Number.isNaN(at) ? ['none', '–', '–'] : [at, to - from, rising ? 'rises' : 'falls']),
  ]);
  const text = [
    `Where ${measure} crosses ${formatNumber(value)} along ${axis}, by bisection between neighbouring values of the axis.`,
  ];
  const tables = [
    { columns: [others.join(', ') || 'runs', axis, 'width of what is left', measure], rows: rows.slice(0, MOST_ROWS) },
  ];
  return [{ title: 'Boundary', text, tables, figures: boundaryFigure(table, boundary) }];
}

/** The boundary over an axis of numbers, a curve for each of the rest. */
function boundaryFigure({ axes, seed }: StudyTable, { axis, found }: NonNullable<StudyAbout['boundary']>): Figure[] {
  const others = axes.filter((name) => name !== axis && name !== seed);
  const along = others.find((name) => (numbers([...new Set(found.map(({ levels }) => levels[name] as string))])?.length ?? 0) > 1);
  if (along === undefined) return [];
  const rest = others.filter((name) => name !== along);
  const groups = new Map<string, Crossing[]>();
  for (const crossing of found) {
    const group = rest.map((name) => crossing.levels[name]).join(', ');
    groups.set(group, [...(groups.get(group) ?? []), crossing]);
  }
  if (groups.size > MOST_CURVES) return [];
  const series = [...groups].map(([name, crossings]) => {
    const sorted = crossings.toSorted((a, b) => Number(a.levels[along]) - Number(b.levels[along]));
    return {
      name: name || axis,
      x: sorted.map(({ levels }) => Number(levels[along])),
      y: sorted.map(({ at }) => at),
      mark: 'points' as const,
    };
  });
  const spec = lineChart({ title: 'Boundary', x: { title: along }, y: { title: axis, scale: spread(series) }, series });
  return [{ name: 'boundary', spec, caption: 'Where the measure crosses its value.' }];
}

/** The columns of `metrics.csv` that are measures, over its first column, a curve for each row. */
async function curveSection({ table, folderOf }: StudyAbout): Promise<Section<Figure>[]> {
  const { rowLabels, columnLabels, measures } = table;
  if (rowLabels.length > MOST_CURVES || columnLabels.length > MOST_PANELS) return [];
  const loaded = new Map<string, Record<string, number[]>>();
  for (const run of table.runs) {
    const folder = folderOf(run);
    if (folder !== undefined && run.status === 'complete') loaded.set(run.id, await columnsIn(folder));
  }
  const figures: Figure[] = [];
  for (const measure of measures) {
    for (const column of columnLabels) {
      const series: (Series & { clock: string })[] = rowLabels.flatMap((row, place) => {
        const own = table.runs.filter((run) => labelOf(run, table.rows) === row && labelOf(run, table.columns) === column);
        const curve = curveOf(
          own.flatMap((run) => {
            const columns = loaded.get(run.id);
            return columns ? [columns] : [];
          }),
          measure,
        );
        return curve ? [{ ...curve, name: row || 'all', color: place, style: place }] : [];
      });
      const [first] = series;
      if (!first) continue;
      const xs = series.flatMap(({ x }) => Array.from(x)).filter((x) => x > 0);
      const logarithmic = first.clock !== 'epoch' && Math.max(...xs) > 300 * Math.min(...xs);
      const spec = lineChart({
        title: columnLabels.length > 1 ? `${measure}, ${table.columns.join(', ')} = ${column}` : measure,
        x: { title: first.clock, scale: logarithmic ? 'log' : 'linear', whole: first.clock !== 'time' },
        y: { title: measure, scale: spread(series) },
        series: series.map(({ clock: _, ...drawn }) => drawn),
      });
      const name = fileName(`curve-${measure}${columnLabels.length > 1 ? `-${column}` : ''}`);
      figures.push({ name, spec, caption: 'Mean over the runs; the band is from the smallest to the largest.' });
    }
  }
  return figures.length > 0 ? [{ title: 'Curves', figures }] : [];
}

/** Mean and ends of some runs, where all have the column at the same times. */
export function curveOf(runs: readonly Readonly<Record<string, readonly number[]>>[], measure: string) {
  const having = runs.filter((columns) => Object.hasOwn(columns, measure));
  const [first] = having;
  if (!first) return undefined;
  const clock = Object.keys(first)[0] as string;
  if (clock === measure || (first[clock]?.length ?? 0) < 2) return undefined;
  const values = having.map((columns) => new Map((columns[clock] ?? []).map((time, i) => [time, columns[measure]?.[i] as number])));
  const x = (first[clock] as readonly number[]).filter((time) => values.every((own) => Number.isFinite(own.get(time))));
  const at = x.map((time) => values.map((own) => own.get(time) as number));
  return {
    ...{ clock, x, y: at.map((some) => some.reduce((sum, value) => sum + value, 0) / some.length) },
    ...(values.length > 1 && { band: { low: at.map((some) => Math.min(...some)), high: at.map((some) => Math.max(...some)) } }),
  };
}

function reasonSection(runs: readonly RunRow[]): Section<Figure> {
  const told = runs.filter(({ reason }) => reason).slice(0, MOST_ROWS);
  return {
    title: 'What failed',
    tables: [{ columns: ['Run', 'Reason'], rows: told.map((run) => [nameOf(run), run.reason as string]) }],
  };
}

const nameOf = ({ id, href, status }: RunRow): string | Cell =>
  href === undefined || status === 'missing' ? id : { text: id, href };

function runSection({ runs, measures }: StudyTable): Section<Figure> {
  const shown = runs.slice(0, MOST_ROWS);
  return {
    title: 'Runs',
    ...(shown.length < runs.length && { text: [`The first ${MOST_ROWS} of ${runs.length}; \`table.csv\` has all.`] }),
    tables: [
      {
        columns: ['Run', 'Status', ...measures],
        rows: shown.map((run) => [nameOf(run), run.status, ...measures.map((name) => run.measures[name] ?? '–')]),
      },
    ],
  };
}
