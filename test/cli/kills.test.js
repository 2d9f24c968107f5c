// A few of the kills of `npm run kills`: whatever the moment, the run is finished to the same bits.
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';

const script = fileURLToPath(new URL('../../scripts/kills.mjs', import.meta.url));

test('a run that is killed at any moment is finished to the same bits', async () => {
  const { code, stdout, stderr } = await startNode([script, '--kills', '4', '--only', 'simulate']).ended;
  assert.is(code, 0, stderr);
  assert.match(stdout, /simulate: 4 killed and finished to the same bits/);
});

test.run();
