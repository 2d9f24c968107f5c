// No file imports itself by way of others, and no folder of src/ either: what is read first stands on nothing that comes later.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const sources = fileURLToPath(new URL('../../src/', import.meta.url));

/** What each file of src/ imports of it, types included. */
const files = new Map(
  readdirSync(sources, { recursive: true }).flatMap((file) => {
    if (!file.endsWith('.ts')) return [];
    const text = readFileSync(join(sources, file), 'utf8').replace(/^declare module .*/gm, '');
    const paths = [...text.matchAll(/(?:from|import|import\()\s*'(\.[^']*)\.js'/g)].map(([, path]) => path);
    return [[file, paths.map((path) => `${normalize(join(dirname(file), path))}.ts`)]];
  }),
);

const folderOf = (file) => (file.includes('/') ? dirname(file).split('/')[0] : file);
const folders = new Map();
for (const [file, imports] of files) {
  const folder = folderOf(file);
  folders.set(folder, [...(folders.get(folder) ?? []), ...imports.map(folderOf).filter((other) => other !== folder)]);
}

/** A circle in a graph, as the names on it, or undefined. */
function circle(graph) {
  const done = new Set();
  const walk = (name, path) => {
    if (path.includes(name)) return [...path.slice(path.indexOf(name)), name];
    if (done.has(name)) return undefined;
    for (const next of graph.get(name) ?? []) {
      const found = walk(next, [...path, name]);
      if (found) return found;
    }
    done.add(name);
    return undefined;
  };
  for (const name of graph.keys()) {
    const found = walk(name, []);
    if (found) return found.join(' → ');
  }
  return undefined;
}

test('every import is of a file that is there', () => {
  assert.ok(files.size > 100);
  for (const [file, imports] of files) for (const other of imports) assert.ok(files.has(other), `${file} imports ${other}`);
});

test('no circle of files', () => {
  assert.is(circle(files), undefined);
});

test('no circle of folders', () => {
  assert.is(circle(folders), undefined);
});

test.run();
