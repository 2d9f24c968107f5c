/**
 * Images named in a list, as ImageNet-LT and Places-LT have them: a line each, `path label`. The path begins at the list's folder, or at
 * another that is said, and may have blanks in it; empty lines are passed over.
 */
import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileFault } from '../array/stored.js';
import { show } from '../check/options.js';
import { classCounts } from './images.js';
import { numberLabels } from './labels.js';
import type { Listed, Listing } from './listed.js';
import { type CheckedSource, checkSignal, type LoadControl, linesOf } from './reading.js';

/** What a path lacks where a list has names only. */
const ENDINGS = ['.JPEG', '.jpg', '.jpeg', '.png'];

/** @throws LP_FILE with the number of a line that is wrong */
export async function listLines(source: CheckedSource, control: LoadControl): Promise<Listing> {
  const { path, split, root, firstLabel, emptyClasses } = source;
  const named = join(path, split as string);
  const list = statSync(named, { throwIfNoEntry: false })?.isFile() ? named : `${named}.txt`;
  const lines: number[] = [];
  const paths: string[] = [];
  const labels: number[] = [];
  const before = new Map<string, number>();
  const fault = (line: number, what: string) => fileFault(`${list}, line ${line}`, what);
  for (const [k, text] of (await linesOf(list)).entries()) {
    if (text === '') continue;
    const line = k + 1;
    const [, file, number] = /^(.*\S)\s+(\S+)$/.exec(text) ?? [];
    if (file === undefined || number === undefined || file.includes('\0') || !/^[+-]?\d{1,15}$/.test(number)) {
      throw fault(line, `it is ${show(text)}; expected a path and a label, a whole number, with a blank between.`);
    }
    const label = Number(number);
    if (emptyClasses === 'keep' && label < firstLabel) {
      throw fault(line, `its label is ${label}; expected ${firstLabel} or more, the label of the first class.`);
    }
    const same = before.get(file);
    if (same !== undefined && labels[same] !== label) {
      throw fault(line, `${file} has the label ${label} here, but ${labels[same]} on line ${lines[same]}; expected one label.`);
    }
    if (same === undefined) before.set(file, paths.length);
    lines.push(line);
    paths.push(file);
    labels.push(label);
  }
  if (paths.length === 0) throw fileFault(list, 'it has no line; expected a path and a label a line.');
  const { labels: numbers, classes } = numberLabels(labels, list, source, (i) => `line ${lines[i]}`);
  if (source.classes === undefined) {
    const gap = classCounts({ labels: numbers, classes }).indexOf(0);
    if (gap >= 0) {
      throw fileFault(
        list,
        `no line has the label ${gap + firstLabel}, but others have larger ones; emptyClasses: 'leave out' numbers those that there are, classes names all.`,
      );
    }
  }
  const hash = createHash('sha256').update(source.orient ? 'oriented\n' : '');
  const files: Listed[] = [];
  for (const [i, file] of paths.entries()) {
    if (i % 1000 === 0) {
      await setImmediate();
      checkSignal(control);
    }
    const found = isAbsolute(file) ? file : join(root, file);
    const stat = statSync(found, { throwIfNoEntry: false });
    if (!stat?.isFile()) {
      const ending = ENDINGS.find((one) => existsSync(found + one));
      const advice = ending ? `there is ${found}${ending}` : 'root names another folder that paths begin at';
      throw fault(lines[i] as number, `${found} is no file; ${advice}.`);
    }
    hash.update(`${JSON.stringify(file)} ${numbers[i]} ${stat.size} ${stat.mtimeMs}\n`);
    files.push({ path: found, label: numbers[i] as number });
  }
  return { files, others: [], classes, digest: hash.digest('hex'), where: list };
}
