import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomic } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { InputFile } from '../../lib/array/files.js';
import { rejects } from './cases.js';

let folder;
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'layerpeel-files-'));
});
test.after.each(() => rmSync(folder, { recursive: true }));

test('writes text, bytes and pieces, over what was there', async () => {
  const path = join(folder, 'file');
  await writeFileAtomic(path, 'text, ümlaut');
  assert.is(readFileSync(path, 'utf8'), 'text, ümlaut');
  await writeFileAtomic(path, Uint8Array.of(1, 2, 3));
  assert.equal([...readFileSync(path)], [1, 2, 3]);
  await writeFileAtomic(path, [Uint8Array.of(4), Uint8Array.of(5, 6)]);
  assert.equal([...readFileSync(path)], [4, 5, 6]);
  await writeFileAtomic(
    path,
    (async function* () {
      yield Uint8Array.of(7);
      yield new Uint8Array(0);
      yield Uint8Array.of(8);
    })(),
  );
  assert.equal([...readFileSync(path)], [7, 8]);
  await writeFileAtomic(path, '');
  assert.is(readFileSync(path).length, 0);
  assert.equal(readdirSync(folder), ['file']);
});

test('nothing appears before everything is written', async () => {
  const path = join(folder, 'file');
  await writeFileAtomic(
    path,
    (async function* () {
      yield Buffer.from('one');
      assert.not(readdirSync(folder).includes('file'));
      yield Buffer.from('two');
    })(),
  );
  assert.is(readFileSync(path, 'utf8'), 'onetwo');
});

test('a source that fails leaves what was there, and its own error', async () => {
  const path = join(folder, 'file');
  writeFileSync(path, 'before');
  const failure = new Error('the source failed');
  async function* source() {
    yield Buffer.from('half');
    throw failure;
  }
  assert.is(await writeFileAtomic(path, source()).catch((error) => error), failure);
  assert.is(readFileSync(path, 'utf8'), 'before');
  assert.equal(readdirSync(folder), ['file']);
});

test('a refusal of the system names the path', async () => {
  await rejects(
    writeFileAtomic(join(folder, 'none', 'file'), 'x'),
    'LP_FILE',
    /none[\\/]file cannot be written: the folder .*none does not exist/,
  );
  mkdirSync(join(folder, 'taken'));
  await rejects(writeFileAtomic(join(folder, 'taken'), 'x'), 'LP_FILE', /taken cannot be written/);
  assert.equal(readdirSync(folder), ['taken']);
  await rejects(InputFile.open(join(folder, 'taken')), 'LP_FILE', /taken is not a regular file|taken cannot be read/);
  await rejects(InputFile.open(join(folder, 'none')), 'LP_FILE', /none cannot be read: it does not exist/);
  await rejects(InputFile.open(undefined), 'LP_FILE', /undefined cannot be read/);
});

test('content of anything but text and bytes is refused, and what was there stays', async () => {
  const path = join(folder, 'file');
  await writeFileAtomic(path, 'before');
  for (const content of [['abc', 'de'], [Uint8Array.of(1), 'de'], [[1, 2]]]) {
    await rejects(writeFileAtomic(path, content), 'LP_OPTION', /A piece of content is .*; expected a Uint8Array/);
  }
  await rejects(writeFileAtomic(path, 5), 'LP_OPTION', /content is 5/);
  assert.equal(readdirSync(folder), ['file']);
  assert.is(readFileSync(path, 'utf8'), 'before');
});

test('a file that shrinks while it is read is reported', async () => {
  const path = join(folder, 'file');
  writeFileSync(path, Buffer.alloc(100, 7));
  const file = await InputFile.open(path);
  const target = new Uint8Array(60);
  await file.readAt(40, target);
  assert.ok(target.every((byte) => byte === 7));
  writeFileSync(path, Buffer.alloc(50));
  await rejects(file.readAt(40, target), 'LP_FILE', /ended at byte 50 while 50 more were expected/);
  await file.close();
});

test.run();
