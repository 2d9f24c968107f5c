// Native memory goes when the work that holds it is over, or is known to the garbage collector, which takes it away.
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';

const child = fileURLToPath(new URL('./children/growth.js', import.meta.url));

for (const [work, most] of Object.entries({ finished: 400, left: 400, abandoned: 500, collapse: 150, trajectories: 150 })) {
  test(`60 rounds of work that is over: ${work}`, async () => {
    const { code, stdout, stderr } = await startNode([child, work]).ended;
    assert.is(code, 0, stderr);
    assert.ok(Number(stdout) < most, `${stdout.trim()} MB more; at most ${most} are expected`);
  });
}

test.run();
