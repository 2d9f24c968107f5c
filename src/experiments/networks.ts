/**
 * Experiments with networks: a paper's table or figure as a study, with what is printed beside what was measured.
 *
 * A budget says how much of the protocol is run: `paper` is what is printed; `small` and `smoke` take fewer images, epochs and seeds,
 * and what comes out of them is no reproduction, which the report says.
 */
import { join } from 'node:path';
import { lineChart, type Series } from '../report/figure.js';
import type { Figure, PageFigure, Section, Verdict } from '../report/page.js';
import { formatNumber } from '../report/ticks.js';
import { runFolder } from '../study/children.js';
import type { StudyConfig } from '../study/config.js';
import { curveOf } from '../study/page.js';
import { columnsIn } from '../study/results.js';
import { study } from '../study/study.js';
import { cellText, labelOf, type RunRow, type StudyTable, type TableCell, tabulate } from '../study/table.js';
import type { DataFiles } from '../training/config.js';
import type { Budget, Experiment } from './experiment.js';
import { states } from './fit.js';
import type { SetName, Sources } from './image-sets.js';
import type { Parameters } from './parameters.js';

/** What every experiment with networks can be told. */
export interface NetworkParameters {
  readonly network: string;
  readonly epochs: number;
  /** Images of the largest class; 0 for all that there are. */
  readonly largest: number;
  readonly seeds: readonly number[];
}

/** What a paper prints: of a measure, by row and column. */
export type Printed = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, number>>>>>>;

/** What was run, as statements and figures are made of it. */
export interface Measured {
  readonly table: StudyTable;
  /** Undefined where it was not run, or has no value. */
  cell(row: string, column: string, measure: string): TableCell | undefined;
  /** Folders of the runs of a row and a column, in the order of their seeds. */
  folders(row: string, column: string): readonly string[];
}

export interface NetworkExperiment<P> extends Pick<Experiment, 'id' | 'title' | 'source' | 'summary'> {
  readonly budgets: Readonly<Record<Budget, P>>;
  readonly sets: readonly SetName[];
  /** The protocol, in a paragraph. */
  readonly protocol: string;
  study(config: P, sources: Sources): StudyConfig;
  /** Measures of a finished run beside those of its training. */
  readonly further?:
    | { readonly names: readonly string[]; of(folder: string): Promise<Readonly<Record<string, number>>> }
    | undefined;
  /** @default nothing */
  readonly printed?: Printed | undefined;
  /** Statements of the paper about what was run. */
  verdicts(measured: Measured, config: P): readonly Verdict[] | Promise<readonly Verdict[]>;
  figures?(measured: Measured, config: P): Promise<readonly Figure[]>;
}

/** The experiment that runs a study and lays it out beside the paper. */
export function networkExperiment<P extends NetworkParameters>(given: NetworkExperiment<P>): Experiment {
  const { id, title, source, summary, sets } = given;
  return {
    ...{ id, title, source, summary },
    config: given.budgets.paper as unknown as Parameters,
    networks: {
      budgets: given.budgets as unknown as Readonly<Record<Budget, Parameters>>,
      sets,
      study: (config, sources) => given.study(config as unknown as P, sources),
    },
    async run({ signal, progress, folder, sources, jobs, device }, parameters) {
      const config = parameters as unknown as P;
      const whole = given.study(config, sources);
      const asked = device === undefined ? whole : { ...whole, base: { ...whole.base, device } };
      const out = join(folder.path, STUDY);
      const { table } = await study(asked, { out, jobs, signal, name: `${source}: ${title}`, onStage: progress });
      const measured = await measuredOf(table, out, given.further);
      await folder.metrics(columnsOf(measured.table));
      const figures = await folder.draw((await given.figures?.(measured, config)) ?? []);
      return {
        lead: `${given.protocol} ${count(measured.table)}`,
        verdicts: await given.verdicts(measured, config),
        sections: [
          ...measured.table.measures.map((measure) => section(measured.table, measure, given.printed?.[measure] ?? {})),
          ...(figures.length > 0 ? [{ title: 'Figures', figures }] : []),
          runSection(measured.table),
        ],
      };
    },
  };
}

/** The study's folder in that of the run. */
const STUDY = 'study';

async function measuredOf(table: StudyTable, out: string, further: NetworkExperiment<unknown>['further']): Promise<Measured> {
  const runs: RunRow[] = [];
  for (const run of table.runs) {
    const more = further && run.status === 'complete' ? await further.of(runFolder(out, run)) : {};
    runs.push({ ...run, measures: { ...run.measures, ...more } });
  }
  const whole = tabulate(runs, { ...table, measures: [...table.measures, ...(further?.names ?? [])] });
  return {
    table: whole,
    cell: (row, column, measure) =>
      whole.cells.find((cell) => cell.row === row && cell.column === column && cell.measure === measure && cell.count > 0),
    folders: (row, column) =>
      whole.runs
        .filter((run) => run.status !== 'missing' && labelOf(run, whole.rows) === row && labelOf(run, whole.columns) === column)
        .map((run) => runFolder(out, run)),
  };
}

function count({ runs }: StudyTable): string {
  const ended = runs.filter(({ status }) => status === 'complete').length;
  return ended === runs.length ? `${ended} trainings.` : `${ended} of ${runs.length} trainings came to their end.`;
}

function columnsOf({ runs, axes, measures }: StudyTable): Record<string, readonly string[] | number[]> {
  const axis = (name: string) => [name.split('.').at(-1) as string, runs.map(({ levels }) => String(levels[name]))] as const;
  const measure = (name: string) => [name, runs.map(({ measures }) => measures[name] ?? Number.NaN)] as const;
  return { run: runs.map(({ id }) => id), ...Object.fromEntries(axes.map(axis)), ...Object.fromEntries(measures.map(measure)) };
}

/** Shares, which papers print in percent. */
const SHARES = /accuracy|^ece$|fpr95|auroc|aupr/i;

const scaled = (cell: TableCell, measure: string): TableCell =>
  SHARES.test(measure) ? { ...cell, mean: 100 * cell.mean, deviation: 100 * cell.deviation } : cell;

/** A measure in the paper's layout, what is printed beside what was measured. */
function section(table: StudyTable, measure: string, printed: Printed[string]): Section<PageFigure> {
  const { rowLabels, columnLabels, rows, columns } = table;
  const cells = new Map(
    table.cells.filter((cell) => cell.measure === measure).map((cell) => [`${cell.row}\n${cell.column}`, cell]),
  );
  const known = columnLabels.filter((column) => rowLabels.some((row) => printed[row]?.[column] !== undefined));
  const named = (column: string, what: string) => [columns.length > 0 ? column : '', what].filter((text) => text !== '').join(': ');
  const head = columnLabels.flatMap((column) => [
    ...(known.includes(column) ? [named(column, 'paper')] : []),
    named(column, known.length > 0 ? 'here' : '') || measure,
  ]);
  const body = rowLabels.map((row) => [
    row || 'all',
    ...columnLabels.flatMap((column) => {
      const cell = cells.get(`${row}\n${column}`) as TableCell;
      return [
        ...(known.includes(column) ? [printed[row]?.[column] ?? '–'] : []),
        { text: cellText(scaled(cell, measure)), bold: cell.best },
      ];
    }),
  ]);
  const seeds = table.seed === undefined ? 1 : new Set(table.runs.map(({ levels }) => levels[table.seed as string])).size;
  const what = `${SHARES.test(measure) ? 'In percent' : 'As measured'}${seeds > 1 ? `, mean ± standard deviation over ${seeds} seeds` : ', one seed'}; the best of a column in bold.`;
  const axes = columns.map((name) => name.split('.').at(-1)).join(', ');
  return {
    title: measure,
    tables: [{ caption: `${what}${axes ? ` Columns: ${axes}.` : ''}`, columns: [rows.join(', ') || 'all', ...head], rows: body }],
  };
}

function runSection({ runs }: StudyTable): Section<PageFigure> {
  const rows = runs.map(({ id, status, reason, href }) => [
    { text: id, ...(href !== undefined && { href: `${STUDY}/${href}` }) },
    status,
    reason ?? '',
  ]);
  return {
    title: 'Runs',
    text: ['Each run has its report, and the study one of them all, with curves and paired differences.'],
    tables: [{ columns: ['run', 'ended', 'why'], rows: [[{ text: 'the study', href: `${STUDY}/report.html` }, '', ''], ...rows] }],
  };
}

/** How a column of the first seed's run goes: its first and its last number that there are. */
export async function courseOf(
  { folders }: Measured,
  row: string,
  column: string,
  measure: string,
): Promise<[number, number] | undefined> {
  const [folder] = folders(row, column);
  if (folder === undefined) return undefined;
  const values = ((await columnsIn(folder))[measure] ?? []).filter(Number.isFinite);
  return values.length > 1 ? [values[0] as number, values.at(-1) as number] : undefined;
}

/** Which of two cells is larger, in the paper and here. @returns nothing where one of the four numbers is missing */
export function ordering(
  claim: string,
  [a, b]: readonly [row: string, row: string],
  column: string,
  measure: string,
  printed: Printed,
  measured: Measured,
): Verdict[] {
  const [x, y] = [printed[measure]?.[a]?.[column], printed[measure]?.[b]?.[column]];
  const [here, there] = [measured.cell(a, column, measure), measured.cell(b, column, measure)];
  if (x === undefined || y === undefined || x === y || !here || !there) return [];
  const sign = x > y ? '>' : '<';
  const shown = (cell: TableCell) => cellText(scaled(cell, measure));
  const holds = x > y ? here.mean > there.mean : here.mean < there.mean;
  return [states(claim, `${x} ${sign} ${y}`, `${shown(here)} ${holds ? sign : x > y ? '≤' : '≥'} ${shown(there)}`, holds)];
}

/** A source, with the classes cut down to `largest` images, alike or in a long tail. */
export function selected(source: DataFiles | undefined, largest: number, imbalance?: 'long-tailed'): Partial<DataFiles> {
  if (!imbalance && largest === 0) return { ...source };
  return { ...source, imbalance: { kind: imbalance ?? 'step', ratio: 1, ...(largest > 0 && { largest }) } };
}

export const percentOf = (share: number): string => formatNumber(100 * share, 4);

/** A column of the runs over the epochs, a curve for each row: means over the seeds, between the ends of them. */
export async function curveFigure(
  { table, folders }: Measured,
  column: string,
  measure: string,
  { of = '', scale = 'linear' }: { readonly of?: string; readonly scale?: 'linear' | 'log' } = {},
): Promise<Figure> {
  const series: Series[] = [];
  for (const [place, row] of table.rowLabels.entries()) {
    const columns = await Promise.all(folders(row, column).map(columnsIn));
    const curve = curveOf(columns, measure);
    if (curve)
      series.push({
        name: row || measure,
        x: curve.x,
        y: curve.y,
        ...(curve.band && { band: curve.band }),
        color: place,
        style: place,
      });
  }
  return {
    name: [measure, ...(of ? [of] : [])].join('-'),
    spec: lineChart({
      title: of ? `${measure}, ${of}` : measure,
      x: { title: 'epoch', scale, whole: true },
      y: { title: measure, scale },
      series,
    }),
    caption: 'Mean over the seeds; the band is from the smallest to the largest.',
  };
}
