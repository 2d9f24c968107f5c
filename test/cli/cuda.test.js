// `layerpeel cuda`: what it says of GPUs, and what it asks for where it is told nothing it knows.
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';

const main = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));
const run = (...argv) => startNode([main, 'cuda', ...argv]).ended;

test('info says what there is or why not, and the same as a document', async () => {
  const { code, stdout } = await run('info');
  assert.is(code, 0);
  assert.match(stdout, /^(not usable: \w.*[.)]$| *CUDA +usable: \d)/m);
  const { usable, state, devices, blas } = JSON.parse((await run('info', '--json')).stdout);
  assert.is(usable, devices.length > 0);
  assert.ok(state.length > 10);
  assert.is(usable, blas !== '');
});

test('anything else is refused, with what there is', async () => {
  for (const [argv, message] of [
    [[], /install|info/],
    [['inform'], /did you mean 'info'/],
    [['info', '--device'], /--device/],
  ]) {
    const { code, stderr } = await run(...argv);
    assert.is(code, 2);
    assert.match(stderr, message);
  }
});

test.run();
