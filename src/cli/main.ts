#!/usr/bin/env node
/**
 * The command line: finds the command, hands it its arguments, and turns its end into an exit code:
 * 0 done, 1 failed with one sentence, 2 wrong usage, 128 and the signal's number where one stopped it (130: Ctrl-C).
 */
import { constants } from 'node:os';
import { toJson } from '../array/json.js';
import { LayerpeelError } from '../check/errors.js';
import { version } from '../package.js';
import { RunFolder } from '../report/run-folder.js';
import {
  aligned,
  type Command,
  type Context,
  endOf,
  helpOf,
  kept,
  type Outcome,
  type Parsed,
  parse,
  UsageError,
  unknown,
} from './command.js';
import { underNohup } from './nohup.js';
import { Progress } from './progress.js';

const commands: Readonly<Record<string, () => Promise<{ command: Command }>>> = {
  simulate: () => import('./simulate.js'),
  measure: () => import('./measure.js'),
  evaluate: () => import('./evaluate.js'),
  reproduce: () => import('./reproduce.js'),
  study: () => import('./study.js'),
  compare: () => import('./compare.js'),
  train: () => import('./train.js'),
  predict: () => import('./predict.js'),
  torch: () => import('./torch.js'),
  cuda: () => import('./cuda.js'),
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
  const { args, options, settings } = parse(command, rest);
  if (options.help) return print(helpOf(command, args));
  const outcome = await run(command, { args, options, settings });
  print(options.json ? toJson(outcome.json, 2) : outcome.text);
}

/** Runs a command and notes in its run folder how it ended. */
async function run(command: Command, { args, options, settings }: Parsed): Promise<Outcome> {
  let folder: RunFolder | undefined;
  const log = (line: string) => progress.log(line);
  const text = (name: string) => (typeof options[name] === 'string' ? options[name] : undefined);
  const context: Context = {
    args,
    options,
    settings,
    signal: stopOnSignal(),
    progress: (share, doing) => progress.update(share, doing),
    live: (share, doing) => progress.live(share, doing),
    log,
    async folder(id) {
      folder = await RunFolder.claim({
        command: [command.name, id].filter(Boolean).join(' '),
        ...{ out: text('out'), resume: text('resume'), force: options.force === true, log },
        device: command.options.device && (text('device') ?? process.env.LAYERPEEL_DEVICE),
      });
      return folder;
    },
  };
  try {
    const outcome = await command.run(context);
    const { measures, ending } = outcome;
    if (measures) await folder?.result({ measures, ...(ending && { ending }) });
    await folder?.finish('complete');
    return outcome;
  } catch (caught) {
    const error = endOf(caught, context.signal);
    await kept(async () => folder?.finish(isAbort(error) ? 'stopped' : 'failed', error));
    if (folder?.begun) log(`What was computed is kept in ${folder.path}`);
    throw error;
  } finally {
    progress.clear();
    await folder?.release();
  }
}

const isAbort = (error: unknown): boolean => error instanceof LayerpeelError && error.code === 'LP_ABORTED';

/**
 * What asks a run to stop: Ctrl-C, `kill` and time limits, a terminal that is closed, and the warnings of batch systems.
 * (SIGUSR1 is Node.js's own: it opens the debugger.)
 */
const STOPS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2', 'SIGXCPU'] as const;
type Stop = (typeof STOPS)[number];

let stoppedBy: Stop | undefined;
/** Signals of one cause come in twos: of a terminal and of the shell or `npx` in it. */
const ONE_CAUSE = 500;

/** The first signal stops the run in good order, another Ctrl-C or `kill` at once. */
function stopOnSignal(): AbortSignal {
  const controller = new AbortController();
  let first = 0;
  for (const signal of STOPS) {
    process.on(signal, () => {
      if (signal === 'SIGHUP' && underNohup()) return;
      if (stoppedBy) {
        const meant = ['SIGINT', 'SIGTERM'].includes(signal) && performance.now() - first > ONE_CAUSE;
        if (meant) process.exit(exitCodeOf(signal));
        return;
      }
      [stoppedBy, first] = [signal, performance.now()];
      progress.log('Stopping …');
      controller.abort(new LayerpeelError('LP_ABORTED', `The run was stopped by ${signal}.`));
    });
  }
  return controller.signal;
}

const exitCodeOf = (signal: Stop): number => 128 + constants.signals[signal];

function fail(error: unknown, argv: readonly string[]): number {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof UsageError) {
    progress.log(`${message}\nSee layerpeel ${argv[0] && argv[0] in commands ? `${argv[0]} ` : ''}--help.`);
    return 2;
  }
  const code = (error as { code?: unknown } | null)?.code;
  if (argv.includes('--json')) print(toJson({ error: { code: code ?? 'LP_INTERNAL', message } }, 2));
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

// A reader that has seen enough (`| head`) and a terminal that is closed are no errors: a run goes on, and ends as it ends.
const GONE = ['EPIPE', 'EIO'];
process.stderr.on('error', () => {});
process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  if (GONE.includes(code ?? '')) return;
  progress.log(`layerpeel: Standard output cannot be written: ${message}.`);
  process.exitCode ||= 1;
});

const argv = process.argv.slice(2);
try {
  await main(argv);
} catch (error) {
  process.exitCode = fail(error, argv);
}
