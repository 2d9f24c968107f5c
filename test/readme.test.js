// The README's snippets run as they stand, each a program of its own.
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as layerpeel from 'layerpeel';
import * as torch from 'layerpeel/torch';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkSettings, checkTrainingLoss } from '../lib/training/config.js';
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
  const known = [...Object.keys(layerpeel), ...Object.keys(torch)];
  const names = rows.flatMap((row) => [...row.split(' | ')[0].matchAll(/`([a-zA-Z]+)(?:\(|`)/g)].map((match) => match[1]));
  for (const name of names.filter((each) => !each.startsWith('LP'))) assert.ok(known.includes(name), name);
});

test('it names every function', () => {
  const code = [...readme.replaceAll(/^```.*?^```$/gms, '').matchAll(/`([^`]+)`/g)].map((match) => match[1]).join(' ');
  for (const name of [...Object.keys(layerpeel), ...Object.keys(torch)].map((each) => each.replace(/Sync$/, ''))) {
    assert.match(code, new RegExp(`\\b${name}\\b`));
  }
});

test('its tables have a head and rows of one width', () => {
  for (const table of readme.matchAll(/(?:^\|.*\n)+/gm)) {
    const [head, rule, ...rows] = table[0].trimEnd().split('\n');
    assert.match(rule ?? '', /^\|(-+\|)+$/, head);
    for (const row of rows) assert.is(row.split(' | ').length, head.split('|').length - 2, row);
  }
});

test('its commands exist', async () => {
  const root = new URL('../lib/cli/', import.meta.url);
  for (const [, name] of readme.matchAll(/npx layerpeel ([a-z]+)/g)) assert.ok((await import(new URL(`${name}.js`, root))).command);
});

test('its configuration of a training is one', () => {
  const config = JSON.parse(/^```json\n(.*?)^```$/ms.exec(readme)[1]);
  const place = { path: 'config', code: 'LP_CONFIG' };
  checkSettings(config, place);
  checkTrainingLoss(config, Int32Array.of(500, 50, 5), place);
});

test.run();
