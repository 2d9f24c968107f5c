// What a machine refuses in the middle of a run: a full disk, a file system that turns read-only, too many open files, no memory.
// The one call after which they all fail lies anywhere: nothing is half there, what is said is true, and a later run finishes.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { randomState, readNpy, readSafetensors, writeNpy } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { runIn } from '../../lib/report/run-folder.js';
import { torchState } from '../../lib/training/state.js';
import { preloaded, startNode } from '../process.js';
import { idxFiles } from '../training/images.js';
import { run } from './run.js';

const REASONS = {
  full: 'the disk is full',
  flush: 'the disk is full',
  readonly: 'its file system is read-only',
  forbidden: 'permission is denied',
  descriptors: 'too many files are open in this process (ulimit -n)',
  device: 'the device reports an error',
};
/** Kinds under which what was made cannot be removed either. */
const LEAVING = ['readonly', 'forbidden'];

let folder;
let before;
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-faults-'));
  before = preloaded(new URL('../house/children/faults.c', import.meta.url), folder);
  const { features, prototypes, labels } = randomState({ classes: 3, perClass: 4000, dim: 20 });
  for (const [name, array] of Object.entries({ h: features, w: prototypes, y: { shape: [12_000], data: labels } }))
    await writeNpy(join(folder, `${name}.npy`), array);
  const state = { random: { classes: 3, perClass: 4000, dim: 20 } };
  const learningRates = { features: 1, prototypes: 1 };
  const configurations = {
    descent: {
      ...{ dynamics: 'projectedDescent', state, problem: { loss: { kind: 'cross-entropy' } } },
      options: { learningRates, steps: 200, snapshots: 50 },
    },
    flow: {
      ...{ dynamics: 'gradientFlow', state, options: { gamma: 0.1, rates: learningRates } },
      ...{ times: [0, 1, 2], measure: ['loss'], save: ['state', 'limit'] },
    },
    net: {
      ...{
        data: { kind: 'idx', path: 'images', verify: false },
        model: { kind: 'mlp', widths: [8] },
        loss: { kind: 'cross-entropy' },
      },
      ...{ epochs: 3, batch: 50, threads: 1, tensorboard: true, optimizer: { learningRate: 0.05, momentum: 0.9 } },
    },
  };
  for (const [name, config] of Object.entries(configurations))
    await writeFile(join(folder, `${name}.json`), JSON.stringify(config));
  await mkdir(join(folder, 'images'));
  await idxFiles(join(folder, 'images'));
});
test.after(() => rm(folder, { recursive: true }));

const commands = {
  descent: ['simulate', 'descent.json'],
  flow: ['simulate', 'flow.json'],
  measure: ['measure', 'h.npy', '--labels', 'y.npy'],
  evaluate: ['evaluate', '--features', 'h.npy', '--prototypes', 'w.npy', '--labels', 'y.npy', '--resamples', '10'],
  reproduce: ['reproduce', 'lp-thm34'],
  ...(torchState().usable ? { net: ['train', 'net.json'] } : {}),
};
if (!commands.net) console.log('Skipped: faults in a training, as there is no libtorch here.');

const filesOf = (out) =>
  readdirSync(join(folder, out), { recursive: true }).filter((file) => statSync(join(folder, out, file)).isFile());
const arraysOf = (out) =>
  Object.fromEntries(
    filesOf(out).flatMap((file) => (file.endsWith('.npy') ? [[file, readFileSync(join(folder, out, file), 'latin1')]] : [])),
  );
/** Reads every file of a run whole. */
async function readAll(out) {
  for (const file of filesOf(out)) {
    const path = join(folder, out, file);
    if (file.endsWith('.json')) JSON.parse(readFileSync(path, 'utf8'));
    if (file.endsWith('.npy')) await readNpy(path);
    if (file.endsWith('.safetensors')) await readSafetensors(path);
    if (file.endsWith('.html')) assert.match(readFileSync(path, 'utf8'), /<\/html>\s*$/);
    if (file.endsWith('.svg')) assert.match(readFileSync(path, 'utf8'), /<\/svg>\s*$/);
    if (file.endsWith('.csv')) assert.ok(readFileSync(path, 'utf8').endsWith('\r\n'));
  }
}

for (const [name, command] of Object.entries(commands)) {
  test(`${command[0]} ${name}: nothing is half there, what is said is true, and a later run finishes`, async () => {
    const whole = await run([...command, '--out', `${name}-whole`], { cwd: folder });
    assert.is(whole.code, 0, whole.stderr);
    const wanted = arraysOf(`${name}-whole`);
    let failures = 0;
    for (const [kind, most, ...calls] of [
      ['full', 1e9, 1, 24],
      ['readonly', 1e9, 17],
      ['descriptors', 1, 3],
      ['device', 1, 20],
    ]) {
      for (const from of calls) {
        const [out, what] = [`${name}-${kind}-${from}`, `${kind}, from call ${from} on`];
        const env = { ...before, FAULT: kind, FAULT_IN: join(folder, out), FAULT_FROM: String(from), FAULT_MOST: String(most) };
        const { code, signal, stdout, stderr } = await run([...command, '--out', out, '--json'], { cwd: folder, env });
        const said = `${what}: ${signal} ${stderr}`;
        const status = existsSync(join(folder, out)) ? (await runIn(join(folder, out)))?.status : undefined;
        if (code === 0)
          assert.is(status, 'complete', said); // it needs no more such calls
        else {
          failures++;
          assert.is(code, 1, said);
          const { error } = JSON.parse(stdout);
          assert.is(error.code, 'LP_FILE', said);
          assert.ok(error.message.includes(join(folder, out)) && error.message.includes(REASONS[kind]), error.message);
          assert.match(stderr, /^layerpeel: [^\n]+\n$/m);
          // Where nothing can be written any more the folder says that it runs, and its lock that it does not.
          assert.ok([undefined, 'failed', ...(most > 1 ? ['interrupted'] : [])].includes(status), `${status}: ${said}`);
        }
        if (status === undefined) continue;
        const hidden = filesOf(out).filter((file) => /(^|\/)\./.test(file));
        if (!LEAVING.includes(kind)) assert.equal(hidden, [], what);
        else assert.ok(hidden.length <= 2, `${what}: ${hidden}`);
        for (const file of hidden) await rm(join(folder, out, file));
        await readAll(out);
      }
      // The last of them goes on.
      const out = `${name}-${kind}-${calls.at(-1)}`;
      const resumes = existsSync(join(folder, out, 'checkpoint.safetensors'));
      const complete = existsSync(join(folder, out, 'run.json')) && (await runIn(join(folder, out)))?.status === 'complete';
      const again = await run([...command, '--out', out, ...(resumes ? ['--resume', out] : complete ? ['--force'] : [])], {
        cwd: folder,
      });
      assert.is(again.code, 0, `after ${kind}: ${again.stderr}`);
      assert.equal(arraysOf(out), wanted, `after ${kind}`);
      const { status, files } = JSON.parse(readFileSync(join(folder, out, 'run.json'), 'utf8'));
      assert.is(status, 'complete');
      assert.equal(filesOf(out).sort(), [...files, 'run.json'].sort(), 'nothing else is left');
    }
    assert.ok(failures >= 3, `${failures} runs failed`);
  });

  if (['net', 'reproduce'].includes(name)) continue; // they fit anywhere
  test(`${command[0]} ${name}: what has no memory is refused, and a later run finishes`, async () => {
    const out = `${name}-memory`;
    const { code, signal, stdout, stderr } = await run([...command, '--out', out, '--json'], {
      cwd: folder,
      env: { LAYERPEEL_MEMORY: '1M' },
    });
    assert.is(code, 1, `${signal} ${stderr}`);
    assert.is(JSON.parse(stdout).error.code, 'LP_MEMORY', stderr);
    if (existsSync(join(folder, out))) assert.is((await runIn(join(folder, out))).status, 'failed');
    assert.is((await run([...command, '--out', out], { cwd: folder })).code, 0);
    assert.equal(arraysOf(out), arraysOf(`${name}-whole`));
  });
}

test('arrays and checkpoints are written whole or not at all, whichever call is refused', async () => {
  const path = join(folder, 'written');
  await mkdir(path);
  const child = fileURLToPath(new URL('../house/children/writers.js', import.meta.url));
  for (const [kind, reason] of Object.entries(REASONS)) {
    const { code, stdout, stderr } = await startNode([child, path], { env: { ...before, FAULT: kind, FAULT_IN: path } }).ended;
    assert.is(code, 0, stderr);
    const outcomes = JSON.parse(stdout);
    assert.is(outcomes.filter(({ done }) => done).length, 6);
    assert.ok(outcomes.length >= 12, 'each is refused at least once');
    for (const { name, before: stood, k, done, code: of, message, left, stands } of outcomes) {
      const what = `${kind}, ${name}, call ${k}`;
      const rest = left.filter((file) => file !== name);
      if (done) {
        assert.equal(left, [name], what);
        assert.is.not(stands, stood);
        continue;
      }
      assert.equal([of, message], ['LP_FILE', `${join(path, name)} cannot be written: ${reason}.`], what);
      assert.is(stands, stood, what);
      assert.ok(rest.length <= (LEAVING.includes(kind) ? 1 : 0), `${what}: ${rest}`);
    }
  }
});

test.run();
