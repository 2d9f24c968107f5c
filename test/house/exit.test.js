// The process ends as it should whatever the pool is doing then.
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';

const child = (name, ...args) => [fileURLToPath(new URL(`./children/${name}.js`, import.meta.url)), ...args];

test('process.exit() while jobs run and wait', async () => {
  const { code, signal, stderr } = await startNode(child('exit', 'now')).ended;
  assert.is(code, 5, `${signal} ${stderr}`);
});

test('process.exit() from the callback of a running job', async () => {
  const { code, signal, stderr } = await startNode(child('exit', 'inside')).ended;
  assert.is(code, 6, `${signal} ${stderr}`);
});

test('the process lives until its jobs are done, and then ends by itself', async () => {
  const { code, stdout, stderr } = await startNode(child('exit', 'natural')).ended;
  assert.is(code, 0, stderr);
  assert.is(stdout, 'done\n');
});

test('an uncaught error while jobs run ends the process with that error', async () => {
  const { code, signal, stderr } = await startNode(child('exit', 'throw')).ended;
  assert.is(code, 1, signal);
  assert.match(stderr, /out of the blue/);
});

test('SIGTERM ends it at once', async () => {
  const { child: process, ended } = startNode(child('exit', 'wait'));
  process.stdout.once('data', () => process.kill());
  assert.is((await ended).signal, 'SIGTERM');
});

test('memory is given back: forced collections, thousands of results', async () => {
  const { code, stdout, stderr } = await startNode(['--expose-gc', ...child('memory')]).ended;
  assert.is(code, 0, stderr);
  const { early, late } = JSON.parse(stdout);
  assert.ok(late < early + 64e6, `resident memory went from ${early} to ${late} bytes`);
});

test.run();
