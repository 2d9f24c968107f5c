// Runs of the command line under what a machine does to them: signals, kills, readers that go away, folders that are in use.
import { closeSync, openSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadCheckpoint, randomState, readNpy, writeNpy } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { runIn } from '../../lib/report/run-folder.js';
import { startLimited } from '../process.js';
import { main, run, start } from './run.js';

let folder;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
});
test.after.each(() => rm(folder, { recursive: true }));

const write = (value, name = 'c.json') => writeFile(join(folder, name), JSON.stringify(value));
const read = async (...path) => JSON.parse(await readFile(join(folder, ...path), 'utf8'));
const simulate = (...args) => run(['simulate', ...args], { cwd: folder });
const statusOf = async (name) => (await read(name, 'run.json')).status;
const exists = async (...path) =>
  readFile(join(folder, ...path)).then(
    () => true,
    () => false,
  );
async function until(condition, what) {
  for (let tries = 0; !(await condition()); tries++) {
    assert.ok(tries < 1200, `${what} within a minute`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const descent = (steps, more = {}) => ({
  dynamics: 'projectedDescent',
  state: { random: { classes: 3, perClass: 4, dim: 5, seed: 0 } },
  problem: { loss: { kind: 'cross-entropy' } },
  options: { learningRates: { features: 1, prototypes: 0.1 }, steps, snapshots: 100, measure: { names: ['loss'], every: 10 } },
  ...more,
});
const endless = descent(1e9, {
  options: { ...descent(1e9).options, snapshots: 20_000, measure: { names: ['loss'], every: 50_000 } },
});
/** A run without an end, once it has a checkpoint. */
async function running(out, options = {}) {
  await write(endless, 'endless.json');
  const started = start(['simulate', 'endless.json', '--out', out], { cwd: folder, ...options });
  await until(() => exists(out, 'checkpoint.safetensors'), 'a checkpoint');
  return started;
}

test('a run goes on from its own checkpoint only, in its own folder with all its rows', async () => {
  const rows = async (name) => (await readFile(join(folder, name, 'metrics.csv'), 'utf8')).split('\r\n');
  await write(descent(400), 'a.json');
  await write(descent(400, { state: { random: { classes: 3, perClass: 4, dim: 5, seed: 9 } } }), 'b.json');
  await write(descent(800), 'long.json');
  assert.is((await simulate('a.json', '--out', 'a')).code, 0);
  assert.is((await simulate('long.json', '--out', 'whole')).code, 0);
  const other = await simulate('b.json', '--resume', 'a', '--out', 'b');
  assert.is(other.code, 1);
  assert.match(other.stderr, /config\.options\.resume is of a run with another start; expected the same start/);
  assert.not(await exists('b', 'run.json'));
  const batches = { ...descent(400).options, batch: { size: 4, seed: 1 } };
  await write(descent(400, { options: batches }), 'batches.json');
  assert.match(
    (await simulate('batches.json', '--resume', 'a', '--out', 'b')).stderr,
    /is of a run with batch 0, seed 0; expected/,
  );
  // In the same folder, and in another.
  assert.is((await simulate('long.json', '--resume', 'a', '--out', 'c')).code, 0);
  assert.is((await simulate('long.json', '--resume', 'a', '--out', 'a')).code, 0);
  for (const name of ['a', 'c']) {
    assert.equal(await rows(name), await rows('whole'), name);
    assert.equal(
      await readNpy(join(folder, name, 'arrays/state-features.npy')),
      await readNpy(join(folder, 'whole/arrays/state-features.npy')),
    );
    assert.is(await statusOf(name), 'complete');
  }
  // What was not measured before is not known before.
  const { options } = descent(1000);
  await write(descent(1000, { options: { ...options, measure: { names: ['accuracy', 'loss'], every: 10 } } }), 'more.json');
  assert.is((await simulate('more.json', '--resume', 'a', '--out', 'd')).code, 0);
  const more = await rows('d');
  assert.equal([more[0], more[1].split(',').slice(0, 2), more.at(-2).split(',')[0]], ['step,accuracy,loss', ['0', 'NaN'], '1000']);
  assert.is(more[1].split(',')[2], (await rows('whole'))[1].split(',')[1]);
});

test('resuming what is complete leaves it as it is, and says so', async () => {
  await write(descent(100));
  await simulate('c.json', '--out', 'r');
  const before = await readFile(join(folder, 'r', 'run.json'), 'utf8');
  const again = await simulate('c.json', '--resume', 'r', '--out', 'r');
  assert.is(again.code, 0, again.stderr);
  assert.match(again.stdout, /The run in .*r is complete; nothing is left to do/);
  assert.is(await readFile(join(folder, 'r', 'run.json'), 'utf8'), before);
  assert.ok(JSON.parse((await simulate('c.json', '--resume', 'r', '--out', 'r', '--json')).stdout).complete);
});

test('a finished run is not overwritten without --force, by any command', async () => {
  const { features, labels } = randomState({ classes: 3, perClass: 4, dim: 5 });
  await writeNpy(join(folder, 'h.npy'), features);
  await writeNpy(join(folder, 'y.npy'), { shape: [12], data: labels });
  await write(
    {
      ...descent(1),
      dynamics: 'gradientFlow',
      problem: undefined,
      options: { gamma: 0.1, rates: { features: 1, prototypes: 1 } },
      times: [1],
    },
    'flow.json',
  );
  await write(descent(10));
  const commands = [
    ['measure', 'h.npy', '--labels', 'y.npy'],
    ['evaluate', '--features', 'h.npy', '--prototypes', 'h.npy', '--labels', 'y.npy'],
    ['simulate', 'flow.json'],
    ['simulate', 'c.json'],
    ['doctor'],
  ];
  for (const command of commands) {
    const force = await run([...command, '--out', 'r', '--force'], { cwd: folder });
    assert.is(force.code, 0, force.stderr);
    assert.is(await statusOf('r'), 'complete');
    const config = await readFile(join(folder, 'r', 'config.json'), 'utf8');
    for (const other of commands) {
      const { code, stderr } = await run([...other, '--out', 'r'], { cwd: folder });
      assert.is(code, 1, other.join(' '));
      assert.match(stderr, /r holds a finished run \(.*\), which is not overwritten; give another folder, or --force/);
    }
    assert.is(await readFile(join(folder, 'r', 'config.json'), 'utf8'), config);
    assert.is(await statusOf('r'), 'complete');
    assert.is(await exists('r', 'checkpoint.safetensors'), command[1] === 'c.json', 'nothing is left of the run before');
  }
});

test('what asks a run to stop stops it in good order, with what it computed and a report', async () => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2', 'SIGXCPU']) {
    const { child, ended } = await running(signal);
    child.kill(signal);
    child.kill(signal); // of one cause
    const { code, stderr } = await ended;
    assert.is(code, 128 + constants.signals[signal], signal);
    assert.match(stderr, /Stopped\.\n$/);
    const { status, error, files } = await read(signal, 'run.json');
    assert.equal([status, error], ['stopped', `The run was stopped by ${signal}.`]);
    for (const file of ['metrics.csv', 'checkpoint.safetensors', 'report.html', 'figures/loss.svg'])
      assert.ok(files.includes(file), file);
    const { step } = await loadCheckpoint(join(folder, signal, 'checkpoint.safetensors'));
    assert.match(
      await readFile(join(folder, signal, 'report.html'), 'utf8'),
      new RegExp(`to step ${step} of 1000000000. The run was stopped by ${signal}.`),
    );
    assert.not(await exists(signal, '.lock'));
  }
});

test('a stopped trajectory leaves a report of what there is', async () => {
  await write({
    dynamics: 'kernelFlow',
    state: { random: { classes: 10, perClass: 60, dim: 32, seed: 0 } },
    options: { loss: 'mse', rate: 1, kernel: 'kernel.npy' },
    times: { from: 1, to: 1e6, count: 200_000 },
  });
  const kernel = new Float64Array(600 * 600).map((_, i) => (i % 601 === 0 ? 1 + i / 1e6 : 1e-3));
  await writeNpy(join(folder, 'kernel.npy'), { shape: [600, 600], data: kernel });
  const { child, output, ended } = start(['simulate', 'c.json', '--out', 'r'], { cwd: folder });
  await until(() => output.stderr.includes('measuring'), 'measuring');
  child.kill('SIGTERM');
  assert.is((await ended).code, 143);
  assert.is(await statusOf('r'), 'stopped');
  const page = await readFile(join(folder, 'r', 'report.html'), 'utf8');
  assert.match(page, /The run was stopped by SIGTERM\./);
  assert.not.match(page, /<h2>Limit/);
});

test('an evaluation that is stopped says so, one that is killed was interrupted, and so says who evaluates it', async () => {
  const { features, prototypes, labels } = randomState({ classes: 10, perClass: 2000, dim: 5 });
  for (const [name, array] of Object.entries({ features, prototypes, labels: { shape: [20_000], data: labels } }))
    await writeNpy(join(folder, `${name}.npy`), array);
  const inputs = ['--features', 'features.npy', '--prototypes', 'prototypes.npy', '--labels', 'labels.npy'];
  const endless = ['evaluate', ...inputs, '--resamples', '1000000', '--out', 'r'];
  for (const [signal, status] of [
    ['SIGTERM', 'stopped'],
    ['SIGKILL', 'interrupted'],
  ]) {
    const { child, output, ended } = start(endless, { cwd: folder });
    await until(() => output.stderr.includes('evaluating') && exists('r', 'config.json'), 'an evaluation');
    child.kill(signal);
    const { code } = await ended;
    assert.is(code, signal === 'SIGTERM' ? 143 : null);
    assert.is((await runIn(join(folder, 'r'))).status, status);
    await mkdir(join(folder, 'r', 'arrays'), { recursive: true });
    for (const name of ['features', 'prototypes', 'labels'])
      await copyFile(join(folder, `${name}.npy`), join(folder, 'r', 'arrays', `${name}.npy`));
    const of = await run(['evaluate', 'r', '--resamples', '0', '--out', 'of', '--force'], { cwd: folder });
    assert.is(of.code, 0, of.stderr);
    assert.match(of.stderr, new RegExp(`r is of a run that is ${status}: what it has written is evaluated`));
  }
  const again = await run(['evaluate', ...inputs, '--resamples', '0', '--out', 'r'], { cwd: folder });
  assert.is(again.code, 0, again.stderr);
  assert.is(await statusOf('r'), 'complete');
});

test('a signal that nohup has it ignore does not stop a run', async () => {
  const unreadable = openSync('/dev/null', 'w');
  for (const [name, options] of [
    ['shell', { env: { _: '/usr/bin/nohup' } }],
    ['input', { stdio: [unreadable, 'pipe', 'pipe'] }],
  ]) {
    const { child, output, ended } = await running(name, options);
    child.kill('SIGHUP');
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.is(child.exitCode, null);
    assert.not.match(output.stderr, /Stopping/);
    child.kill('SIGTERM');
    assert.is((await ended).code, 143);
  }
  closeSync(unreadable);
});

test('a reader that goes away does not end a run', async () => {
  await write(
    descent(3_000_000, {
      options: { ...descent(3_000_000).options, snapshots: 20_000, measure: { names: ['loss'], every: 50_000 } },
    }),
  );
  const { child, ended } = start(['simulate', 'c.json', '--out', 'r'], { cwd: folder });
  child.stderr.destroy();
  child.stdout.destroy();
  assert.is((await ended).code, 0);
  assert.is(await statusOf('r'), 'complete');
  // One that fails says so by its code nevertheless.
  for (const more of [[], ['--json']]) {
    const failing = start(['simulate', 'none.json', '--out', 'f', ...more], { cwd: folder });
    failing.child.stderr.destroy();
    failing.child.stdout.destroy();
    assert.is((await failing.ended).code, 1);
  }
});

test('two runs in one folder: the second is refused; what is killed is interrupted, and finished by a resumption', async () => {
  const { child, ended } = await running('r');
  const second = await simulate('endless.json', '--out', 'r', '--force');
  assert.is(second.code, 1);
  assert.match(second.stderr, new RegExp(`r is in use by another run \\(process ${child.pid} on `));
  child.kill('SIGKILL');
  await ended;
  const { step } = await loadCheckpoint(join(folder, 'r', 'checkpoint.safetensors'));
  const anew = await simulate('endless.json', '--out', 'r');
  assert.match(anew.stderr, /can go on \(simulate endless\): --resume/);
  const { options } = endless;
  await write({ ...endless, options: { ...options, steps: step + 50_000 } }, 'end.json');
  const { code, stderr } = await simulate('end.json', '--resume', 'r', '--out', 'r');
  assert.is(code, 0, stderr);
  assert.match(stderr, /The run before in .*r was interrupted: its process is gone/);
  assert.is(await statusOf('r'), 'complete');
  assert.equal(
    (await readdir(join(folder, 'r'))).filter((name) => name.startsWith('.')),
    [],
  );
});

test('a folder that cannot be had is told before anything is read or computed', async () => {
  await writeFile(join(folder, 'file'), '');
  await mkdir(join(folder, 'theirs'));
  await writeFile(join(folder, 'theirs', 'thesis.tex'), '');
  await write({ kind: 'nothing' });
  for (const args of [
    ['measure', 'none.npy', '--labels', 'y.npy'],
    ['evaluate', 'none.npy', '--labels', 'y.npy'],
    ['simulate', 'none.json'],
    ['train', 'none.json'],
    ['reproduce', 'fig1'],
    ['doctor'],
  ]) {
    const out = (path) => run([...args, '--out', path], { cwd: folder });
    assert.match((await out('file/run')).stderr, /^layerpeel: The folder .*file.run cannot be made/);
    assert.match((await out('theirs')).stderr, /^layerpeel: theirs holds files that no run wrote/);
    if (args[1]?.startsWith('none')) {
      assert.match((await out('new/run')).stderr, /none\.\w+ cannot be read: it does not exist/);
      assert.not((await readdir(folder)).includes('new'), 'nor is anything left of it');
    }
  }
  // Without --out too.
  await writeFile(join(folder, 'runs'), '');
  assert.match(
    (await run(['measure', 'none.npy', '--labels', 'y.npy'], { cwd: folder })).stderr,
    /The folder .*cannot be made|runs is a file/,
  );
});

test('the first error is told, whatever fails after it', async () => {
  // The disk is full for whatever is larger than a configuration: the checkpoint fails first, then the report.
  await write(descent(200, { state: { random: { classes: 10, perClass: 100, dim: 64, seed: 0 } } }));
  const { code, stderr } = await startLimited('ulimit -f 64', [main, 'simulate', 'c.json', '--out', 'r'], { cwd: folder }).ended;
  assert.is(code, 1);
  assert.match(stderr, /checkpoint\.safetensors cannot be written: it would be larger than files may be/);
  assert.is(await statusOf('r'), 'failed');
  assert.not(await exists('r', 'checkpoint.safetensors'));
  assert.ok(await exists('r', 'metrics.csv'));
});

test.run();
