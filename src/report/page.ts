/**
 * The report: one self-contained HTML page (styles and figures inline, no scripts, nothing fetched), made for reading
 * on a screen of any width and for printing.
 *
 * Text may carry `^{…}` and `_{…}` for super- and subscripts and `` `…` `` for code; everything else is shown as given.
 */
import { toJson } from '../array/json.js';
import { LayerpeelError } from '../check/errors.js';
import { show } from '../check/options.js';
import { renderSvg, type Spec } from './figure.js';
import { machine } from './machine.js';
import { formatNumber } from './ticks.js';

/** A statement of a paper beside what was measured here. */
export interface Verdict {
  readonly claim: string;
  readonly paper: string | number;
  readonly measured: string | number;
  readonly difference: string | number;
  readonly tolerance: string | number;
  readonly holds: boolean;
}

/** A figure that is to be drawn. */
export interface Figure {
  /** A file name without its ending; unique within the page. */
  readonly name: string;
  readonly spec: Spec;
  readonly caption: string;
}

/** A figure as it is drawn. */
export interface PageFigure extends Omit<Figure, 'spec'> {
  readonly svg: string;
}

/** An entry of a table that leads somewhere, or stands out. */
export interface Cell {
  readonly text: string;
  /** @default false */
  readonly bold?: boolean | undefined;
  /** Where it leads, relative to the page. */
  readonly href?: string | undefined;
}

export interface Table {
  readonly caption?: string | undefined;
  readonly columns: readonly string[];
  /** The first entry of a row names it. */
  readonly rows: readonly (readonly (string | number | Cell)[])[];
}

export interface Section<F = Figure> {
  readonly title: string;
  readonly text?: readonly string[] | undefined;
  /** Lines of mathematics in Unicode. */
  readonly formulas?: readonly string[] | undefined;
  readonly figures?: readonly F[] | undefined;
  readonly tables?: readonly Table[] | undefined;
}

/** What there is to say of a result. `pages/` has one function for each kind of result. */
export interface Report<F = Figure> {
  readonly title: string;
  /** What was run, in a paragraph. */
  readonly lead: string;
  readonly verdicts?: readonly Verdict[] | undefined;
  readonly sections: readonly Section<F>[];
  /** The run's configuration; nested objects are shown by their paths. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** A report with its figures drawn, and what it is signed with. */
export interface Page extends Report<PageFigure> {
  /** The command that wrote the page: `layerpeel reproduce fig1`. */
  readonly command?: string | undefined;
  /** Files beside the page, by their paths. */
  readonly files?: readonly string[] | undefined;
  /** Versions and machine. */
  readonly machine: Readonly<Record<string, string>>;
}

/** Draws a report's figures, in their order. */
export async function drawFigures<F>(report: Report<F>, draw: (figure: F) => Promise<PageFigure>): Promise<Report<PageFigure>> {
  const sections: Section<PageFigure>[] = [];
  for (const { figures, ...section } of report.sections) {
    const drawn: PageFigure[] = [];
    for (const figure of figures ?? []) drawn.push(await draw(figure));
    sections.push({ ...section, figures: drawn });
  }
  return { ...report, sections };
}

/** Checks that a result has what a report is made of. @param from the function that gives such results */
export function checkResult(result: unknown, keys: readonly string[], from: string): void {
  const given = typeof result === 'object' && result !== null ? (result as Record<string, unknown>) : undefined;
  const missing = keys.find((key) => given?.[key] === undefined);
  if (given && missing === undefined) return;
  throw new LayerpeelError(
    'LP_OPTION',
    `${given ? `result.${missing} is missing` : `result is ${show(result)}`}; expected what ${from} gives.`,
  );
}

/** A report as one self-contained HTML page. @param command what made the result, as it was typed */
export async function renderReport(report: Report<Figure | PageFigure>, { command }: { command?: string } = {}): Promise<string> {
  checkResult(report, ['title', 'lead', 'sections', 'parameters'], 'a page of layerpeel/report');
  const drawn = await drawFigures(report, async (figure) => {
    if ('svg' in figure) return figure;
    const { name, spec, caption } = figure;
    return { name, svg: await renderSvg(spec), caption };
  });
  return renderPage({ ...drawn, ...(command !== undefined && { command }), machine: machine() });
}

export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

/** Super- and subscripts may stand in each other, one deep. */
const SCRIPTS = /([_^])\{([^{}]*)\}/g;
const script = (_: string, kind: string, text: string): string => (kind === '^' ? `<sup>${text}</sup>` : `<sub>${text}</sub>`);

const rich = (text: string): string =>
  escapeHtml(text)
    .replace(/`([^`]+)`/g, '<code>$1</code>')
    .replace(SCRIPTS, script)
    .replace(SCRIPTS, script);

/** A formula of plain text, `‖w_y‖`, in the notation of the page, `‖w_{y}‖`. */
export const withScripts = (formula: string): string => formula.replace(/_([A-Za-z]+)/g, '_{$1}');

function cell(value: string | number | Cell): string {
  if (typeof value === 'number') return formatNumber(value, 6);
  if (typeof value === 'string') return rich(value);
  const text = value.bold ? `<b>${rich(value.text)}</b>` : rich(value.text);
  return value.href === undefined ? text : `<a href="${escapeHtml(value.href)}">${text}</a>`;
}

const id = (title: string): string =>
  escapeHtml(
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N}]+/gu, '-')
      .replace(/^-|-$/g, ''),
  );

export function renderPage(page: Page): string {
  let figures = 0;
  const sections = page.sections.map((section) => {
    const html = sectionHtml(section, figures);
    figures += section.figures?.length ?? 0;
    return html;
  });
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="layerpeel">
<title>${escapeHtml(page.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header>
${page.command === undefined ? '' : `<p class="command"><code>${escapeHtml(page.command)}</code></p>\n`}<h1>${rich(page.title)}</h1>
<p class="lead">${rich(page.lead)}</p>
</header>
${page.verdicts?.length ? verdictsHtml(page.verdicts) : ''}
${sections.join('\n')}
<section aria-labelledby="parameters">
<h2 id="parameters">Parameters</h2>
${listHtml(flatten(page.parameters))}
</section>
<footer>
<h2>Versions and machine</h2>
${listHtml(Object.entries(page.machine))}
${page.files?.length ? `<h2>Files in this folder</h2>\n<p>${page.files.map((file) => `<code>${escapeHtml(file)}</code>`).join(' · ')}</p>` : ''}
</footer>
</main>
</body>
</html>
`;
}

function verdictsHtml(verdicts: readonly Verdict[]): string {
  const held = verdicts.filter((verdict) => verdict.holds).length;
  const columns = ['Paper', 'Measured', 'Difference', 'Tolerance'] as const;
  // The labels stand before the numbers where a narrow screen stacks them.
  const rows = verdicts.map(({ claim, paper, measured, difference, tolerance, holds }) => {
    const cells = [paper, measured, difference, tolerance].map((value, i) => `<td data-label="${columns[i]}">${cell(value)}</td>`);
    const verdict = holds ? '<td class="holds">✓&nbsp;holds</td>' : '<td class="differs">✗&nbsp;differs</td>';
    return `<tr><th scope="row">${rich(claim)}</th>${cells.join('')}${verdict}</tr>`;
  });
  const head = ['Statement', ...columns, 'Verdict'].map((column) => `<th scope="col">${column}</th>`);
  return `<section aria-labelledby="verdicts">
<h2 id="verdicts">Paper against measurement</h2>
<p>${held} of ${verdicts.length} statement${verdicts.length === 1 ? '' : 's'} hold${held === 1 ? 's' : ''} within tolerance.</p>
<div class="wide"><table class="verdicts">
<thead><tr>${head.join('')}</tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table></div>
</section>`;
}

/** @param before how many figures the page has had before this section */
function sectionHtml(section: Section<PageFigure>, before: number): string {
  const { text = [], formulas = [], figures = [], tables = [] } = section;
  const key = id(section.title);
  return `<section aria-labelledby="${key}">
<h2 id="${key}">${rich(section.title)}</h2>
${text.map((paragraph) => `<p>${rich(paragraph)}</p>`).join('\n')}
${formulas.map((formula) => `<p class="formula">${rich(formula)}</p>`).join('\n')}
${tables.map(tableHtml).join('\n')}
${figures.length > 0 ? `<div class="figures">\n${figures.map((figure, i) => figureHtml(figure, before + i + 1)).join('\n')}\n</div>` : ''}
</section>`;
}

function figureHtml(figure: PageFigure, number: number): string {
  // Clip paths and gradients are named within a page, not within a drawing.
  const svg = figure.svg.replace(/( id="|url\(#|href="#)/g, `$1figure-${number}-`);
  return `<figure>
${svg}
<figcaption><b>Figure ${number}.</b> ${rich(figure.caption)}</figcaption>
</figure>`;
}

function tableHtml(table: Table): string {
  // Columns of numbers are aligned to the right, columns of text to the left.
  const aligned = table.columns.map((_, column) =>
    column > 0 && table.rows.some((row) => typeof row[column] === 'number') ? '' : ' class="text"',
  );
  const head = table.columns.map((column, i) => `<th scope="col"${aligned[i]}>${rich(column)}</th>`).join('');
  const rows = table.rows.map(
    ([name = '', ...values]) =>
      `<tr><th scope="row">${cell(name)}</th>${values.map((value, i) => `<td${aligned[i + 1]}>${cell(value)}</td>`).join('')}</tr>`,
  );
  return `<div class="wide"><table>
${table.caption ? `<caption>${rich(table.caption)}</caption>` : ''}
<thead><tr>${head}</tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table></div>`;
}

const listHtml = (entries: readonly (readonly [string, string])[]): string => `<div class="wide"><table class="list"><tbody>
${entries.map(([key, value]) => `<tr><th scope="row">${escapeHtml(key)}</th><td>${escapeHtml(value)}</td></tr>`).join('\n')}
</tbody></table></div>`;

/** A nested configuration as paths and values; the objects of a list take a row each. */
function flatten(value: Readonly<Record<string, unknown>>, path = ''): [string, string][] {
  return Object.entries(value).flatMap(([key, entry]): [string, string][] => {
    const here = path + key;
    if (entry === undefined) return [];
    if (Array.isArray(entry) && entry.some(isObject)) {
      return entry.map((each, i) => [
        `${here}[${i}]`,
        flatten({ '': each })
          .map((pair) => pair.join(' ').trim())
          .join(', '),
      ]);
    }
    if (isObject(entry) && !ArrayBuffer.isView(entry)) return flatten(entry, here && `${here}.`);
    const value = ArrayBuffer.isView(entry) ? fewNumbers(entry as Uint8Array) : entry;
    const text = ['string', 'number'].includes(typeof value) ? String(value) : toJson(value).replaceAll(',', ', ');
    return [[here, text.length > 200 ? `${text.slice(0, 200)} …` : text]];
  });
}

/** The numbers of an array; of many, such as images in memory, how many there are. */
const fewNumbers = (data: Uint8Array): number[] | string =>
  data.length <= 100 ? Array.from(data, Number) : `${data.length} numbers`;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const STYLE = `
:root { color-scheme: light; --ink: #1c1c1c; --soft: #5a5a5a; --line: #d9d9d9; --good: #00694e; --bad: #b34700; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink); font: 1.0625rem/1.55 Charter, 'Bitstream Charter', 'Sitka Text', Cambria, Georgia, serif; }
main { max-width: 64rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 1rem; text-wrap: balance; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.75rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
p { max-width: 44rem; margin: 0 0 .9rem; }
.lead { font-size: 1.15rem; }
.command { margin: 0 0 .5rem; color: var(--soft); }
code { font: .86em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace; overflow-wrap: anywhere; }
a { color: inherit; }
sup, sub { font-size: .72em; line-height: 0; }
.formula { font-family: 'STIX Two Math', 'Cambria Math', 'Latin Modern Math', 'DejaVu Serif', Georgia, serif; font-style: italic; max-width: none; margin: .6rem 0 .6rem 1.5rem; overflow-x: auto; }
.wide { overflow-x: auto; margin: 1rem 0 1.4rem; }
table { border-collapse: collapse; font: .9rem/1.4 Helvetica, Arial, 'Liberation Sans', sans-serif; font-variant-numeric: tabular-nums; min-width: 24rem; }
caption { text-align: left; padding: 0 0 .4rem; color: var(--soft); }
th, td { padding: .4rem .9rem .4rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: .25rem; }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; font-weight: 600; }
tbody th { font-weight: 400; text-align: left; }
thead th:first-child, th.text, td.text { text-align: left; }
.list { min-width: 0; }
.list th { color: var(--soft); white-space: nowrap; }
.list td { text-align: left; overflow-wrap: anywhere; }
.holds, .differs { font-weight: 600; white-space: nowrap; }
.holds { color: var(--good); }
.differs { color: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1.75rem 2rem; margin: 1.25rem 0; align-items: start; }
figure { margin: 0; min-width: 0; }
figure svg { display: block; max-width: 100%; height: auto; }
figcaption { font: .85rem/1.45 Helvetica, Arial, 'Liberation Sans', sans-serif; color: #333; margin-top: .5rem; max-width: 34rem; }
footer { font-size: .95rem; }
.verdicts td { white-space: nowrap; }
@media screen and (max-width: 36rem) {
  main { padding-top: 1.5rem; }
  h1 { font-size: 1.55rem; }
  th, td { padding-right: .6rem; }
  .formula { margin-left: .5rem; }
  .verdicts, .verdicts tbody { display: block; min-width: 0; }
  .verdicts thead { display: none; }
  .verdicts tr { display: grid; grid-template-columns: 1fr 1fr; gap: .1rem 1rem; padding: .6rem 0; border-bottom: 1px solid var(--line); }
  .verdicts th, .verdicts td { display: block; border: 0; padding: 0; text-align: left; white-space: normal; }
  .verdicts th, .verdicts td:last-child { grid-column: 1 / -1; }
  .verdicts td[data-label]::before { content: attr(data-label) ': '; color: var(--soft); }
}
@page { margin: 16mm 15mm; }
@media print {
  body { font-size: 10pt; color: #000; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 18pt; }
  h2 { font-size: 12.5pt; margin-top: 1.4rem; break-after: avoid; }
  p { max-width: none; orphans: 3; widows: 3; }
  .figures { grid-template-columns: 1fr 1fr; gap: 1rem 1.25rem; }
  figure, tr, .formula { break-inside: avoid; }
  .formula { break-after: avoid; }
  thead { display: table-header-group; }
  .wide { overflow: visible; }
  table { font-size: 8.5pt; min-width: 0; }
  figcaption { font-size: 8.5pt; }
  a[href]::after { content: ' (' attr(href) ')'; }
}
`;
