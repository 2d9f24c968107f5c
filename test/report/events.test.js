import { appendFile, chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { EventWriter } from '../../lib/report/events.js';
import { refuses } from '../helpers.js';
import { startNode } from '../process.js';
import { crc32c, events } from './event-file.js';

let folder;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel events '));
});
test.after.each(() => rm(folder, { recursive: true }));

test('the reader knows the check value of CRC-32C', () => assert.is(crc32c(Buffer.from('123456789')), 0xe3069283n));

test('scalars come back, in the order of their calls', async () => {
  const before = Date.now() / 1000;
  const writer = await EventWriter.open(join(folder, 'a', 'b'));
  const large = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`group/measure ${i}`, i / 7]));
  await Promise.all([
    writer.scalars(0, { loss: 2.5 }),
    writer.scalars(127, { 'loss/train': 0.1, '‖W‖': -1e-40 }),
    writer.scalars(128, large),
    writer.scalars(2 ** 53 - 1, { a: Number.NaN, b: Number.POSITIVE_INFINITY, c: 1e300 }),
    writer.scalars(3, {}),
  ]);
  await writer.close();
  assert.match(basename(writer.path), /^events\.out\.tfevents\.\d{10}\..+\.\d+\.0$/);
  const found = await events(writer.path);
  assert.equal(
    found.map(({ step }) => step),
    [0, 127, 128, 2 ** 53 - 1, 3],
  );
  assert.equal(
    found.map(({ scalars }) => scalars),
    [
      [['loss', 2.5]],
      [
        ['loss/train', Math.fround(0.1)],
        ['‖W‖', Math.fround(-1e-40)],
      ],
      Object.entries(large).map(([name, value]) => [name, Math.fround(value)]),
      [
        ['a', Number.NaN],
        ['b', Number.POSITIVE_INFINITY],
        ['c', Number.POSITIVE_INFINITY],
      ],
      [],
    ],
  );
  for (const { time } of found) assert.ok(time >= before && time <= Date.now() / 1000);
});

// Written by TensorBoard 2.21 (RecordWriter over Event messages of protobuf 7.36) at the time 1700000000.25.
const TENSORBOARD =
  '1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9' +
  '2d000000000000003c418afb0900001040fc54d94110ac022a1f0a110a0a6c6f73732f747261696e15cdcccc3d0a0a0a036e6331150000807f6de46028' +
  '220000000000000078113dfd0900001040fc54d941108580808080202a100a0e0a07e2809657e28096150000c0bf6a160d96';

test("the bytes are TensorBoard's own", async () => {
  const { now } = Date;
  Date.now = () => 1700000000250;
  try {
    const writer = await EventWriter.open(folder);
    await writer.scalars(300, { 'loss/train': 0.1, nc1: Number.POSITIVE_INFINITY });
    await writer.scalars(2 ** 40 + 5, { '‖W‖': -1.5 });
    await writer.close();
    assert.is((await readFile(writer.path)).toString('hex'), TENSORBOARD);
  } finally {
    Date.now = now;
  }
});

test('two writers of one folder have a file each', async () => {
  const writers = await Promise.all([EventWriter.open(folder), EventWriter.open(folder)]);
  await Promise.all(writers.map((writer, i) => writer.scalars(i, { loss: i })));
  await Promise.all(writers.map((writer) => writer.close()));
  assert.is((await readdir(folder)).length, 2);
  for (const [i, { path }] of writers.entries()) assert.is((await events(path))[0].step, i);
});

test('the file of a killed process is whole up to its last record', async () => {
  const program = `
    import { EventWriter } from ${JSON.stringify(new URL('../../lib/report/events.js', import.meta.url).href)};
    const writer = await EventWriter.open(${JSON.stringify(folder)});
    for (let step = 0; step < 50; step++) await writer.scalars(step, { loss: step });
    process.kill(process.pid, 'SIGKILL');`;
  await startNode(['--input-type=module', '-e', program]).ended;
  const [file] = await readdir(folder);
  assert.is((await events(join(folder, file))).length, 50);
  await appendFile(join(folder, file), Buffer.from('2d00000000000000', 'hex')); // a record that broke off
  assert.is((await events(join(folder, file))).length, 50);
});

test('refuses what is no step, no number or no folder', async () => {
  const writer = await EventWriter.open(folder);
  for (const step of [-1, 0.5, Number.NaN, '3', 2 ** 53]) await refuses('LP_OPTION', /^step is/, () => writer.scalars(step, {}));
  await refuses('LP_OPTION', /values\.loss is "1"/, () => writer.scalars(0, { loss: '1' }));
  await writer.scalars(1, { loss: 1 }); // a refusal leaves the file as it was
  await writer.close();
  assert.is((await events(writer.path)).length, 1);
  await writeFile(join(folder, 'file'), '');
  await refuses('LP_FILE', /file/, () => EventWriter.open(join(folder, 'file')));
  if (process.getuid?.() === 0) return console.log('  (skipped: root may write into any folder)');
  await chmod(folder, 0o500);
  await refuses('LP_FILE', /permission/, () => EventWriter.open(folder));
  await chmod(folder, 0o700);
});

test.run();
