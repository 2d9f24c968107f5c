// Kills a study at random moments, alone or with all that it started, lets it go on, two at a time now and then, and holds what it ends in
// to what the same simulations give in one process, bit for bit: `node scripts/study-kills.mjs [--runs 1000] [--kills 20] [--jobs 2]
// [--pause 4000] [--seed 0]`. A run that was complete at some kill must stay as it was: each runs once.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { seededRandom, study } from 'layerpeel';

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '1000' },
    kills: { type: 'string', default: '20' },
    jobs: { type: 'string', default: '2' },
    pause: { type: 'string', default: '4000' },
    seed: { type: 'string', default: '0' },
  },
});
const random = seededRandom(Number(options.seed));
const main = fileURLToPath(new URL('../lib/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'layerpeel-study-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const seeds = 5;
const config = {
  command: 'simulate',
  base: {
    dynamics: 'gradientFlow',
    state: { random: { classes: 3, perClass: 2, dim: 4 } },
    options: { gamma: 0.1, rates: { features: 1, prototypes: 1 } },
    ...{ times: [0, 5], measure: ['loss', 'accuracy'], save: [] },
  },
  axes: {
    'options.gamma': Array.from({ length: Math.ceil(Number(options.runs) / seeds) }, (_, k) => k / 1000),
    'state.random.seed': Array.from({ length: seeds }, (_, k) => k),
  },
};
writeFileSync(join(folder, 's.json'), JSON.stringify(config));
const count = config.axes['options.gamma'].length * seeds;

const start = () => {
  const args = [main, 'study', 's.json', '--out', 'st', '--jobs', options.jobs];
  const child = spawn(process.execPath, args, { cwd: folder, detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (text) => {
    said = (said + text).slice(-2000);
  });
  return { child, ended: new Promise((resolve) => child.on('close', (code) => resolve({ code, said }))) };
};
/** `run.json` of the runs that are complete. */
const complete = () => {
  const runs = join(folder, 'st/runs');
  const found = new Map();
  for (const id of readdirSync(runs)) {
    let text = '';
    try {
      text = readFileSync(join(runs, id, 'run.json'), 'utf8');
    } catch {
      continue;
    }
    if (JSON.parse(text).status === 'complete') found.set(id, text);
  }
  return found;
};
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const seen = new Map();
let killed = 0;
let over = false;
while (killed < Number(options.kills) && !over) {
  const studies = random.uniform() < 0.3 ? [start(), start()] : [start()];
  const ends = Promise.all(studies.map(({ ended }) => ended));
  over = await Promise.race([ends.then(() => true), pause(300 + random.uniform() * Number(options.pause)).then(() => false)]);
  if (over) break;
  for (const { child } of studies) process.kill(random.uniform() < 0.5 ? child.pid : -child.pid, 'SIGKILL');
  await ends;
  killed++;
  for (const [id, text] of complete()) {
    assert.equal(text, seen.get(id) ?? text, `${id} was run again`);
    seen.set(id, text);
  }
}
const { code, said } = await start().ended;
assert.equal(code, 0, said);
const end = complete();
assert.equal(end.size, count);
for (const [id, text] of seen) assert.equal(end.get(id), text, `${id} was run again`);

const table = readFileSync(join(folder, 'st/table.csv'), 'utf8');
await study({ ...config, folders: false }, { out: join(folder, 'whole') });
assert.equal(table, readFileSync(join(folder, 'whole/table.csv'), 'utf8'));
console.log(
  `${count} runs, ${killed} kills: every run once, ${seen.size} of them before the last kill; the table of an undisturbed study`,
);
