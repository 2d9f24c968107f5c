#!/usr/bin/env node
/**
 * The command line: finds the command, hands it its arguments, and turns its end into an exit code:
 * 0 done, 1 failed with one sentence, 2 wrong usage, 130 stopped by Ctrl-C (143 by SIGTERM).
 */
import { LayerpeelError } from '../check/errors.js';
import { RunFolder } from '../report/run-folder.js';
import { version } from '../version.js';
import { aligned, type Command, type Context, endOf, helpOf, type Outcome, parse, UsageError, unknown } from './command.js';
import { Progress } from './progress.js';

const commands: Readonly<Record<string, () => Promise<{ command: Command }>>> = {
  simulate: () => import('./simulate.js'),
  measure: () => import('./measure.js'),
  evaluate: () => import('./evaluate.js'),
  reproduce: () => import('./reproduce.js'),
  train: () => import('./train.js'),
  torch: () => import('./torch.js'),
  doctor: () => import('./doctor.js'),
};

const progress = new Progress(process.stderr, process.env);

async function main(argv: readonly string[]): Promise<void> {
  const [name, ...rest] = argv;
  if (name === undefined) throw new UsageError(`No command given; there are ${Object.keys(commands).join(', ')}.`);
  if (name === '--help' || name === '-h') return print(await overview());
  if (name === '--version' || name === '-v') return print(version);
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!load) {
    throw name.startsWith('-') ? unknown('option', name, ['--help', '--version']) : unknown('command', name, Object.keys(commands));
  }
  const { command } = await load();
  const { args, options } = parse(command, rest);
  if (options.help) return print(helpOf(command));
  const outcome = await run(command, args, options);
  print(options.json ? toJson(outcome.json) : outcome.text);
}

/** Runs a command and notes in its run folder how it ended. */
async function run(command: Command, args: readonly string[], options: Context['options']): Promise<Outcome> {
  let folder: RunFolder | undefined;
  const context: Context = {
    args,
    options,
    signal: stopOnSignal(),
    progress: (share, doing) => progress.update(share, doing),
    log: (line) => progress.log(line),
    async folder(id, config) {
      const out = options.out;
      folder = await RunFolder.create(
        [command.name, id].filter(Boolean).join(' '),
        config,
        typeof out === 'string' ? out : undefined,
      );
      return folder;
    },
  };
  try {
    if (typeof options.out === 'string') await RunFolder.check(options.out);
    const outcome = await command.run(context);
    await folder?.finish('complete');
    return outcome;
  } catch (caught) {
    const error = endOf(caught, context.signal);
    await folder?.finish(isAbort(error) ? 'stopped' : 'failed', error);
    if (folder) progress.log(`What was computed is kept in ${folder.path}`);
    throw error;
  } finally {
    progress.clear();
  }
}

const isAbort = (error: unknown): boolean => error instanceof LayerpeelError && error.code === 'LP_ABORTED';

let stoppedBy: 'SIGINT' | 'SIGTERM' | undefined;

/** The first Ctrl-C stops the run in good order, the second at once. */
function stopOnSignal(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (stoppedBy) process.exit(exitCodeOf(signal));
      stoppedBy = signal;
      progress.log('Stopping …');
      controller.abort(new LayerpeelError('LP_ABORTED', `The run was stopped by ${signal}.`));
    });
  }
  return controller.signal;
}

const exitCodeOf = (signal: 'SIGINT' | 'SIGTERM'): number => (signal === 'SIGINT' ? 130 : 143);

function fail(error: unknown, argv: readonly string[]): number {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof UsageError) {
    progress.log(`${message}\nSee layerpeel ${argv[0] && argv[0] in commands ? `${argv[0]} ` : ''}--help.`);
    return 2;
  }
  const code = (error as { code?: unknown } | null)?.code;
  if (argv.includes('--json')) print(toJson({ error: { code: code ?? 'LP_INTERNAL', message } }));
  if (stoppedBy && isAbort(error)) {
    progress.log('Stopped.');
    return exitCodeOf(stoppedBy);
  }
  progress.log(`layerpeel: ${message}`);
  const debug = argv.includes('--verbose') || process.env.LAYERPEEL_DEBUG;
  if (debug && error instanceof Error) progress.log(String(error.stack));
  return 1;
}

async function overview(): Promise<string> {
  const all = await Promise.all(Object.values(commands).map((load) => load()));
  return [
    `layerpeel ${version}: the layer-peeled model's training dynamics, exactly; neural collapse measured on anybody's features`,
    '',
    'Usage: layerpeel COMMAND [options]',
    '',
    'Commands:',
    aligned(all.map(({ command }) => [command.name, command.summary])),
    '',
    'Options:',
    aligned([
      ['-h, --help', 'Show this help; layerpeel COMMAND --help shows that of a command'],
      ['-v, --version', 'Show the version'],
    ]),
  ].join('\n');
}

function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** JSON has no NaN or infinities (they become null); arrays of numbers are written as lists. */
const toJson = (value: unknown): string =>
  JSON.stringify(value, (_key, entry) => (ArrayBuffer.isView(entry) ? Array.from(entry as Float64Array) : entry), 2);

// A reader that has seen enough (`| head`) is no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
    if (stream === process.stdout) progress.log(`layerpeel: Standard output cannot be written: ${error.message}.`);
    process.exit(1);
  });
}

const argv = process.argv.slice(2);
try {
  await main(argv);
} catch (error) {
  process.exitCode = fail(error, argv);
}
