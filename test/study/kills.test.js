// A few of the kills of `scripts/study-kills.mjs`: whatever the moment, each run is run once, and the table is that of an undisturbed study.
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';

const script = fileURLToPath(new URL('../../scripts/study-kills.mjs', import.meta.url));

test('a study that is killed at any moment goes on to the same table, each run run once', async () => {
  const { code, stdout, stderr } = await startNode([script, '--runs', '40', '--kills', '4']).ended;
  assert.is(code, 0, stderr);
  assert.match(stdout, /40 runs, \d kills: every run once/);
});

test.run();
