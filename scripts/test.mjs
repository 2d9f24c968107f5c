// Runs the tests of the package: each file in a process of its own, as many at a time as there are processors, up to four. Much of a
// test waits for programs that it starts: two at a time take little more than half as long.
//
//   node scripts/test.mjs [PATTERN]     files under test/ whose paths match; default: \.test\.js$
//
// Ends with the totals, and with 1 where a test failed or a file ended before its tests did.
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const tests = join(root, 'test');
// Files that take a minute or more, which begin first lest one of them is left for the end.
const long = ['docs.test.js', 'types/consumers.test.js', 'experiments/verdicts.test.js', 'experiments/networks.test.js'];

const pattern = new RegExp(process.argv[2] ?? '\\.test\\.js$');
const found = readdirSync(tests, { recursive: true })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.test.js') && pattern.test(file))
  .sort();
const waiting = [...long.filter((file) => found.includes(file)), ...found.filter((file) => !long.includes(file))];
const totals = { Total: 0, Passed: 0, Skipped: 0 };
const failed = [];

/** Runs a file; what it printed appears whole. */
function run(file) {
  return new Promise((done) => {
    const exactly = `^${file.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`;
    const child = spawn(process.execPath, [join(root, 'node_modules/uvu/bin.js'), 'test', exactly], { cwd: root });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
    }
    child.on('error', (error) => {
      text += error.message;
    });
    child.on('close', (code) => {
      const counts = Object.keys(totals).map((name) => [name, new RegExp(`^ *${name}: +(\\d+)`, 'm').exec(plain(text))?.[1]]);
      const known = counts.every(([, count]) => count !== undefined);
      if (known) for (const [name, count] of counts) totals[name] += Number(count);
      if (code !== 0 || !known) failed.push(file);
      process.stdout.write(known ? text.slice(0, text.search(/[^\n]*Total:/)) : `${text}\n${file} ended with ${code}\n`);
      done();
    });
  });
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours
const plain = (text) => text.replace(/\u001b\[\d+m/g, '');

const began = performance.now();
await Promise.all(
  Array.from({ length: Math.min(4, availableParallelism()) }, async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) await run(file);
  }),
);
for (const [name, count] of Object.entries(totals)) console.log(`  ${`${name}:`.padEnd(10)} ${count}`);
console.log(`  Duration:  ${Math.round((performance.now() - began) / 1000)} s`);
if (failed.length > 0 || totals.Total === 0) {
  console.log(failed.length > 0 ? `\nFailed: ${failed.sort().join(', ')}` : '\nNo test matches.');
  process.exitCode = 1;
}
