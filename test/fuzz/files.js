/**
 * Fuzzes what is read from files: node test/fuzz/files.js [--seed N] [--count N | --seconds 60] [--kind arrays|pickles|archives|sets|configurations]
 * The cases run in a process of their own: one that hangs, ends it or makes it write to standard error is a failure too. A failure is
 * printed with the seed that repeats it.
 */
import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import fc from 'fast-check';

/** So long a case may take, whatever else the machine does. */
const PATIENCE = 60_000;

const KINDS = {
  arrays: async () => {
    const { checkReaders, mutated } = await import('./mutations.js');
    return [mutated, (file, folder) => checkReaders(file, join(folder, 'file'))];
  },
  pickles: async () => {
    const { checkReaders, mutatedPickles } = await import('./mutations.js');
    return [mutatedPickles, (file, folder) => checkReaders(file, join(folder, 'file'))];
  },
  archives: async () => {
    const { checkArchive, archives } = await import('./archives.js');
    return [archives, checkArchive];
  },
  sets: async () => {
    const { changedSets, checkSet } = await import('./sets.js');
    return [changedSets, checkSet];
  },
  configurations: async () => {
    const { changedConfigurations, checkConfiguration } = await import('./configurations.js');
    return [changedConfigurations, checkConfiguration];
  },
};

/** Runs the cases of one kind; each is announced before it begins. */
async function child(kind, seed, count, seconds) {
  const [cases, check] = await KINDS[kind]();
  const root = mkdtempSync(join(tmpdir(), 'layerpeel-fuzz-'));
  let tried = 0;
  try {
    await fc.assert(
      fc.asyncProperty(cases, async (one) => {
        process.send(++tried);
        const folder = join(root, String(tried));
        mkdirSync(folder);
        await check(one, folder);
        rmSync(folder, { recursive: true });
      }),
      { seed, numRuns: count, ...(seconds && { interruptAfterTimeLimit: 1000 * seconds, markInterruptAsFailure: false }) },
    );
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** How many cases of a kind held; throws for the first that did not. */
function parent(kind, seed, count, seconds) {
  return new Promise((resolve, reject) => {
    const args = ['--child', kind, String(seed), String(count), String(seconds)];
    const one = fork(fileURLToPath(import.meta.url), args, { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
    let [tried, said, hung] = [0, '', false];
    const hang = () => {
      hung = true;
      one.kill('SIGKILL');
    };
    let timer = setTimeout(hang, PATIENCE);
    one.on('message', (number) => {
      tried = number;
      clearTimeout(timer);
      timer = setTimeout(hang, PATIENCE);
    });
    one.stderr.on('data', (text) => {
      said += text;
    });
    one.on('close', (code, signal) => {
      clearTimeout(timer);
      const fault = hung
        ? 'hangs'
        : signal
          ? `ends the process by ${signal}`
          : code
            ? 'fails'
            : said
              ? 'writes to standard error'
              : undefined;
      if (fault === undefined) resolve(tried);
      else reject(new Error(`${kind}: case ${tried} ${fault} (--kind ${kind} --seed ${seed} --count ${tried})\n${said}`));
    });
  });
}

if (process.argv[2] === '--child') {
  const [kind, seed, count, seconds] = process.argv.slice(3);
  await child(kind, Number(seed), Number(count), Number(seconds));
  process.disconnect();
} else {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      count: { type: 'string' },
      seconds: { type: 'string', default: '60' },
      kind: { type: 'string', multiple: true },
    },
  });
  const kinds = values.kind ?? Object.keys(KINDS);
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const count = values.count === undefined ? 2 ** 31 - 1 : Math.ceil(Number(values.count) / kinds.length);
  const seconds = values.count === undefined ? Number(values.seconds) / kinds.length : 0;
  try {
    for (const kind of kinds) console.log(`${kind}: ${await parent(kind, seed, count, seconds)} cases, each read or refused`);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
