/**
 * `layerpeel reproduce`: the papers' numerical experiments, each with a verdict.
 */

import { CONFIG } from '../configuration/file.js';
import type { Experiment } from '../experiments/experiment.js';
import { experimentPage, experiments, papers } from '../experiments/index.js';
import { checkParameters, named, parameterRows } from '../experiments/parameters.js';
import type { Verdict } from '../report/page.js';
import { formatNumber } from '../report/ticks.js';
import { aligned, type Command, type Context, type Outcome, SET, UsageError, unknown } from './command.js';
import { withSettings } from './config-file.js';

export const command: Command = {
  name: 'reproduce',
  summary: "Run a paper's numerical experiment and set its statements beside what is measured",
  positionals: ['[ID]'],
  description:
    'Runs an experiment of the papers with the exact engine and writes a run folder with a report: the figures, and each of the\n' +
    "paper's statements beside the measured number. Without ID, or with --list, lists the experiments.\n\n" +
    aligned(Object.entries(papers)),
  options: {
    list: { help: 'List the experiments' },
    set: {
      ...SET,
      help: 'Set a parameter, by its name or the paper’s letter, as often as need be; reproduce ID --help lists them',
    },
  },
  examples: [
    'layerpeel reproduce',
    'layerpeel reproduce fig1 --out runs/fig1',
    'layerpeel reproduce lp-fig2 --set K=20 --set steps=10000',
  ],
  more([id]) {
    if (id === undefined) return aligned(experiments.map((each) => [each.id, `--set ${Object.keys(each.config).join(', ')}`]));
    const { source, config } = find(id);
    return `Parameters of ${source}, as the paper has them:\n${aligned(parameterRows(config))}`;
  },
  async run(context: Context): Promise<Outcome> {
    const [id] = context.args;
    if (id === undefined && context.settings.length > 0) throw new UsageError('ID is missing: --set is for one experiment.');
    if (id === undefined || context.options.list) return list();
    const experiment = find(id);
    const { title, source, summary } = experiment;
    const settings = context.settings.map((setting) => named(setting, experiment.config));
    const config = checkParameters(withSettings(experiment.config, settings), experiment.config, CONFIG);
    const folder = await (await context.folder(experiment.id)).begin(config);
    const { signal, progress } = context;
    const findings = await experiment.run({ signal, progress, folder }, config);
    const { verdicts } = findings;
    const report = await folder.report(experimentPage(experiment, config, findings));
    return {
      text: [`${source}: ${title}`, summary, '', verdictText(verdicts), '', `Report: ${report}`].join('\n'),
      json: { id: experiment.id, title, source, verdicts, folder: folder.path, report },
    };
  },
};

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
