// The README's snippets run as they stand, each a program of its own.
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as layerpeel from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from './process.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const readme = await readFile(join(root, 'README.md'), 'utf8');
const snippets = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map((match) => match[1]);

test('there are snippets', () => assert.ok(snippets.length > 3));

snippets.forEach((snippet, i) => {
  test(`snippet ${i + 1} runs`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'layerpeel-readme-'));
    try {
      await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
      await writeFile(join(folder, 'snippet.js'), snippet);
      await symlink(join(root), join(folder, 'layerpeel'));
      await symlink(folder, join(folder, 'node_modules'));
      const { code, stderr } = await startNode(['snippet.js'], { cwd: folder }).ended;
      assert.is(code, 0, stderr);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test('every function in its tables exists', () => {
  const rows = readme.split('\n').filter((line) => line.startsWith('| `'));
  const known = Object.keys(layerpeel);
  const names = rows.flatMap((row) => [...row.split(' | ')[0].matchAll(/`([a-zA-Z]+)(?:\(|`)/g)].map((match) => match[1]));
  for (const name of names.filter((each) => !each.startsWith('LP'))) assert.ok(known.includes(name), name);
});

test.run();
