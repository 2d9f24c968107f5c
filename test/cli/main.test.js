import { spawnSync } from 'node:child_process';
import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run, start } from './run.js';

const commands = ['simulate', 'measure', 'evaluate', 'reproduce', 'train', 'torch', 'doctor'];

test('help and version', async () => {
  const help = await run(['--help']);
  assert.is(help.code, 0);
  for (const command of commands) assert.match(help.stdout, new RegExp(`^  ${command} +\\w`, 'm'));
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
  assert.is((await run(['--version'])).stdout.trim(), version);
  for (const command of commands) {
    const { code, stdout, stderr } = await run([command, '--help']);
    assert.is(code, 0);
    assert.is(stderr, '');
    for (const part of [`Usage: layerpeel ${command}`, '--out DIR', '--json', 'Example']) assert.ok(stdout.includes(part), part);
  }
});

test('wrong usage exits 2 with the nearest right name and nothing on standard output', async () => {
  const cases = [
    [[], /No command given/],
    [['docter'], /did you mean doctor/],
    [['--halp'], /did you mean --help/],
    [['doctor', '--jsn'], /did you mean --json/],
    [['doctor', '--out'], /--out needs a value/],
    [['doctor', '--out', '--json'], /--out needs a value/],
    [['evaluate', '--labels', 'y.npy', '--bins', '--json'], /--bins needs a value/],
    [['evaluate', 'z.npy', '--bins', '-3x', '--labels', 'y.npy'], /--bins is -3x; expected a number/],
    [['doctor', '--json=yes'], /takes no value/],
    [['doctor', '--json', '--json'], /twice/],
    [['doctor', 'now'], /one argument too many/],
    [['constructor'], /no command constructor/],
    [['doctor', '--constructor'], /no option --constructor/],
    [['reproduce', 'fig0'], /no experiment fig0/],
  ];
  for (const [args, pattern] of cases) {
    const { code, stdout, stderr } = await run(args);
    assert.is(code, 2, args.join(' '));
    assert.match(stderr, pattern);
    assert.is(stdout, '');
    assert.not.match(stderr, /\n {4}at /);
  }
});

test('a folder that cannot be written into is refused before anything is computed', async () => {
  const { code, stderr } = await run(['measure', 'nowhere.npy', '--labels', 'y.npy', '--out', process.execPath]);
  assert.is(code, 1);
  assert.match(stderr, /is a file; give a folder to write the run into/);
});

test('bytes that are no UTF-8 are refused, in arguments and in the working folder: no other folder is written', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-bytes-'));
  const main = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));
  const shell = (line) =>
    spawnSync('sh', ['-c', line], { cwd: folder, encoding: 'utf8', env: { ...process.env, MAIN: main, NODE: process.execPath } });
  try {
    for (const args of [
      'doctor --out "$N"',
      'doctor "--out=$N"',
      'doctor -o "$N"',
      'measure "$N.npy" --labels y.npy',
      'measure h.npy --labels "$N"',
    ]) {
      const { status, stderr } = shell(`N=$(printf 'caf\\351'); "$NODE" "$MAIN" ${args}`);
      assert.is(status, 2, stderr);
      assert.match(stderr, /caf\ufffd.* has bytes that are not UTF-8/);
    }
    assert.equal(await readdir(folder), []);
    const made = shell('mkdir "$(printf \'caf\\351\')"');
    if (made.status !== 0) return console.log(`not run: a folder whose name is not UTF-8: ${made.stderr}`);
    const { status, stderr } = shell('cd caf*; "$NODE" "$MAIN" doctor --out run');
    assert.is(status, 2, stderr);
    assert.match(stderr, /working folder .* has a name that is not UTF-8/);
    assert.is((await readdir(folder, 'buffer')).length, 1);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('doctor says which of its variables it does not understand', async () => {
  const facts = async (env) => JSON.parse((await run(['doctor', '--json'], { env: { ...process.env, ...env } })).stdout);
  const odd = await facts({ LAYERPEEL_ISA: 'avx3', LAYERPEEL_THREADS: '-2' });
  assert.match(odd['instruction set'], /\(LAYERPEEL_ISA=avx3, which is not understood and does nothing\)$/);
  assert.match(odd.threads, /\(LAYERPEEL_THREADS=-2, which is not understood and does nothing\)$/);
  const plain = await facts({ LAYERPEEL_ISA: 'baseline', LAYERPEEL_THREADS: '3' });
  assert.equal([plain.threads, plain['instruction set'].slice(0, 15)], ['3 (LAYERPEEL_THREADS=3)', 'baseline in use']);
});

test('reproduce lists the experiments', async () => {
  for (const args of [[], ['--list']]) {
    const { code, stdout } = await run(['reproduce', ...args, '--json']);
    assert.is(code, 0);
    for (const { id, source, summary } of JSON.parse(stdout)) assert.ok(/^[\w-]+$/.test(id) && source && summary);
  }
});

test('doctor tells what is in use, as text and as one JSON document', async () => {
  const text = await run(['doctor']);
  assert.is(text.code, 0);
  for (const word of ['layerpeel', 'Node', 'binary', 'instruction set', 'BLAS', 'threads', 'CUDA', 'libtorch']) {
    assert.ok(text.stdout.includes(word), word);
  }
  const { engine } = JSON.parse(
    (await run(['doctor', '--json'], { env: { LAYERPEEL_THREADS: '1', LAYERPEEL_ISA: 'baseline' } })).stdout,
  );
  assert.is(engine.threads, 1);
  assert.is(engine.isa, process.arch === 'x64' ? 'baseline' : engine.availableIsa);
});

test('doctor works without the binary and names the command that builds it', async () => {
  const { code, stdout } = await run(['doctor', '--json'], { env: { LAYERPEEL_PREBUILD: tmpdir() } });
  assert.is(code, 0);
  const facts = JSON.parse(stdout);
  assert.is(facts.engine, null);
  assert.match(facts.binary, /npx --yes cmake-js@8 compile/);
});

test('errors exit 1 with a sentence, with --json also as a document, with --verbose with a stack', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  await writeFile(join(folder, 'thesis.tex'), 'mine');
  const plain = await run(['doctor', '--out', folder]);
  assert.is(plain.code, 1);
  assert.is(plain.stdout, '');
  assert.match(plain.stderr, /^layerpeel: [^\n]*holds files that no run wrote[^\n]*\n$/);
  const json = await run(['doctor', '--out', folder, '--json', '--verbose']);
  assert.is(json.code, 1);
  assert.is(JSON.parse(json.stdout).error.code, 'LP_FILE');
  assert.match(json.stderr, /\n {4}at /);
  assert.equal(await readdir(folder), ['thesis.tex']);
  await rm(folder, { recursive: true });
});

test('a reader that closes standard output is no error', async () => {
  const { child, ended } = start(['doctor']);
  child.stdout.destroy();
  const { code, stderr } = await ended;
  assert.is(code, 0);
  assert.is(stderr, '');
});

test('standard output on a full disk is an error in a sentence', async () => {
  const full = await open('/dev/full', 'w').catch(() => undefined);
  if (!full) return console.log('  (skipped: there is no /dev/full here)');
  const { code, stderr } = await run(['simulate', '--example'], { stdio: ['ignore', full.fd, 'pipe'] });
  await full.close();
  assert.is(code, 1);
  assert.match(stderr, /^layerpeel: Standard output cannot be written: ENOSPC[^\n]*\n$/);
});

test.run();
