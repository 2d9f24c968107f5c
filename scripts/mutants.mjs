// Whether the tests notice: plants small faults, one at a time, in two copies of the working tree (build/mutants/), builds what
// they touch and runs the tests that should fail.
//
//   npm run mutants -- [--room NAME]… [--match TEXT]… [--sample N --seed S]
//
// A fault is an entry of test/mutants/<room>.json: `find`, which stands once in `file`, becomes `replace`; `fault` says what the
// slip is, `tests` names files of uvu and C++ tests (`native:losses_test`). It is noticed when one of them fails or hangs. An
// entry that matches no longer (stale), or does not compile, is an error. Ends with the survivors and the score, and with 1 below 95 %.
import { execFileSync, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const root = resolve(import.meta.dirname, '..');
const tables = join(root, 'test/mutants');
const lanes = 2;
const wanted = 0.95;
// A slip may leave a name without use. What is unchanged is neither checked nor written again.
const compile = [
  ...['node_modules/.bin/tsc', '-p', 'tsconfig.json', '--noUnusedLocals', 'false', '--noUnusedParameters', 'false'],
  ...['--incremental', '--tsBuildInfoFile', 'lib/.tsbuildinfo'],
];
// A lane has its own builds, and a second biome.json would be one too many for biome.
const neverCopied = new Set(['build', 'lib', 'node_modules', 'biome.json']);

const { values: options } = parseArgs({
  options: {
    room: { type: 'string', multiple: true },
    match: { type: 'string', multiple: true },
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
  },
});
const libtorch = process.env.LIBTORCH ?? [join(root, '.libtorch')].find(existsSync);
const env = { ...process.env, NO_COLOR: '1', ...(libtorch && { LIBTORCH: libtorch }) };
for (const name of ['CI', 'LAYERPEEL_TORCH', 'LAYERPEEL_PREBUILD']) delete env[name];
const running = new Set(); // programs

function readTable() {
  return readdirSync(tables).flatMap((name) =>
    JSON.parse(readFileSync(join(tables, name), 'utf8')).map((row) => ({ room: name.replace('.json', ''), ...row })),
  );
}

/** What is wrong with an entry, if anything. */
function staleness({ room, file, find, replace, tests, fault }) {
  const where = `${room}.json: ${file}: ${fault}:`;
  if (!existsSync(join(root, file))) return `${where} no such file`;
  const times = readFileSync(join(root, file), 'utf8').split(find).length - 1;
  if (times !== 1) return `${where} what it finds stands there ${times} times, not once`;
  if (find === replace) return `${where} it replaces nothing`;
  const missing = tests.find((name) => !existsSync(join(root, testSource(name))));
  if (missing || !tests.length) return `${where} ${missing ? `no such test: ${missing}` : 'it names no test'}`;
  return undefined;
}

function choose(rows) {
  const { room, match, sample, seed } = options;
  const kept = rows.filter(
    (row) => (!room || room.includes(row.room)) && (!match || match.some((text) => `${row.file}: ${row.fault}`.includes(text))),
  );
  if (!sample) return kept;
  let state = Number(seed);
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return kept
    .map((row) => ({ row, order: random() }))
    .sort((a, b) => a.order - b.order)
    .slice(0, Number(sample))
    .map(({ row }) => row);
}

function testSource(name) {
  return isNative(name) ? `native/test/${nativeName(name)}.cpp` : name;
}

/** Whether the libtorch extension has to be built for an entry. */
function wantsTorch({ file, tests }) {
  return (
    file.startsWith('native/torch/') ||
    tests.some((name) => readFileSync(join(root, testSource(name)), 'utf8').includes("/torch.js'"))
  );
}

/** Takes the faults of one file after another, so that a file put right and changed again is compiled once. */
async function work(lane) {
  await lane.prepare();
  for (let rows = groups.shift(); rows; rows = groups.shift()) {
    await lane.verify(
      [...new Set(rows.flatMap((row) => row.tests))],
      rows.some((row) => row.torch),
    );
    for (const row of rows) {
      const result = { row, ...(await lane.judge(row)) };
      results.push(result);
      console.log(`${result.verdict.padEnd(8)} ${row.room}: ${row.file}: ${row.fault} (${result.how})`);
    }
  }
}

/** A copy of the working tree with builds of its own. */
class Lane {
  #folder;
  #clean = new Map(); // a test that passes without a fault: its seconds; one that does not: what it printed
  #torch = false; // whether the libtorch extension is built

  constructor(number) {
    this.#folder = join(root, 'build/mutants', String(number));
  }

  async prepare() {
    mkdirSync(this.#folder, { recursive: true });
    const files = listFiles();
    for (const path of this.#strayFiles(files)) unlinkSync(join(this.#folder, path));
    for (const path of files) this.#copyIfChanged(path);
    rmSync(join(this.#folder, 'lib'), { recursive: true, force: true });
    const modules = join(this.#folder, 'node_modules');
    if (!existsSync(modules)) symlinkSync(join(root, 'node_modules'), modules);
    await this.#must(
      'node_modules/.bin/cmake-js',
      'configure',
      '--out',
      'build/cmake',
      '--config',
      'Release',
      '--CDLAYERPEEL_TESTS=ON',
    );
  }

  /** Builds without a fault, and runs the tests that were not run yet. */
  async verify(tests, torch) {
    await this.#must(...compile);
    await this.#must('cmake', '--build', 'build/cmake', '--target', 'layerpeel', ...tests.filter(isNative).map(nativeName));
    if (torch && libtorch) await this.#must('node', 'scripts/torch.mjs');
    this.#torch ||= torch && Boolean(libtorch);
    for (const name of tests.filter((each) => !this.#clean.has(each))) {
      const started = performance.now();
      const { code, output } = await this.#runTest(name, 1800);
      this.#clean.set(name, code === 0 ? (performance.now() - started) / 1000 : output);
    }
  }

  async judge(row) {
    if (row.torch && !this.#torch) return { verdict: 'skipped', how: 'libtorch is not there: npx layerpeel torch install' };
    const broken = row.tests.find((name) => typeof this.#clean.get(name) === 'string');
    if (broken) return { verdict: 'error', how: `${broken} fails without a fault: ${lastLines(this.#clean.get(broken))}` };
    const path = join(this.#folder, row.file);
    const text = readFileSync(path, 'utf8');
    writeFileSync(
      path,
      text.replace(row.find, () => row.replace),
    );
    try {
      return await this.#judgePlanted(row);
    } finally {
      writeFileSync(path, text);
    }
  }

  async #judgePlanted(row) {
    const { code, output } = await this.#build(row);
    if (code !== 0) return { verdict: 'error', how: `it does not compile: ${lastLines(output)}` };
    const quickFirst = row.tests.toSorted((a, b) => this.#clean.get(a) - this.#clean.get(b));
    for (const name of quickFirst) {
      const { code, late } = await this.#runTest(name, 60 + 10 * this.#clean.get(name));
      if (code !== 0) return { verdict: 'noticed', how: late ? `${name} hangs` : name };
    }
    return { verdict: 'SURVIVED', how: row.tests.join(', ') };
  }

  async #build(row) {
    if (!row.file.startsWith('native/')) return this.#run(compile);
    const targets = new Set(row.tests.map((name) => (isNative(name) ? nativeName(name) : 'layerpeel')));
    const built = await this.#run(['cmake', '--build', 'build/cmake', '--target', ...targets]);
    return row.torch && built.code === 0 ? this.#run(['cmake', '--build', 'build/torch', '--target', 'layerpeel_torch']) : built;
  }

  #runTest(name, seconds) {
    if (!isNative(name)) return this.#run(['node', name], seconds);
    return this.#run(
      ['ctest', '--test-dir', 'build/cmake', '--stop-on-failure', '--output-on-failure', '-R', `^${nativeName(name)}_`],
      seconds,
    );
  }

  /** Runs a program to its end, or ends it and what it started after `seconds`. */
  #run([command, ...args], seconds = 3600) {
    return new Promise((done) => {
      const child = spawn(command, args, { cwd: this.#folder, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
      running.add(child);
      let output = '';
      let late = false;
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text) => {
          output = (output + text).slice(-20_000);
        });
      }
      const timer = setTimeout(() => {
        late = true;
        end(child);
      }, seconds * 1000);
      child.on('close', (code) => {
        running.delete(child);
        clearTimeout(timer);
        done({ code, output, late });
      });
    });
  }

  async #must(...command) {
    const { code, output } = await this.#run(command);
    if (code === 0) return;
    console.error(`${command.join(' ')} fails in ${this.#folder}, without a fault:\n${lastLines(output, 30)}`);
    process.exit(1);
  }

  #copyIfChanged(path) {
    const [from, to] = [join(root, path), join(this.#folder, path)];
    if (existsSync(to) && readFileSync(from).equals(readFileSync(to))) return;
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(from, to);
  }

  #strayFiles(files) {
    const known = new Set(files);
    return readdirSync(this.#folder)
      .filter((name) => !neverCopied.has(name))
      .flatMap((name) => filesBelow(this.#folder, name))
      .filter((path) => !known.has(path));
  }
}

/** Ends a program and those that it started. */
function end({ pid }) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {} // it has ended by itself
}

function isNative(name) {
  return name.startsWith('native:');
}

function nativeName(name) {
  return name.slice('native:'.length);
}

function filesBelow(folder, name) {
  if (!statSync(join(folder, name)).isDirectory()) return [name];
  return readdirSync(join(folder, name)).flatMap((each) => filesBelow(folder, join(name, each)));
}

function listFiles() {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  return listed.split('\0').filter((path) => path && !neverCopied.has(path) && existsSync(join(root, path)));
}

function lastLines(output, lines = 4) {
  return output.trim().split('\n').slice(-lines).join('\n');
}

function report() {
  const count = (verdict, room) => results.filter((each) => each.verdict === verdict && (!room || each.row.room === room)).length;
  console.log('');
  for (const { verdict, row } of results.filter((each) => ['SURVIVED', 'error'].includes(each.verdict))) {
    console.log(`${verdict} ${row.file}: ${row.fault}\n  - ${row.find}\n  + ${row.replace}`);
  }
  for (const room of new Set(chosen.map((row) => row.room))) {
    console.log(`${room.padEnd(12)} ${count('noticed', room)} of ${count('noticed', room) + count('SURVIVED', room)}`);
  }
  const [noticed, survived] = [count('noticed'), count('SURVIVED')];
  const score = noticed / (noticed + survived);
  console.log(
    `${noticed} of ${noticed + survived} noticed (${(100 * score).toFixed(0)}%), ${stale.length} stale, ${count('error')} errors, ${count('skipped')} skipped`,
  );
  if (stale.length || count('error') || score < wanted) process.exitCode = 1;
}

const whole = readTable().map((row) => ({ ...row, stale: staleness(row) }));
const stale = whole.filter((row) => row.stale);
for (const row of stale) console.error(`stale    ${row.stale}`);
const chosen = choose(whole.filter((row) => !row.stale)).map((row) => ({ ...row, torch: wantsTorch(row) }));
if (chosen.length === 0) {
  console.error('No fault is of this room and text.');
  process.exit(1);
}
const results = [];
const groups = [...new Set(chosen.map((row) => row.file))].map((file) => chosen.filter((row) => row.file === file));
groups.sort((a, b) => b.length - a.length); // so that both lanes end at about the same time
process.on('exit', () => running.forEach(end));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
await Promise.all(Array.from({ length: lanes }, (_, number) => work(new Lane(number))));
report();
