// Many samples: the event loop turns meanwhile, a signal stops the work, and logits are never stored whole.
import { fileURLToPath } from 'node:url';
import { etfOptimum, kktCertificate, margins, randomState, simplexETF, tangentCurvature } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';
import { startNode } from '../process.js';

const sizes = { classes: 100, perClass: 100, dim: 64 };

/** How often the event loop turned until a promise settled; `turn` is called at every turn. */
async function turns(promise, turn = () => {}) {
  let count = 0;
  let going = true;
  const again = () => {
    if (!going) return;
    turn(++count);
    setImmediate(again);
  };
  setImmediate(again);
  try {
    await promise;
  } finally {
    going = false;
  }
  return count;
}

test('the event loop turns while large states are analysed', async () => {
  const random = randomState({ ...sizes, dtype: 'float32' });
  // Ten calls at a time, lest a busy machine be done before the loop gets its turn.
  const ten = (call) => turns(Promise.all(Array.from({ length: 10 }, call)));
  assert.ok((await ten(() => tangentCurvature(random, { steps: 3 }))) > 0);
  assert.ok((await ten(() => margins(random))) > 0);
  const prototypes = simplexETF(sizes.classes, 128, { scale: 5 });
  const separated = { features: etfOptimum(prototypes, random.labels), prototypes, labels: random.labels };
  assert.ok((await ten(() => kktCertificate(separated))) > 0);
});

test('a signal stops a search on its way', async () => {
  const controller = new AbortController();
  const shares = [];
  const search = tangentCurvature(randomState(sizes), {
    steps: 1e6,
    tolerance: 1e-300,
    signal: controller.signal,
    onProgress: (share) => {
      shares.push(share);
      if (shares.length === 3) controller.abort();
    },
  });
  await refuses('LP_ABORTED', /stopped/, () => search);
  assert.ok(shares.length >= 3 && shares.every((share, k) => share > 0 && (k === 0 || share > shares[k - 1])));
});

test('logits are never stored whole', async () => {
  const { code, stdout, stderr } = await startNode([fileURLToPath(new URL('children/lean.js', import.meta.url))]).ended;
  assert.is(code, 0, stderr);
  const { smallest, multipliers, steps, logits, grown } = JSON.parse(stdout);
  assert.ok(smallest > 0);
  assert.equal(multipliers, [0, 3000]);
  assert.is(steps, 2);
  assert.ok(grown < logits / 2, `${grown} MiB, beside ${logits} MiB of logits`);
});

test.run();
