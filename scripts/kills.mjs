// Kills runs of the command line at random moments, lets them go on, and holds what they end in to the bits of a run that nobody
// disturbed: `npm run kills -- [--kills 50] [--only simulate] [--seed 0]`. A training is among them where libtorch is installed.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readSafetensors, seededRandom } from 'layerpeel';

const { values: options } = parseArgs({
  options: { kills: { type: 'string', default: '50' }, only: { type: 'string' }, seed: { type: 'string', default: '0' } },
});
const random = seededRandom(Number(options.seed));
const main = fileURLToPath(new URL('../lib/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'layerpeel-kills-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const learningRates = { features: 1, prototypes: 0.1 };
const descent = {
  dynamics: 'projectedDescent',
  state: { random: { classes: 5, perClass: 20, dim: 16, seed: 0 } },
  problem: { loss: { kind: 'cross-entropy' }, constraints: { features: { kind: 'ball', radius: 3 } } },
  options: {
    learningRates,
    momentum: 0.9,
    batch: { size: 25, seed: 1 },
    steps: 60_000,
    snapshots: 500,
    measure: { names: ['loss'], every: 100 },
  },
};
const training = {
  data: { kind: 'idx', path: folder, verify: false },
  model: { kind: 'mlp', widths: [32] },
  loss: { kind: 'cross-entropy' },
  ...{ epochs: 40, batch: 50, threads: 1, optimizer: { learningRate: 0.05, momentum: 0.9 } },
};
writeFileSync(join(folder, 'simulate.json'), JSON.stringify(descent));
writeFileSync(join(folder, 'train.json'), JSON.stringify(training));
for (const split of ['train', 't10k']) {
  const count = 300;
  const [images, labels] = [Buffer.alloc(16 + 64 * count), Buffer.alloc(8 + count)];
  for (const [i, value] of [2051, count, 8, 8].entries()) images.writeUInt32BE(value, 4 * i);
  for (const [i, value] of [2049, count].entries()) labels.writeUInt32BE(value, 4 * i);
  for (let i = 0; i < count; i++) {
    labels[8 + i] = i % 3;
    for (let j = 0; j < 64; j++) images[16 + 64 * i + j] = 80 * (i % 3) + Math.floor(60 * random.uniform());
  }
  writeFileSync(join(folder, `${split}-images-idx3-ubyte`), images);
  writeFileSync(join(folder, `${split}-labels-idx1-ubyte`), labels);
}

/** Runs a command; `until` kills it after so many milliseconds. */
function run(args, until) {
  const began = performance.now();
  const child = spawn(process.execPath, [main, ...args], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  const timer = until === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), until);
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code, said, took: performance.now() - began });
    });
  });
}

/** Whether a run says so; a kill may come between that and the end of its process. */
function isComplete(out) {
  try {
    return JSON.parse(readFileSync(join(folder, out, 'run.json'), 'utf8')).status === 'complete';
  } catch {
    return false;
  }
}

/** What a run ends in, without what depends on the clock. */
async function contentOf(out) {
  const { status, files } = JSON.parse(readFileSync(join(folder, out, 'run.json'), 'utf8'));
  const content = { status, files: [...files].sort() };
  for (const file of files) {
    if (/\.npy$|^metrics\.csv$|^figures/.test(file)) content[file] = readFileSync(join(folder, out, file), 'latin1');
  }
  if (files.includes('checkpoint.safetensors'))
    content.tensors = (await readSafetensors(join(folder, out, 'checkpoint.safetensors'))).tensors;
  if (out.startsWith('train')) {
    // Seconds and images a second are columns and figures of a training.
    const [head, ...rows] = content['metrics.csv']
      .trim()
      .split('\r\n')
      .map((line) => line.split(','));
    const kept = head.flatMap((name, i) => (/second|Second|waited/.test(name) ? [] : [i]));
    content['metrics.csv'] = [head, ...rows].map((row) => kept.map((i) => row[i]));
    for (const figure of ['figures/images-per-second.svg', 'figures/time-shares.svg']) delete content[figure];
  }
  return content;
}

const commands = {
  simulate: ['simulate', 'simulate.json'],
  train: ['train', 'train.json'],
  reproduce: ['reproduce', 'ul-fig8'],
};

for (const [name, command] of Object.entries(commands)) {
  if (options.only && options.only !== name) continue;
  const whole = await run([...command, '--out', `${name}-whole`]);
  if (/torch install/.test(whole.said)) {
    console.log(`${name}: left out, there is no libtorch here`);
    continue;
  }
  assert.equal(whole.code, 0, whole.said);
  const expected = await contentOf(`${name}-whole`);
  const seen = { 'before it began': 0, 'while it ran': 0, 'after its end': 0 };
  for (let k = 0; k < Number(options.kills); k++) {
    const out = `${name}-${k}`;
    const killed = await run([...command, '--out', out], whole.took * random.uniform());
    seen[killed.code === 0 ? 'after its end' : killed.said ? 'while it ran' : 'before it began']++;
    const began = readdirSync(folder).includes(out);
    const goesOn = began && readdirSync(join(folder, out)).includes('checkpoint.safetensors');
    if (!isComplete(out)) {
      const again = await run([...command, '--out', out, ...(goesOn ? ['--resume', out] : [])]);
      assert.equal(again.code, 0, again.said);
    }
    assert.deepEqual(await contentOf(out), expected, `${out}, killed after ${killed.took} ms`);
    const stray = readdirSync(join(folder, out), { recursive: true }).filter((file) => /(^|\/)\./.test(file));
    assert.deepEqual(
      stray.filter((file) => file !== '.lock'),
      [],
      'temporary files',
    );
    rmSync(join(folder, out), { recursive: true });
  }
  console.log(`${name}: ${options.kills} killed and finished to the same bits (${JSON.stringify(seen)})`);
}
