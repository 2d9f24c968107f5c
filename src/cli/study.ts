/**
 * `layerpeel study`: many runs of one configuration that differ along axes, and the tables of them.
 */
import { basename, dirname, resolve } from 'node:path';
import { checkChoice } from '../check/options.js';
import { readConfiguration } from '../configuration/file.js';
import type { StudyConfig } from '../study/config.js';
import { RERUN, type StudyOptions, study } from '../study/study.js';
import { cellText, headings, rowsOf, type StudyTable } from '../study/table.js';
import { aligned, asUsage, type Command, type Context, jobsOf, type Outcome, UsageError } from './command.js';

const EXAMPLE: StudyConfig = {
  command: 'simulate',
  base: {
    dynamics: 'projectedDescent',
    state: { random: { classes: 4, perClass: 10, dim: 8, seed: 0 } },
    problem: { loss: { kind: 'cross-entropy' } },
    options: {
      learningRates: { features: 1, prototypes: 0.5 },
      steps: 2000,
      measure: { names: ['loss', 'accuracy', 'minMargin'], every: 20 },
    },
  },
  axes: {
    method: {
      'cross-entropy': {},
      'cross-entropy, decay': { 'problem.weightDecay': 0.001 },
      MSE: { 'problem.loss': { kind: 'mse' } },
      hinge: { 'problem.loss': { kind: 'hinge', margin: 1 } },
    },
    'options.momentum': [0, 0.9],
    'state.random.seed': [0, 1, 2],
  },
  rows: 'method',
  columns: 'options.momentum',
  seed: 'state.random.seed',
  measures: ['minMargin', 'accuracy'],
};

export const command: Command = {
  name: 'study',
  summary: 'Run a configuration along axes (losses, constraints, seeds …) and lay the results out in tables and figures',
  positionals: ['STUDY.json'],
  description:
    'Runs every combination of the axes that STUDY.json gives (--example prints one that takes seconds), each an ordinary run folder in that\n' +
    'of the study, and writes report.html and the tables: table.csv (a row for each run and measure), .md, .tex and .json. The file has\n\n' +
    '  command    simulate, train or evaluate\n' +
    '  base       a configuration of it; of evaluate its options by name, and input\n' +
    '  axes       by the path of an entry the values it takes, "seed": [0, 1, 2]; or by any name the entries that each label sets,\n' +
    '             "method": { "PAL": { "loss": { "kind": "unhinged", "gamma": 0.1 }, "model.classifier": { "kind": "fixed-etf" } } }\n' +
    '  rows, columns, seed   which axes are laid out where, and over which means are taken\n' +
    '  measures   columns of metrics.csv, and of simulations limit.exponent, limit.rate, when[0]\n' +
    '  boundary   { "axis", "measure", "value" }: where the measure crosses the value along the axis, by bisection\n' +
    '  folders    false computes simulations in one process and keeps their measures alone: for thousands of small ones\n\n' +
    'What is finished is not run again: a study that was stopped, or killed, goes on in its folder, by several processes at once if need be.',
  options: {
    jobs: { value: 'N', short: 'j', help: 'Runs at a time, each with its part of the threads; default: 1' },
    rerun: { value: 'WHICH', help: 'Run again what is finished: stale (of a configuration that has changed), failed, or all' },
    example: { help: 'Print a study to start from' },
  },
  examples: [
    'layerpeel study --example > study.json',
    'layerpeel study study.json --out runs/study --jobs 2',
    'layerpeel study study.json --out runs/study --rerun failed',
  ],
  async run(context: Context): Promise<Outcome> {
    const { args, options, signal, progress } = context;
    if (options.example) return { text: JSON.stringify(EXAMPLE, null, 2), json: EXAMPLE };
    const path = args[0] as string;
    const name = basename(path, '.json');
    if (options.force) throw new UsageError('--force is not for studies: --rerun all runs all of one again.');
    const config = (await readConfiguration(path)) as StudyConfig;
    const out = typeof options.out === 'string' ? options.out : `runs/study-${name}`;
    const { table, boundary, report } = await study(config, {
      ...{ name, out, signal, relativeTo: dirname(resolve(path)), onStage: progress },
      ...(options.jobs !== undefined && { jobs: jobsOf(options.jobs) }),
      ...(options.rerun !== undefined && { rerun: rerunOf(options.rerun) }),
    });
    const found = boundary?.map(({ levels, at }) => [
      Object.values(levels).join(', ') || 'all',
      Number.isNaN(at) ? 'none' : String(at),
    ]);
    return {
      text: [
        tableText(table),
        ...(found ? ['', aligned([['', `${config.boundary?.measure} crosses ${config.boundary?.value ?? 0} at`], ...found])] : []),
        ...failures(table),
        '',
        `Report: ${report}`,
      ].join('\n'),
      json: { ...table, ...(boundary && { boundary }), folder: resolve(out), report },
    };
  },
};

const rerunOf = (given: string | true): NonNullable<StudyOptions['rerun']> =>
  asUsage(() => checkChoice(given, RERUN, { path: '--rerun', code: 'LP_OPTION' }));

const MOST_LINES = 40;

export function tableText(table: StudyTable): string {
  const rows = rowsOf(table).map(({ row, cells }) => [
    row || 'all',
    ...cells.map((cell) => `${cellText(cell)}${cell.best ? ' *' : ''}`),
  ]);
  const more = rows.length - MOST_LINES;
  return [
    aligned([['', ...headings(table)], ...rows.slice(0, MOST_LINES)]),
    ...(more > 0 ? [`  … and ${more} rows more`] : []),
    ...(table.cells.some(({ best }) => best) ? ['', '  * the best of its column'] : []),
  ].join('\n');
}

/** What did not come to its end, and why. */
export function failures({ runs }: StudyTable): string[] {
  const bad = runs.filter(({ reason, status }) => reason || status === 'diverged');
  if (bad.length === 0) return [];
  return [
    '',
    ...bad.slice(0, 10).map(({ id, status, reason }) => `${id} ${status}${reason ? `: ${reason}` : ''}`),
    ...(bad.length > 10 ? ['…'] : []),
  ];
}
