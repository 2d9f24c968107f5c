import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
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

test('a file that is replaced leaves its mode, and is not read by others meanwhile', async () => {
  const path = join(folder, 'private');
  for (const mode of [0o600, 0o640, 0o755, 0o666]) {
    writeFileSync(path, 'before');
    chmodSync(path, mode);
    await writeFileAtomic(
      path,
      (function* () {
        yield Buffer.from('after');
        const [temporary] = readdirSync(folder).filter((name) => name !== 'private');
        assert.is(statSync(join(folder, temporary)).mode & 0o777 & ~mode, 0);
      })(),
    );
    assert.is(statSync(path).mode & 0o777, mode);
    assert.is(readFileSync(path, 'utf8'), 'after');
  }
  const umask = process.umask();
  await writeFileAtomic(join(folder, 'new'), '');
  assert.is(statSync(join(folder, 'new')).mode & 0o777, 0o666 & ~umask);
});

test('a file that may not be written is not replaced', async () => {
  const path = join(folder, 'kept');
  writeFileSync(path, 'before');
  chmodSync(path, 0o444);
  if (process.getuid?.() === 0) return console.log('  (not tried: the superuser may write any file)');
  await rejects(writeFileAtomic(path, 'after'), 'LP_FILE', /kept cannot be written: permission is denied/);
  assert.is(readFileSync(path, 'utf8'), 'before');
});

test('of a link what it leads to is written', async () => {
  mkdirSync(join(folder, 'a'));
  mkdirSync(join(folder, 'b'));
  writeFileSync(join(folder, 'b', 'target'), 'before');
  symlinkSync('../b/target', join(folder, 'a', 'link'));
  symlinkSync('link', join(folder, 'a', 'second'));
  symlinkSync('../b/new', join(folder, 'a', 'dangling'));
  symlinkSync('dangling', join(folder, 'a', 'twice'));
  await writeFileAtomic(join(folder, 'a', 'second'), 'after');
  assert.is(readFileSync(join(folder, 'b', 'target'), 'utf8'), 'after');
  await writeFileAtomic(join(folder, 'a', 'twice'), 'made');
  assert.is(readFileSync(join(folder, 'b', 'new'), 'utf8'), 'made');
  for (const name of readdirSync(join(folder, 'a'))) assert.ok(lstatSync(join(folder, 'a', name)).isSymbolicLink(), name);
  assert.equal(readdirSync(join(folder, 'b')).sort(), ['new', 'target']);
  symlinkSync('round', join(folder, 'round'));
  await rejects(
    writeFileAtomic(join(folder, 'round'), ''),
    'LP_FILE',
    /round cannot be written: its symbolic links lead in a circle/,
  );
  symlinkSync('none/x', join(folder, 'nowhere'));
  await rejects(writeFileAtomic(join(folder, 'nowhere'), ''), 'LP_FILE', /nowhere cannot be written/);
});

test('a pipe, a device and a folder are refused, not replaced', async () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  symlinkSync('/dev/null', join(folder, 'null'));
  for (const path of [pipe, join(folder, 'null'), '/dev/null']) {
    await rejects(writeFileAtomic(path, 'x'), 'LP_FILE', /cannot be written: it is a device, a pipe or a socket/);
  }
  assert.ok(lstatSync(pipe).isFIFO());
  assert.ok(lstatSync('/dev/null').isCharacterDevice());
  await rejects(writeFileAtomic(folder, 'x'), 'LP_FILE', /cannot be written: it is a folder/);
  assert.equal(readdirSync(folder).sort(), ['null', 'pipe']);
});

test('names as long as the system takes', async () => {
  await writeFileAtomic(join(folder, 'a'.repeat(255)), 'x');
  await writeFileAtomic(join(folder, 'ü'.repeat(127)), 'x');
  await rejects(writeFileAtomic(join(folder, 'a'.repeat(256)), 'x'), 'LP_FILE', /its name is too long/);
  assert.is(readdirSync(folder).length, 2);
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

test('half a character in a path is refused, since the system would be given another path', async () => {
  const half = join(folder, 'a\ud800.npy');
  await rejects(writeFileAtomic(half, 'x'), 'LP_FILE', /path is /);
  await rejects(InputFile.open(half), 'LP_FILE', /path is /);
  assert.equal(readdirSync(folder), []);
  await writeFileAtomic(join(folder, '\u{1f600}'), 'x');
  assert.equal(readdirSync(folder), ['\u{1f600}']);
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
