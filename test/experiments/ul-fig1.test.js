import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run } from '../cli/run.js';

test('reproduce fig1: every statement of the paper holds, and the exponents are those of the two leading modes', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
  const { code, stdout } = await run(['reproduce', 'fig1', '--out', 'run', '--json'], { cwd: folder });
  assert.is(code, 0);
  const { verdicts, report } = JSON.parse(stdout);
  for (const { claim, holds } of verdicts) assert.ok(holds, claim);
  assert.match(await readFile(report, 'utf8'), /15 of 15 statements hold/);

  const [head, ...rows] = (await readFile(join(folder, 'run', 'metrics.csv'), 'utf8')).trim().split('\r\n');
  const column = (name) => rows.map((row) => Number(row.split(',')[head.split(',').indexOf(name)]));
  const unit = Math.sqrt(10) * 1e-4;
  for (const [gamma, factor] of [
    ['0', 1],
    ['0.001', 1.001],
    ['0.005', 1.005],
    ['1/(C−1)', 100 / 99],
    ['0.05', 3.95],
  ]) {
    const [before, end] = column(`logNorm (γ = ${gamma})`).slice(-2);
    assert.ok(Math.abs((end - before) / 100 - Math.log1p(factor * unit)) < 1e-9, gamma);
  }
  const iterated = (await readFile(join(folder, 'run', 'iterated.csv'), 'utf8')).split('\r\n');
  const names = iterated[0].split(',');
  for (const row of iterated.slice(1, -1)) {
    for (const [i, value] of row.split(',').entries()) {
      if (names[i].startsWith('difference')) assert.ok(Number(value) < 1e-12, `${names[i]}: ${value}`);
    }
  }
  await rm(folder, { recursive: true });
});

test.run();
