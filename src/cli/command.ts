/**
 * What a command of the command line is, how its arguments are read, and its help.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { most } from '../array/extremes.js';
import { checkChoice, nearest, option } from '../check/options.js';
import type { RunFolder } from '../report/run-folder.js';

export interface Option {
  /** What stands for the value in the help, such as `DIR`; without one the option is a switch. */
  readonly value?: string | undefined;
  readonly short?: string | undefined;
  /** Whether it may be given more than once. */
  readonly repeats?: true | undefined;
  readonly help: string;
}

export interface Command {
  readonly name: string;
  readonly summary: string;
  /** Positional arguments as the help shows them: `FEATURES.npy`; one in brackets may be left out, the last one with … repeated. */
  readonly positionals: readonly string[];
  readonly description: string;
  readonly options: Readonly<Record<string, Option>>;
  readonly examples: readonly string[];
  /** What the help says beside, of these arguments. */
  more?(args: readonly string[]): string;
  run(context: Context): Promise<Outcome>;
}

export interface Context {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, string | true | undefined>>;
  /** What was given with `--set`, in its order. */
  readonly settings: readonly string[];
  /** Stops the run; what was computed until then stays in the run folder. */
  readonly signal: AbortSignal;
  /**
   * Makes the run folder (`--out`, or a new one), before anything is computed: what is wrong with it is told first. Its `begin`
   * is for when all has been found sound.
   */
  folder(id: string): Promise<RunFolder>;
  /** Says how much is done, 0 … 1, and what is being done. */
  progress(share: number, doing: string): void;
  /** The same of what changes every second: on a terminal alone. */
  live(share: number, doing: string): void;
  /** A line for people, on standard error. */
  log(line: string): void;
}

/** What a command found: the text for people, or with `--json` the document for programs. */
export interface Outcome {
  readonly text: string;
  readonly json: unknown;
  /** The numbers that a run ends in, by name, which studies compare; and whether it came to another end than its own. */
  readonly measures?: Readonly<Record<string, number>> | undefined;
  readonly ending?: 'diverged' | undefined;
}

/** Wrong usage: exit code 2. */
export class UsageError extends Error {}

/** What a check makes of arguments, its refusal as wrong usage. @throws UsageError */
export function asUsage<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** The word that says what a command does. @throws UsageError */
export const actionOf = <T extends string>(word: unknown, actions: readonly T[]): T =>
  asUsage(() => checkChoice(word, actions, option('The action')));

/** Options of every command. */
const COMMON: Readonly<Record<string, Option>> = {
  out: { value: 'DIR', short: 'o', help: 'Folder for the run; default: a new one under runs/' },
  force: { help: 'Overwrite a finished run in the folder of --out' },
  json: { help: 'One JSON document on standard output, everything else on standard error' },
  verbose: { help: 'Say where an error came from' },
  help: { short: 'h', help: 'Show this help' },
};

/** Of `--jobs`. @throws UsageError */
export function jobsOf(given: string | true): number {
  const jobs = Number(given);
  if (Number.isSafeInteger(jobs) && jobs >= 1 && jobs <= 1024) return jobs;
  throw new UsageError(`--jobs is ${given}; expected how many runs at a time, such as ${availableParallelism()}.`);
}

/** The option of every command that takes a configuration. */
export const SET: Option = {
  value: 'PATH=VALUE',
  repeats: true,
  help: 'Set an entry of the configuration before it is checked, as often as need be: --set options.gamma=0.1',
};

export interface Parsed {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, string | true | undefined>>;
  readonly settings: readonly string[];
}

/** Reads a command's arguments. @throws UsageError */
export function parse(command: Command, argv: readonly string[]): Parsed {
  checkBytes(argv);
  const known: Readonly<Record<string, Option>> = { ...command.options, ...COMMON };
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(
      Object.entries(known).map(([name, { value, short }]) => [
        name,
        { type: value ? 'string' : 'boolean', ...(short ? { short } : {}) },
      ]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const options: Record<string, string | true> = {};
  const settings: string[] = [];
  const args: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') args.push(token.value);
    if (token.kind !== 'option') continue;
    const option = Object.hasOwn(known, token.name) ? known[token.name] : undefined;
    if (!option)
      throw unknown(
        'option',
        token.rawName,
        Object.keys(known).map((name) => `--${name}`),
      );
    if (!option.value && token.value !== undefined) throw new UsageError(`${token.rawName} takes no value.`);
    // An option in the place of a value is one that was forgotten; a negative number is a value.
    if (option.value && (!token.value || (/^-[^\d.]/.test(token.value) && !token.inlineValue))) {
      throw new UsageError(`${token.rawName} needs a value: ${token.rawName} ${option.value}.`);
    }
    if (option.repeats) {
      settings.push(token.value as string);
      continue;
    }
    if (token.name in options) throw new UsageError(`${token.rawName} is given twice.`);
    options[token.name] = token.value ?? true;
  }
  if (!options.help) checkPositionals(command, args, options);
  return { args, options, settings };
}

/** What Node makes of bytes that are no UTF-8, which can then no longer be told from others: another file would be meant. */
const NO_UTF8 = '\ufffd';

function checkBytes(argv: readonly string[]): void {
  const odd = argv.find((text) => text.includes(NO_UTF8));
  if (odd !== undefined) {
    throw new UsageError(
      `${JSON.stringify(odd)} has bytes that are not UTF-8, so that no file of that name can be found; rename it.`,
    );
  }
  if (process.cwd().includes(NO_UTF8)) {
    throw new UsageError(`The working folder ${process.cwd()} has a name that is not UTF-8; work in one that has.`);
  }
}

function checkPositionals(command: Command, args: readonly string[], options: Parsed['options']): void {
  const required = command.positionals.filter((name) => !name.startsWith('['));
  const missing = required[args.length];
  // A switch such as --list or --example is the whole request.
  const complete = Object.keys(options).some((name) => !(name in COMMON) && !command.options[name]?.value);
  if (missing && !complete) throw new UsageError(`${missing} is missing: ${usage(command)}.`);
  const any = command.positionals.at(-1)?.replace(']', '').endsWith('…');
  if (args.length > command.positionals.length && !any) {
    throw new UsageError(`${JSON.stringify(args[command.positionals.length])} is one argument too many: ${usage(command)}.`);
  }
}

/** What ended a run: of one that was stopped what stopped it, which says more than that it was. */
export function endOf(error: unknown, signal: AbortSignal): unknown {
  const cause = (error as Error | undefined)?.cause;
  return signal.aborted && cause instanceof Error ? cause : error;
}

/** Keeps what was computed of a run that has ended early. What ended it is told, whatever becomes of that. */
export const kept = (keep: () => Promise<unknown>): Promise<unknown> => keep().catch(() => {});

export function unknown(kind: string, word: string, candidates: readonly string[]): UsageError {
  const guess = nearest(word, candidates);
  return new UsageError(`There is no ${kind} ${word}; ${guess ? `did you mean ${guess}?` : `there are ${candidates.join(', ')}.`}`);
}

const usage = (command: Command): string => ['layerpeel', command.name, ...command.positionals, '[options]'].join(' ');

export function helpOf(command: Command, args: readonly string[] = []): string {
  const rows = Object.entries({ ...command.options, ...COMMON }).map(
    ([name, { value, short, help }]) => [`${short ? `-${short}, ` : '    '}--${name}${value ? ` ${value}` : ''}`, help] as const,
  );
  return [
    `Usage: ${usage(command)}`,
    '',
    command.description,
    '',
    'Options:',
    aligned(rows),
    '',
    ...(command.more ? [command.more(args), ''] : []),
    command.examples.length > 1 ? 'Examples:' : 'Example:',
    ...command.examples.map((example) => `  ${example}`),
    '',
  ].join('\n');
}

/** Columns as wide as their widest entry. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const width = (entry = '') => entry.replace(/\p{M}/gu, '').length; // marks stand over the letter before them
  const widths = rows[0]?.map((_, column) => most(rows.map((row) => width(row[column])))) ?? [];
  const padded = (entry: string, column: number) => entry + ' '.repeat((widths[column] ?? 0) - width(entry));
  return rows.map((row) => `  ${row.map(padded).join('  ')}`.trimEnd()).join('\n');
}
