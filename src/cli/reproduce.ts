/**
 * `layerpeel reproduce`: the papers' numerical experiments, each with a verdict.
 */
import { experimentPage, experiments, papers } from '../experiments/index.js';
import type { Verdict } from '../report/page.js';
import { formatNumber } from '../report/ticks.js';
import { aligned, type Command, type Context, type Outcome, unknown } from './command.js';

export const command: Command = {
  name: 'reproduce',
  summary: "Run a paper's numerical experiment and set its statements beside what is measured",
  positionals: ['[ID]'],
  description:
    'Runs an experiment of the papers with the exact engine and writes a run folder with a report: the figures, and each of the\n' +
    "paper's statements beside the measured number. Without ID, or with --list, lists the experiments.\n\n" +
    aligned(Object.entries(papers)),
  options: { list: { help: 'List the experiments' } },
  examples: ['layerpeel reproduce', 'layerpeel reproduce fig1 --out runs/fig1'],
  async run(context: Context): Promise<Outcome> {
    const [id] = context.args;
    if (id === undefined || context.options.list) return list();
    // `fig1` will do for `ul-fig1`.
    const experiment = experiments.find((each) => each.id === id || each.id.endsWith(`-${id}`));
    if (!experiment)
      throw unknown(
        'experiment',
        id,
        experiments.map((each) => each.id),
      );
    const { title, source, config, summary } = experiment;
    const folder = await (await context.folder(experiment.id)).begin(config);
    const { signal, progress } = context;
    const findings = await experiment.run({ signal, progress, folder });
    const { verdicts } = findings;
    const report = await folder.report(experimentPage(experiment, findings));
    return {
      text: [`${source}: ${title}`, summary, '', verdictText(verdicts), '', `Report: ${report}`].join('\n'),
      json: { id: experiment.id, title, source, verdicts, folder: folder.path, report },
    };
  },
};

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
