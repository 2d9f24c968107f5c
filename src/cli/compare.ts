/**
 * `layerpeel compare`: finished runs side by side, those that differ in their seeds alone as one.
 */
import { compareRuns } from '../study/compare.js';
import type { Command, Context, Outcome } from './command.js';
import { comparison, measureNames } from './comparison.js';

export const command: Command = {
  name: 'compare',
  summary: 'Set runs side by side: means over seeds, differences, curves laid over each other',
  positionals: ['RUN…'],
  description:
    'Compares run folders of any command, and those of studies: runs whose configurations differ in their seeds alone are one row, with the\n' +
    'mean and standard deviation of each measure; what else differs names it. Writes a run folder with report.html and the table as\n' +
    'table.csv (a row for each run and measure), .md, .tex and .json. Measures are the numbers at the end of a run: the last row of its\n' +
    'metrics.csv. What only some of the runs have measured is named, and compared if --measures asks for it.',
  options: {
    measures: { value: 'LIST', help: 'Measures to compare: testAccuracy,nc1; default: up to eight that all runs have' },
  },
  examples: [
    'layerpeel compare runs/a runs/b runs/c',
    'layerpeel compare runs/ce-* runs/unhinged-* --measures testAccuracy,nc1 --json',
  ],
  async run(context: Context): Promise<Outcome> {
    const { args, options, log } = context;
    const measures = measureNames(options.measures);
    const folder = await context.folder('');
    const compared = await compareRuns(args, { ...(measures && { measures }), from: folder.path });
    await folder.begin({ runs: args, measures: compared.table.measures });
    const groups = compared.table.rowLabels.length;
    return comparison(folder, {
      ...{ ...compared, log: measures ? () => {} : log, name: 'Comparison', config: { runs: args } },
      lead: `${compared.table.runs.length} runs in ${groups} ${groups === 1 ? 'group' : 'groups'} that differ in more than their seeds.`,
    });
  },
};
