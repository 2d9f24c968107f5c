/**
 * Runs laid out side by side in a run folder: what `compare` does with runs as they ended, and `evaluate` with what it finds of several.
 */
import { writeFileAtomic } from '../array/files.js';
import type { RunFolder } from '../report/run-folder.js';
import type { Comparison } from '../study/compare.js';
import { studyPage } from '../study/page.js';
import { tableFiles } from '../study/table.js';
import { type Outcome, UsageError } from './command.js';
import { failures, tableText } from './study.js';

interface Laid extends Comparison {
  readonly name: string;
  readonly lead: string;
  readonly config: Readonly<Record<string, unknown>>;
  log(line: string): void;
}

/** Of `--measures`. @throws UsageError */
export function measureNames(given: string | true | undefined): readonly string[] | undefined {
  if (typeof given !== 'string') return undefined;
  const names = given.split(',').map((name) => name.trim());
  if (names.includes('')) throw new UsageError(`--measures is ${given}; expected names with commas: testAccuracy,nc1.`);
  return names;
}

/** Writes the table and its report into a folder that has begun. */
export async function comparison(folder: RunFolder, laid: Laid): Promise<Outcome> {
  const { table, partial, folderOf, name, lead, config } = laid;
  if (partial.length > 0) laid.log(`Not compared, as only some of the runs have measured it: ${partial.join(', ')}.`);
  for (const [file, content] of Object.entries(tableFiles(table))) await writeFileAtomic(await folder.add(file), content);
  const parameters = { ...config, runs: table.runs.map(({ id }) => id), measures: table.measures };
  const report = await folder.report(await studyPage({ name, lead, parameters, table, folderOf }));
  return {
    text: [tableText(table), ...failures(table), '', `Report: ${report}`].join('\n'),
    json: { ...table, partial, folder: folder.path, report },
  };
}
