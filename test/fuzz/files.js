/**
 * Fuzzes the file readers: node test/fuzz/files.js [--seconds 60] [--seed N]
 * Prints the number of files tried; a failure is printed with the seed and path that repeat it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { checkReaders, mutated } from './mutations.js';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } } });
const folder = mkdtempSync(join(tmpdir(), 'layerpeel-fuzz-'));
let files = 0;
try {
  await fc.assert(
    fc.asyncProperty(mutated, async (file) => {
      files++;
      await checkReaders(file, join(folder, 'file'));
    }),
    {
      numRuns: Number.MAX_SAFE_INTEGER,
      interruptAfterTimeLimit: 1000 * Number(values.seconds),
      ...(values.seed && { seed: Number(values.seed) }),
    },
  );
  console.log(`${files} files: each read as an array that agrees with itself, or refused with LP_FILE`);
} finally {
  rmSync(folder, { recursive: true });
}
