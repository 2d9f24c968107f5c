// What the addons export and what TypeScript declares of it: the same functions, of as many parameters.
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { engine } from '../../lib/engine/load.js';
import { torchEngine } from '../../lib/training/engine.js';
import { torchSuite } from '../training/torch.js';

const sources = new URL('../../src/', import.meta.url);

/** The end of what opens at `begin`, and how many parts commas make of it. */
function span(text, begin) {
  let [depth, parts, filled] = [0, 0, false];
  for (let at = begin; ; at++) {
    const char = text[at];
    if ('([{<'.includes(char)) depth++;
    else if (')]}'.includes(char) || (char === '>' && text[at - 1] !== '=')) depth--;
    if (depth === 0) return { end: at, parts: parts + (filled ? 1 : 0) };
    if (depth === 1 && char === ',') [parts, filled] = [parts + 1, false];
    else if (at > begin && /\S/.test(char)) filled = true;
  }
}

/** The methods of an interface, wherever it is declared, and their numbers of parameters. */
function declared(name) {
  const methods = {};
  for (const file of readdirSync(sources, { recursive: true })) {
    if (!file.endsWith('.ts')) continue;
    const text = readFileSync(new URL(file, sources), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
    for (const { index, 0: head } of text.matchAll(new RegExp(`interface ${name} {`, 'g'))) {
      const open = index + head.length - 1;
      const { end } = span(text, open);
      const method = /\s(\w+)\(/y;
      for (let at = open; at < end; ) {
        method.lastIndex = at;
        const found = method.exec(text);
        if (!found) at++;
        else {
          const { end: close, parts } = span(text, method.lastIndex - 1);
          methods[found[1]] = parts;
          at = text.indexOf(';', close); // of the result, which has no methods
        }
      }
    }
  }
  return methods;
}

const exported = (addon) => Object.fromEntries(Object.entries(addon).map(([name, method]) => [name, method.length]));
const sorted = (methods) => Object.entries(methods).sort(([a], [b]) => (a < b ? -1 : 1));

test('the engine exports what is declared', () => {
  assert.ok(Object.keys(declared('Engine')).length > 30);
  assert.equal(sorted(exported(engine())), sorted(declared('Engine')));
});

test.run();

const torch = torchSuite('exports of the libtorch extension');

torch('the libtorch extension exports what is declared', () => {
  assert.equal(sorted(exported(torchEngine())), sorted(declared('TorchEngine')));
});

torch.run();
