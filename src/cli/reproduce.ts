/**
 * `layerpeel reproduce`: the papers' numerical experiments, each with a verdict.
 */

import { checkChoice } from '../check/options.js';
import { CONFIG } from '../configuration/file.js';
import { budgets, type Experiment } from '../experiments/experiment.js';
import { findSets, whereToPut } from '../experiments/image-sets.js';
import { experimentPage, experiments, papers } from '../experiments/index.js';
import { checkParameters, named, parameterRows } from '../experiments/parameters.js';
import type { Verdict } from '../report/page.js';
import { formatNumber } from '../report/ticks.js';
import { aligned, asUsage, type Command, type Context, jobsOf, type Outcome, SET, UsageError, unknown } from './command.js';
import { withSettings } from './config-file.js';
import { DEVICE, deviceNamed, useDevice } from './device.js';

export const command: Command = {
  name: 'reproduce',
  summary: "Run a paper's experiment and set its statements beside what is measured",
  positionals: ['[ID]'],
  description:
    'Runs an experiment of the papers and writes a run folder with a report: the figures, and each of the paper’s statements and\n' +
    'numbers beside what is measured. The numerical ones are computed by the exact engine in seconds to minutes; those with networks are\n' +
    'studies of trainings, which go on where they were stopped when they are given the same --out. Without ID, or with --list, lists all.\n\n' +
    aligned(Object.entries(papers)),
  options: {
    list: { help: 'List the experiments' },
    budget: {
      value: 'BUDGET',
      help: 'Of networks: smoke (minutes), small (hours on two cores) or paper (all that is printed); default: paper',
    },
    data: { value: 'DIR', help: 'Of networks: the folder of their sets of images, a folder each; default: data' },
    jobs: { value: 'N', short: 'j', help: 'Of networks: trainings at a time, each with its part of the threads; default: 1' },
    device: DEVICE,
    set: {
      ...SET,
      help: 'Set a parameter, by its name or the paper’s letter, as often as need be; reproduce ID --help lists them',
    },
  },
  examples: [
    'layerpeel reproduce',
    'layerpeel reproduce fig1 --out runs/fig1',
    'layerpeel reproduce lp-fig2 --set K=20 --set steps=10000',
    'layerpeel reproduce ul-table2 --budget small --data ~/data --jobs 2 --out runs/table2',
  ],
  more([id]) {
    if (id === undefined) return aligned(experiments.map((each) => [each.id, `--set ${Object.keys(each.config).join(', ')}`]));
    const { source, config, networks } = find(id);
    return [
      `Parameters of ${source}, as the paper has them:\n${aligned(parameterRows(config))}`,
      ...(networks
        ? [`Images, in the folder of --data:\n${networks.sets.map((name) => `  ${whereToPut(name, 'data')}`).join('\n')}`]
        : []),
    ].join('\n\n');
  },
  async run(context: Context): Promise<Outcome> {
    const [id] = context.args;
    if (id === undefined && context.settings.length > 0) throw new UsageError('ID is missing: --set is for one experiment.');
    if (id === undefined || context.options.list) return list();
    const experiment = find(id);
    const { title, source, summary } = experiment;
    const { defaults, sources, jobs } = await budgetOf(experiment, context.options);
    const device = deviceNamed(context);
    if (experiment.networks && device === 'auto')
      throw new UsageError('--device is auto; networks are trained on cpu, or on cuda (or cuda:1) as libtorch has it.');
    const settings = context.settings.map((setting) => named(setting, defaults));
    const config = checkParameters(withSettings(defaults, settings), experiment.config, CONFIG);
    const claimed = await context.folder(experiment.id);
    if (!experiment.networks) await useDevice(context);
    const folder = await claimed.begin(config);
    const { signal, progress } = context;
    const findings = await experiment.run({ signal, progress, folder, sources, jobs, device }, config);
    const { verdicts } = findings;
    const report = await folder.report(experimentPage(experiment, config, findings));
    return {
      text: [`${source}: ${title}`, summary, '', verdictText(verdicts), '', `Report: ${report}`].join('\n'),
      json: { id: experiment.id, title, source, verdicts, folder: folder.path, report },
    };
  },
};

/** What is run, unless set otherwise, and on which images, which are looked for before anything else. @throws UsageError, `LP_FILE` */
async function budgetOf({ id, config, networks }: Experiment, { budget, data = 'data', jobs }: Context['options']) {
  if (!networks) {
    const given = Object.entries({ budget, jobs, ...(data !== 'data' && { data }) }).find(([, value]) => value !== undefined);
    if (given)
      throw new UsageError(`--${given[0]} is for experiments with networks, and ${id} is computed without any; leave it out.`);
    return { defaults: config, sources: {}, jobs: 1 };
  }
  const which = asUsage(() => checkChoice(budget ?? 'paper', budgets, { path: '--budget', code: 'LP_OPTION' }));
  return {
    defaults: networks.budgets[which],
    sources: await findSets(networks.sets, data as string),
    jobs: jobs === undefined ? 1 : jobsOf(jobs),
  };
}

/** `fig1` will do for `ul-fig1`. @throws UsageError */
function find(id: string): Experiment {
  const found = experiments.find((each) => each.id === id || each.id.endsWith(`-${id}`));
  if (found) return found;
  throw unknown(
    'experiment',
    id,
    experiments.map((each) => each.id),
  );
}

function list(): Outcome {
  const json = experiments.map(({ id, title, source, summary }) => ({ id, title, source, summary }));
  return { text: aligned(json.map(({ id, source, summary }) => [id, source, summary])), json };
}

function verdictText(verdicts: readonly Verdict[]): string {
  const show = (value: string | number) =>
    typeof value === 'number' ? formatNumber(value, 6) : value.replace(/([_^])\{([^{}]*)\}/g, '$1$2');
  return aligned([
    ['', 'statement', 'paper', 'measured', 'difference'],
    ...verdicts.map(({ holds, claim, paper, measured, difference }) => [
      holds ? '✓' : '✗',
      ...[claim, paper, measured, difference].map(show),
    ]),
  ]);
}
