/**
 * Tables of runs: measures by rows and columns, with the mean `m` over seeds, the standard deviation `√(Σ(x − m)²/(k−1))` of `k` of them,
 * and the differences to the first row that runs of the same column and seed have (paired). What ended without a measure is counted.
 */
import { toJson } from '../array/json.js';
import { csvField } from '../report/run-folder.js';
import { formatNumber } from '../report/ticks.js';

/** How a run stands. */
export type RunStatus = 'complete' | 'diverged' | 'failed' | 'missing';

/** A run as tables take it. */
export interface RunRow {
  /** What it is called, and where it is relative to the table. */
  readonly id: string;
  readonly href?: string | undefined;
  /** Labels by axis. */
  readonly levels: Readonly<Record<string, string>>;
  readonly status: RunStatus;
  /** Why it failed. */
  readonly reason?: string | undefined;
  /** The numbers at its end, by name. */
  readonly measures: Readonly<Record<string, number>>;
}

export interface Layout {
  readonly axes: readonly string[];
  readonly seed: string | undefined;
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  readonly measures: readonly string[];
  readonly best: Readonly<Record<string, 'largest' | 'smallest'>>;
}

/** Mean and standard deviation of what was measured. */
export interface Summary {
  /** How many values there are. */
  readonly count: number;
  readonly mean: number;
  /** NaN of fewer than two. */
  readonly deviation: number;
}

/** A measure of the runs that differ by their seeds alone. */
export interface TableCell extends Summary {
  readonly row: string;
  readonly column: string;
  readonly measure: string;
  readonly values: readonly number[];
  /** Runs of it by how they stand. */
  readonly runs: Readonly<Record<RunStatus, number>>;
  /** Whether its mean is the best of its column. */
  readonly best: boolean;
  /** Value less that of the first row, over the seeds that both have. */
  readonly difference?: Summary | undefined;
}

export interface StudyTable extends Layout {
  readonly runs: readonly RunRow[];
  readonly rowLabels: readonly string[];
  readonly columnLabels: readonly string[];
  /** By measure, then row, then column. */
  readonly cells: readonly TableCell[];
}

export function summary(values: readonly number[]): Summary {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  const deviation = count > 1 ? Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1)) : Number.NaN;
  return { count, mean, deviation };
}

const LARGEST = /accuracy|auroc|aupr|alignment|margin/i;
const SMALLEST = /loss|nc\d|distance|variation|duality|ece|nll|brier|fpr|error/i;

/** Which values of a measure are best, by its name: of norms, say, none are. */
export function bestOf(measure: string, best: Layout['best']): 'largest' | 'smallest' | undefined {
  if (Object.hasOwn(best, measure)) return best[measure];
  return LARGEST.test(measure) ? 'largest' : SMALLEST.test(measure) ? 'smallest' : undefined;
}

/** The levels of a run on some axes, as the rows and columns of tables have them. */
export const labelOf = ({ levels }: Pick<RunRow, 'levels'>, axes: readonly string[]): string =>
  axes.map((axis) => levels[axis]).join(', ');

/** Lays runs out; rows and columns are in the order in which the runs come. */
export function tabulate(runs: readonly RunRow[], layout: Layout): StudyTable {
  const groups = new Map<string, Map<string, RunRow[]>>();
  const columnLabels = new Set<string>();
  for (const run of runs) {
    const [row, column] = [labelOf(run, layout.rows), labelOf(run, layout.columns)];
    columnLabels.add(column);
    const columns = groups.get(row) ?? new Map<string, RunRow[]>();
    groups.set(row, columns);
    const group = columns.get(column) ?? [];
    columns.set(column, group);
    group.push(run);
  }
  const rowLabels = [...groups.keys()];
  const seedOf = ({ levels }: RunRow) => (layout.seed === undefined ? '' : (levels[layout.seed] as string));
  const cells = layout.measures.flatMap((measure) => {
    const known = (group: readonly RunRow[]) => group.filter(({ measures }) => Object.hasOwn(measures, measure));
    const first = new Map(
      [...(groups.get(rowLabels[0] as string) ?? [])].map(([column, group]) => [
        column,
        new Map(known(group).map((run) => [seedOf(run), run.measures[measure] as number])),
      ]),
    );
    const made = rowLabels.flatMap((row, i) =>
      [...columnLabels].map((column) => {
        const group = groups.get(row)?.get(column) ?? [];
        const measured = known(group);
        const values = measured.map(({ measures }) => measures[measure] as number);
        const before = first.get(column) ?? new Map<string, number>();
        const pairs = measured.filter((run) => before.has(seedOf(run)));
        const differences = pairs.map((run) => (run.measures[measure] as number) - (before.get(seedOf(run)) as number));
        const count = (status: RunStatus) => group.filter((run) => run.status === status).length;
        return {
          ...{ row, column, measure, values, ...summary(values) },
          runs: { complete: count('complete'), diverged: count('diverged'), failed: count('failed'), missing: count('missing') },
          ...(i > 0 && differences.length > 0 && { difference: summary(differences) }),
        };
      }),
    );
    const which = bestOf(measure, layout.best);
    const rivals = new Map([...columnLabels].map((column) => [column, [] as number[]]));
    for (const { column, mean } of made) if (Number.isFinite(mean)) rivals.get(column)?.push(mean);
    const beyond = which === 'largest' ? (a: number, b: number) => Math.max(a, b) : (a: number, b: number) => Math.min(a, b);
    const extremes = new Map([...rivals].map(([column, means]) => [column, means.length > 1 ? means.reduce(beyond) : Number.NaN]));
    return made.map((cell) => ({ ...cell, best: which !== undefined && cell.mean === extremes.get(cell.column) }));
  });
  return { ...layout, runs, rowLabels, columnLabels: [...columnLabels], cells };
}

/** A mean with its deviation, to the digits that the deviation leaves; and what did not come to an end. */
export function cellText({ count, mean, deviation, runs }: TableCell, between = '±'): string {
  const ended = (['diverged', 'failed', 'missing'] as const).filter((status) => runs[status] > 0);
  const all = Object.values(runs).reduce((sum, some) => sum + some, 0);
  const notes = ended.map((status) => (all === 1 ? status : `${runs[status]} ${status}`)).join(', ');
  if (count === 0) return notes || '–';
  const number = summaryText({ count, mean, deviation }, between);
  return notes ? `${number} (${notes})` : number;
}

export function summaryText({ mean, deviation }: Summary, between = '±'): string {
  if (!Number.isFinite(deviation)) return formatNumber(mean);
  const power = (value: number) => Math.floor(Math.log10(Math.abs(value)));
  const digits = deviation > 0 ? power(mean) - power(deviation) + 2 : 4; // down to the second digit of the deviation
  return `${formatNumber(mean, Math.min(8, Math.max(2, digits)))} ${between} ${formatNumber(deviation, 2)}`;
}

/** Columns of a table for people: of each measure those of the study. */
export function headings({ measures, columnLabels, columns }: StudyTable): string[] {
  const names = columns.map((name) => name.split('.').at(-1)).join(', ');
  return measures.flatMap((measure) =>
    columnLabels.map((column) => (columns.length === 0 ? measure : `${measure}, ${names} = ${column}`)),
  );
}

/** Cells row by row, in the order of the headings. */
export function rowsOf({ rowLabels, cells }: StudyTable): { readonly row: string; readonly cells: readonly TableCell[] }[] {
  const rows = new Map(rowLabels.map((row) => [row, [] as TableCell[]]));
  for (const cell of cells) rows.get(cell.row)?.push(cell);
  return [...rows].map(([row, own]) => ({ row, cells: own }));
}

const rowTitle = ({ rows }: StudyTable): string => rows.join(', ') || 'run';

/** Best in bold. */
export function toMarkdown(table: StudyTable): string {
  const safe = (text: string) => text.replaceAll('|', '\\|');
  const line = (entries: readonly string[]) => `| ${entries.map(safe).join(' | ')} |`;
  const head = [rowTitle(table), ...headings(table)];
  const rows = rowsOf(table).map(({ row, cells }) => [
    row || 'all',
    ...cells.map((cell) => (cell.best ? `**${cellText(cell)}**` : cellText(cell))),
  ]);
  return `${[line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')}\n`;
}

const LATEX: Readonly<Record<string, string>> = {
  '\\': '\\textbackslash{}',
  '~': '\\textasciitilde{}',
  '^': '\\textasciicircum{}',
};
const latex = (text: string): string =>
  text
    .replace(/[\\~^]|[&%$#_{}]/g, (c) => LATEX[c] ?? `\\${c}`)
    .replace(/×10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)/g, (_, digits: string) => `$\\times 10^{${fromSuperscript(digits)}}$`)
    .replace(/(?<!\d)10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)/g, (_, digits: string) => `$10^{${fromSuperscript(digits)}}$`)
    .replaceAll('−', '$-$')
    .replaceAll('±', '$\\pm$')
    .replaceAll('∞', '$\\infty$');
const fromSuperscript = (digits: string): string =>
  Array.from(digits, (digit) => (digit === '⁻' ? '-' : '⁰¹²³⁴⁵⁶⁷⁸⁹'.indexOf(digit))).join('');

/** A `tabular` in the style of booktabs. */
export function toLatex(table: StudyTable): string {
  const line = (entries: readonly string[]) => `${entries.join(' & ')} \\\\`;
  const head = [rowTitle(table), ...headings(table)];
  const rows = rowsOf(table).map(({ row, cells }) => [
    latex(row || 'all'),
    ...cells.map((cell) => (cell.best ? `\\textbf{${latex(cellText(cell))}}` : latex(cellText(cell)))),
  ]);
  return `${[
    '% \\usepackage{booktabs}',
    `\\begin{tabular}{l${'c'.repeat(head.length - 1)}}`,
    '\\toprule',
    line(head.map(latex)),
    '\\midrule',
    ...rows.map(line),
    '\\bottomrule',
    '\\end{tabular}',
  ].join('\n')}\n`;
}

/** Tidy: a row for each run and measure, every number with all its digits. */
export function toCsv({ axes, runs, measures }: StudyTable): string {
  const rows = runs.flatMap((run) =>
    measures.map((measure) => {
      const value = Object.hasOwn(run.measures, measure) ? String(run.measures[measure]) : '';
      return [run.id, ...axes.map((axis) => run.levels[axis] ?? ''), run.status, measure, value];
    }),
  );
  return csvOf([['run', ...axes, 'status', 'measure', 'value'], ...rows]);
}

export const csvOf = (rows: readonly (readonly string[])[]): string =>
  rows.map((row) => `${row.map(csvField).join(',')}\r\n`).join('');

/** The table in each of its forms, by the names of their files. */
export const tableFiles = (table: StudyTable): Record<string, string> => ({
  'table.csv': toCsv(table),
  'table.md': toMarkdown(table),
  'table.tex': toLatex(table),
  'table.json': `${toJson(table, 1)}\n`,
});
