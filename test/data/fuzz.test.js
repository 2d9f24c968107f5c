import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import { archives, checkArchive } from '../fuzz/archives.js';
import { changedConfigurations, checkConfiguration } from '../fuzz/configurations.js';
import { changes } from '../fuzz/mutations.js';
import { checkSet, sets } from '../fuzz/sets.js';

let folder;
let number = 0;
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'layerpeel-images-'));
});
test.after.each(() => rmSync(folder, { recursive: true }));
const own = () => {
  const path = join(folder, String(number++));
  mkdirSync(path);
  return path;
};

test('a set with a changed file is loaded as one that agrees with itself, or refused (npm run fuzz for longer)', async () => {
  for (const set of sets) {
    await fc.assert(
      fc.asyncProperty(fc.noBias(changes), (change) => checkSet({ ...set, change }, own())),
      { numRuns: 30 },
    );
  }
});

test('arrays of a zip are read under any names, and a changed zip is read or refused', () =>
  fc.assert(
    fc.asyncProperty(archives, (one) => checkArchive(one, own())),
    { numRuns: 100 },
  ));

test('a changed configuration is read or refused', () =>
  fc.assert(
    fc.asyncProperty(changedConfigurations, (one) => checkConfiguration(one, own())),
    { numRuns: 300 },
  ));

test.run();
