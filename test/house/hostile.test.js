// The addon's functions called past the TypeScript front, with arguments that nothing has checked: errors, never a crash.
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';

const child = fileURLToPath(new URL('./children/hostile.js', import.meta.url));

for (const seed of [1, 2]) {
  test(`native functions survive hostile arguments, seed ${seed}`, async () => {
    const { code, signal, stdout, stderr } = await startNode([child, String(seed)]).ended;
    assert.is(code, 0, `${signal}\n${stderr.slice(-4000)}`);
    const { functions, calls, refused } = JSON.parse(stdout);
    assert.ok(refused > calls / 3, stdout);
    for (const [name, count] of Object.entries(functions))
      assert.ok(count > 0, `${name} was not called: extend children/hostile.js`);
  });
}

test.run();
