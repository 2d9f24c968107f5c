/**
 * `layerpeel compare`: finished runs side by side, those that differ in their seeds alone as one.
 */
import { writeFileAtomic } from '../array/files.js';
import { compareRuns } from '../study/compare.js';
import { studyPage } from '../study/page.js';
import { tableFiles } from '../study/table.js';
import { type Command, type Context, type Outcome, UsageError } from './command.js';
import { tableText } from './study.js';

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
    const measures = typeof options.measures === 'string' ? options.measures.split(',').map((name) => name.trim()) : undefined;
    if (measures?.includes(''))
      throw new UsageError(`--measures is ${options.measures}; expected names with commas: testAccuracy,nc1.`);
    const folder = await context.folder('');
    const { table, partial, folderOf } = await compareRuns(args, { ...(measures && { measures }), from: folder.path });
    if (partial.length > 0 && !measures) log(`Not compared, as only some of the runs have measured it: ${partial.join(', ')}.`);
    await folder.begin({ runs: args, measures: table.measures });
    for (const [file, content] of Object.entries(tableFiles(table))) await writeFileAtomic(await folder.add(file), content);
    const groups = table.rowLabels.length;
    const page = await studyPage({
      name: 'Comparison',
      lead: `${table.runs.length} runs in ${groups} ${groups === 1 ? 'group' : 'groups'} that differ in more than their seeds.`,
      parameters: { runs: table.runs.map(({ id }) => id), measures: table.measures },
      ...{ table, folderOf },
    });
    const report = await folder.report(page);
    return {
      text: [tableText(table), '', `Report: ${report}`].join('\n'),
      json: { ...table, partial, folder: folder.path, report },
    };
  },
};
