import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import { checkReaders, mutated, mutatedPickles, seeds } from '../fuzz/mutations.js';

const folder = mkdtempSync(join(tmpdir(), 'layerpeel-hostile-'));
test.after(() => rmSync(folder, { recursive: true }));

test('the seeds themselves', async () => {
  for (const seed of seeds) await checkReaders(seed, join(folder, 'file'));
});

test('changed files are read as arrays that agree with themselves, or refused (npm run fuzz for longer)', async () => {
  await fc.assert(
    fc.asyncProperty(mutated, (file) => checkReaders(file, join(folder, 'file'))),
    { numRuns: 1000 },
  );
});

test('so are files whose pickles are changed', async () => {
  await fc.assert(
    fc.asyncProperty(mutatedPickles, (file) => checkReaders(file, join(folder, 'file'))),
    { numRuns: 1000 },
  );
});

test.run();
