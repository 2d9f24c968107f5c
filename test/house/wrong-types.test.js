// Every public function with every wrong type in every place that its declaration has: a result or an error with a code.
import { closeSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';

const child = fileURLToPath(new URL('./children/wrong-types.js', import.meta.url));

test('wrong types are refused with a code, wherever they stand', async () => {
  // A file takes what a pipe would not: the child says what it calls and does not wait until that is read.
  const log = join(mkdtempSync(join(tmpdir(), 'layerpeel-')), 'calls');
  const descriptor = openSync(log, 'w');
  const { code, signal, stdout } = await startNode([child], { stdio: ['ignore', 'pipe', descriptor] }).ended;
  closeSync(descriptor);
  assert.is(code, 0, `${signal}\n${readFileSync(log, 'utf8').slice(-4000)}`);
  const { calls, refused, faults } = JSON.parse(stdout);
  assert.ok(refused > calls / 2, stdout);
  assert.is(faults.length, 0, `${faults.length} of ${calls} calls:\n${faults.slice(0, 20).join('\n')}`);
});

test.run();
