// PyTorch's files, as PyTorch wrote them (make-pth-fixtures.py) and as nobody should.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { collapse, formatSafetensors, openArray, readArray, readFloats, readLabels, readPth, writeNpy, writeNpz } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sanitized } from '../process.js';
import { python, withoutPython } from '../python.js';
import { FLOATS, fixture, INTS, rejects, zipBytes } from './cases.js';

const folder = mkdtempSync(join(tmpdir(), 'layerpeel-pth-'));
test.after(() => rmSync(folder, { recursive: true }));
const at = (name) => join(folder, name);

/** What PyTorch reads in the fixtures: for each file its tensors by name, `{ dtype, shape, values }`, or what is not read here. */
const EXPECTED = JSON.parse(readFileSync(new URL('pth.json', import.meta.url)));
const WIDE = ['int64', 'uint64', 'uint32'];

function same(actual, { dtype, shape, values }, name) {
  assert.equal(actual.shape, shape, name);
  const float = dtype.includes('float');
  const beyond = WIDE.includes(dtype) && values.some((value) => Math.abs(value) > 2 ** 31);
  const Data = float ? (dtype === 'float64' ? Float64Array : Float32Array) : beyond ? BigInt64Array : Int32Array;
  assert.is(actual.data.constructor, Data, name);
  assert.equal([...actual.data].map(Number), values, name);
}

async function sameAsExpected(path, expected) {
  const { tensors, unsupported } = await readPth(path);
  const kinds = Object.entries(expected).filter(([, value]) => typeof value === 'string');
  assert.equal(unsupported, Object.fromEntries(kinds), path);
  const names = Object.keys(expected).filter((name) => !Object.hasOwn(unsupported, name));
  assert.equal(Object.keys(tensors), names, path);
  for (const name of names) {
    same(tensors[name], expected[name], `${path}:${name}`);
    same(await readArray(path, { name }), expected[name], `${path}:${name}`);
  }
}

/** The rows of an open matrix, two at a time. */
async function streamed(path) {
  const source = await openArray(path);
  try {
    const data = [];
    for await (const block of source.chunks(2)) data.push(...block.data);
    return { shape: source.shape, data };
  } finally {
    await source.close();
  }
}

test('every tensor as PyTorch reads it, all at once and one by one', async () => {
  assert.ok(Object.keys(EXPECTED).length >= 18);
  for (const [file, expected] of Object.entries(EXPECTED)) await sameAsExpected(fixture(file), expected);
});

test('matrices of any strides in blocks of rows', async () => {
  for (const [file, tensors] of Object.entries(EXPECTED)) {
    for (const [name, expected] of Object.entries(tensors)) {
      if (expected.shape?.length !== 2 || !expected.dtype.includes('float')) continue;
      const { shape, data } = await streamed(`${fixture(file)}:${name}`);
      assert.equal(shape, expected.shape);
      assert.equal(data, expected.values, `${file}:${name}`);
    }
  }
});

test('a tensor by itself needs no name, and labels and measures are read where others are', async () => {
  assert.equal((await readFloats(fixture('single.pth'))).data, Float32Array.from(FLOATS));
  assert.equal((await readFloats(fixture('single.pth:tensor'))).shape, [3, 4]);
  assert.equal(await readLabels(fixture('big.pth:y')), INTS);
  for (const name of ['run.pt', 'run.bin', 'run.ckpt', 'run.pth.tar', 'run.PTH']) {
    writeFileSync(at(name), readFileSync(fixture('checkpoint.pth')));
    assert.equal((await readFloats(`${at(name)}:state_dict.fc.weight`)).shape, [3, 4]);
  }
  await rejects(readFloats(`${at('run.pt')}:state_dict.fc.wieght`), 'LP_OPTION', /did you mean state_dict\.fc\.weight/);
  await rejects(readArray(at('run.bin')), 'LP_OPTION', /holds .*state_dict\.fc\.weight/);
  const { nc1 } = await collapse(
    {
      features: await openArray(fixture('single.pth')),
      labels: Int32Array.of(0, 1, 1),
    },
    { only: ['nc1'] },
  );
  assert.ok(Number.isFinite(nc1));
});

/* Files put together by hand */

const text = (string) => {
  const bytes = Buffer.from(string);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([Buffer.from('X'), length, bytes]);
};
const global = (module, name) => Buffer.from(`c${module}\n${name}\n`);
const integer = (value) => {
  const bytes = Buffer.alloc(9);
  bytes.writeBigInt64LE(BigInt(value), 1);
  return Buffer.concat([Buffer.from([0x8a, 8]), bytes.subarray(1)]);
};
const tuple = (...items) => Buffer.concat([Buffer.from('('), ...items, Buffer.from('t')]);
const reduce = (callee, ...args) => Buffer.concat([callee, tuple(...args), Buffer.from('R')]);
const joined = (...parts) => Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));
const pickle = (...parts) => joined('\x80\x02', ...parts, '.');

const storage = (key, count, type = 'Float') =>
  joined(tuple(text('storage'), global('torch', `${type}Storage`), text(key), text('cpu'), integer(count)), 'Q');
const tensor = (stored, { offset = 0, shape = [1], strides = [1], metadata = '' } = {}) =>
  reduce(
    global('torch._utils', '_rebuild_tensor_v2'),
    stored,
    integer(offset),
    tuple(...shape.map(integer)),
    tuple(...strides.map(integer)),
    Buffer.from([0x89]),
    Buffer.from('}'),
    Buffer.from(metadata),
  );
const dictionary = (...pairs) =>
  joined('}(', ...pairs.flatMap(([key, value]) => [typeof key === 'string' ? text(key) : key, value]), 'u');
const one = tensor(storage('0', 1));
const VALUE = Buffer.from(Float32Array.of(2.5).buffer);

const members = (bytes, storages = { 0: VALUE }, more = []) => [
  ['a/data.pkl', bytes],
  ['a/version', Buffer.from('3\n')],
  ...Object.entries(storages).map(([key, data]) => [`a/data/${key}`, data]),
  ...more,
];
const zipped = (...args) => zipBytes(members(...args));
const MAGIC = Buffer.from('\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.', 'latin1');
const older = (bytes, storages = { 0: [1, VALUE] }, version = 1001) =>
  joined(
    ...[MAGIC, pickle(integer(version)), pickle(dictionary(['little_endian', Buffer.from([0x88])])), bytes],
    pickle('](', ...Object.keys(storages).map(text), 'e'),
    ...Object.values(storages).flatMap(([count, data]) => [integer(count).subarray(2), data]),
  );
const FORMS = { zipped, older };

/** Reads bytes as a file of PyTorch. */
const read = (bytes, name = 'x.pth') => {
  writeFileSync(at(name), bytes);
  return readPth(at(name));
};

test('what is put together here is read', async () => {
  for (const form of Object.values(FORMS)) {
    assert.equal((await read(form(pickle(dictionary(['h', one]))))).tensors.h, {
      shape: [1],
      data: Float32Array.of(2.5),
    });
  }
});

test('whatever a pickle wants to run is refused by its name, and nothing is run', async () => {
  const command = text(`touch ${at('ran')}`);
  const os = global('os', 'system');
  const unicode = (string) => joined(Buffer.from([0x8c, string.length]), string);
  const cases = [
    [reduce(os, command), /use os\.system,/],
    [reduce(global('posix', 'system'), command), /use posix\.system,/],
    [joined('(', command, 'ios\nsystem\n'), /use os\.system,/],
    [joined('(', command, 'icollections\nOrderedDict\n'), /make an object \(INST\)/],
    [joined('(', os, command, 'o'), /use os\.system,/],
    [joined('(', global('collections', 'OrderedDict'), 'o'), /make an object \(OBJ\)/],
    [reduce(global('__builtin__', 'eval'), text('1')), /use builtins\.eval,/],
    [reduce(global('builtins', 'getattr'), one, text('x')), /use builtins\.getattr,/],
    [joined(unicode('os'), unicode('system'), '\x93', tuple(command), 'R'), /use os\.system,/],
    [joined(unicode('torch'), unicode('serialization.os.system'), '\x93'), /use torch\.serialization\.os\.system,/],
    [reduce(global('torch.storage', '_load_from_bytes'), text('')), /use torch\.storage\._load_from_bytes,/],
    [reduce(global('torch', 'load'), text('x')), /use torch\.load,/],
    [joined(global('argparse', 'Namespace'), ')\x81}b'), /use argparse\.Namespace,/],
    [joined(global('collections', 'OrderedDict'), ')\x81'), /make an object \(NEWOBJ\)/],
    [joined(global('torch', 'Tensor'), ')}\x92'), /make an object \(NEWOBJ_EX\)/],
    [joined(global('torch.nn.parameter', 'Parameter'), '}b'), /give an object its state \(BUILD\)/],
    [joined(one, dictionary(['__setstate__', text('x')]), 'b'), /give an object its state \(BUILD\)/],
    [joined(']', '}', 'b'), /give an object its state \(BUILD\)/],
    ['\x82\x01', /registry of extensions \(EXT1\)/],
    ['\x83\x01\x00', /registry of extensions \(EXT2\)/],
    ['\x84\x01\x00\x00\x00', /registry of extensions \(EXT4\)/],
    ['Pos\n', /look up an object by its name \(PERSID\)/],
    [reduce(text('os.system'), command), /call an object in a way/],
    [reduce(global('torch', 'float32'), command), /call torch\.float32 in a way/],
    [reduce(global('torch', 'Tensor'), command), /call torch\.Tensor in a way/],
    [reduce(global('torch._utils', '_rebuild_tensor_v2'), command), /call torch\._utils\._rebuild_tensor_v2 in a way/],
    [
      reduce(
        global('torch._tensor', '_rebuild_from_type_v2'),
        global('torch', 'device'),
        global('torch', 'Tensor'),
        tuple(),
        Buffer.from('}'),
      ),
      /call torch\._tensor\._rebuild_from_type_v2 in a way/,
    ],
    [
      reduce(global('torch._tensor', '_rebuild_from_type_v2'), os, global('torch', 'Tensor'), tuple(command), Buffer.from('}')),
      /use os\.system,/,
    ],
    [global('constructor', 'constructor'), /use constructor\.constructor,/],
    [global('os', 'a\x1b[31mb'), /use "os\.a\\u001b\[31mb",/],
    [joined(tuple(text('module'), os), 'Q'), /use os\.system,/],
    [joined(tuple(text('module'), text('x')), 'Q'), /names something that is no storage/],
  ];
  for (const [attack, pattern] of cases) {
    for (const form of Object.values(FORMS)) {
      // By itself, beside tensors, and thrown away again.
      for (const bytes of [pickle(attack), pickle(dictionary(['h', one], ['x', joined(attack)])), pickle(attack, '0', one)]) {
        await rejects(read(form(bytes)), 'LP_FILE', pattern);
        await rejects(readArray(`${at('x.pth')}:h`), 'LP_FILE', pattern);
      }
    }
  }
  assert.not(existsSync(at('ran')));
});

test('objects without tensors are harmless, and their state is not looked at', async () => {
  const state = dictionary(['__class__', text('os')], ['__setstate__', text('x')]);
  const harmless = [
    joined(global('collections', 'OrderedDict'), ')R', state, 'b'),
    reduce(global('torch', 'device'), text('cuda'), integer(0)),
    reduce(global('_codecs', 'encode'), text('é'), text('latin1')),
    reduce(global('__builtin__', 'set'), joined('](', integer(1), 'e')),
    reduce(global('__builtin__', 'complex'), integer(1), integer(2)),
    reduce(global('collections', 'Counter'), dictionary(['a', integer(1)])),
    joined(reduce(global('numpy', 'dtype'), text('f8'), integer(0), integer(1)), tuple(integer(3), text('<')), 'b'),
    global('torch', 'bfloat16'),
    global('torch', 'per_tensor_affine'),
    integer(-(2n ** 62n)),
    joined('\x8a\x00'),
    joined('G', Buffer.alloc(8)),
  ];
  for (const value of harmless) {
    const { tensors } = await read(zipped(pickle(dictionary(['x', value], ['h', one]))));
    assert.equal(Object.keys(tensors), ['h']);
  }
});

test("Python 2's pickles, and dictionaries in every form", async () => {
  const short = (string) => joined(Buffer.from([0x55, string.length]), string);
  const pair = joined('](', short('h'), one, 'e');
  const ordered = reduce(global('collections', 'OrderedDict'), joined('](', pair, 'e'));
  for (const value of [
    ordered,
    joined('}', short('h'), one, 's'),
    reduce(global('collections', 'OrderedDict'), dictionary(['h', one])),
  ]) {
    for (const form of Object.values(FORMS)) assert.equal(Object.keys((await read(form(pickle(value)))).tensors), ['h']);
  }
});

test('names: later entries replace earlier ones, and no two tensors have one name', async () => {
  const other = tensor(storage('1', 1));
  const storages = { 0: VALUE, 1: Buffer.from(Float32Array.of(-1).buffer) };
  const again = await read(zipped(pickle(dictionary(['h', one], ['h', other])), storages));
  assert.equal(again.tensors.h.data, Float32Array.of(-1));
  await rejects(
    read(zipped(pickle(dictionary(['a.b', one], ['a', dictionary(['b', other])])), storages)),
    'LP_FILE',
    /two of its tensors are named "a\.b"/,
  );
  await rejects(
    read(zipped(pickle(dictionary(['1', one], [integer(1), other])), storages)),
    'LP_FILE',
    /two of its tensors are named "1"/,
  );
  await rejects(read(zipped(pickle(dictionary(['__proto__', one])))), 'LP_FILE', /named __proto__/);
  assert.equal(Object.keys((await read(zipped(pickle(dictionary([tuple(integer(1)), one]))))).tensors), ['…']);
});

test('what is bounded: depth, repetition, opcodes, names, lengths', async () => {
  const many = (count, part) => Buffer.alloc(count * part.length, part);
  const put = (slot) => Buffer.from([0x71, slot]);
  const get = (slot) => Buffer.from([0x68, slot]);
  const laughs = joined(']', put(0), ...Array.from({ length: 60 }, (_, k) => joined('](', get(k), get(k), 'e', put(k + 1))));
  const numbers = joined(']', put(0), '(', many(20_000, 'K\x01'), 'e', '](', many(20_000, get(0)), 'e');
  const cases = [
    [joined(many(200_000, ']'), many(199_999, 'a')), /more than 100 lists or dictionaries within each other/],
    [joined(']', put(0), get(0), 'a'), /more than 100 lists/],
    [laughs, /names of its values have more than/],
    [numbers, /names of its values have more than/],
    [
      dictionary(['n'.repeat(2 ** 20), joined(']', one, put(0), '0(', many(50, get(0)), 'e')]),
      /names of its values have more than/,
    ],
    [many(2 ** 20 + 1, 'N0'), /more than 2097152 opcodes/],
    [Buffer.from('X\xff\xff\xff\xff', 'latin1'), /cut off/],
    [Buffer.from('\x8d\xff\xff\xff\xff\xff\xff\xff\xff', 'latin1'), /cut off/],
    [Buffer.from('cos'), /cut off/],
    ['', /its stack is empty/],
    ['0', /its stack is empty/],
    ['(0', /its stack is empty/],
    ['NN(0', /its stack is empty/],
    ['N(N\x86', /its stack is empty/],
    ['u', /no mark/],
    ['h\x07', /entry 7 of its memo is missing/],
    [joined('}(', text('x'), 'u'), /a key has no value/],
    [joined('}N', 'a'), /appends to what is no list/],
    [joined(']NN', 's'), /sets an entry of what is no dictionary/],
    [joined(global('torch', 'device'), 'NR'), /calls with what is no tuple/],
    ['NN\x93', /a global is named by no text/],
    ['\x80\x09', /unknown protocol/],
    ['\x97', /the opcode 0x97, which data of protocol 2 to 5 does not need/],
    ['I01\n', /the opcode 0x49/],
  ];
  for (const [bytes, pattern] of cases) {
    for (const form of Object.values(FORMS)) await rejects(read(form(pickle(bytes))), 'LP_FILE', pattern);
  }
});

test('a pickle of the older form is read on until it ends, but not for ever', async () => {
  const padded = (size) => older(pickle(dictionary(['x', text('x'.repeat(size))], ['h', one])));
  for (const size of [2 ** 18 - 300, 2 ** 18, 3_000_000]) assert.equal(Object.keys((await read(padded(size))).tensors), ['h']);
  const bytes = joined(MAGIC, pickle(integer(1001)), pickle('}'), '\x80\x02X\xff\xff\xff\xff');
  writeFileSync(at('long.pth'), bytes);
  truncateSync(at('long.pth'), 2 ** 26 + 10);
  await rejects(readPth(at('long.pth')), 'LP_FILE', /its pickle is longer than 67108864 bytes/);
});

test('tensors that claim more than there is are refused before memory is asked for', async () => {
  const huge = 2 ** 50;
  for (const form of Object.values(FORMS)) {
    const count = form === older ? (n) => ({ 0: [n, VALUE] }) : () => ({ 0: VALUE });
    for (const [options, stored, pattern] of [
      [{ shape: [2] }, 1, /shape \[2\] of float32 reaches to byte 8 of its storage, which has 4/],
      [{ offset: 1 }, 1, /reaches to byte 8/],
      [{ shape: [2, 2], strides: [1, 0] }, 1, /reaches to byte 8/],
      [{ shape: [1, 1, 3], strides: [0, 0, huge] }, 1, /reaches to byte/],
      [{ shape: [huge] }, 1, /claims \d+ bytes, more than a file of/],
      [{ shape: [huge, huge], strides: [0, 0] }, 1, /more elements than can be addressed/],
      [{ shape: [2 ** 20, 2 ** 20], strides: [0, 0] }, 1, /claims \d+ bytes, more than a file of/],
      [{ shape: [huge] }, huge, form === older ? /its storage 0 of \d+ bytes ends behind the file's/ : /claims \d+ bytes/],
    ]) {
      const bytes = form(pickle(dictionary(['h', tensor(storage('0', stored), options)])), count(stored));
      await rejects(read(bytes), 'LP_FILE', pattern);
      await rejects(readArray(`${at('x.pth')}:h`), 'LP_FILE', pattern);
    }
    for (const options of [{ shape: [-1] }, { offset: -1 }, { strides: [-1] }, { shape: [1, 1] }, { shape: [2n ** 62n] }]) {
      const bytes = form(pickle(dictionary(['h', tensor(storage('0', 1), options)])));
      await rejects(read(bytes), 'LP_FILE', /call torch\._utils\._rebuild_tensor_v2 in a way/);
    }
  }
  // A few values repeated more often than the file could hold them once.
  const wide = tensor(storage('0', 1), { shape: [2 ** 16], strides: [0] });
  const all = dictionary(...Array.from({ length: 40 }, (_, k) => [`t${k}`, wide]));
  await rejects(read(zipped(pickle(all))), 'LP_FILE', /x\.pth: it claims \d+ bytes, more than/);
  assert.equal((await readArray(`${at('x.pth')}:t7`)).data, new Float32Array(2 ** 16).fill(2.5));
});

test('faults of the zip', async () => {
  const good = pickle(dictionary(['h', one]));
  await rejects(read(zipped(good, {})), 'LP_FILE', /x\.pth:h: its member a\/data\/0 is missing/);
  await rejects(read(zipped(good, { 0: VALUE.subarray(1) })), 'LP_FILE', /reaches to byte 4 of its storage, which has 3/);
  await rejects(read(zipped(good, undefined, [['b/data.pkl', good]])), 'LP_FILE', /it holds a\/data\.pkl and b\/data\.pkl/);
  await rejects(read(zipped(good, undefined, [['a/data/0', VALUE]])), 'LP_FILE', /two of its members have one name/);
  await rejects(
    read(zipped(good, undefined, [['a/byteorder', Buffer.from('middle')]])),
    'LP_FILE',
    /byteorder is neither little nor big/,
  );
  await rejects(read(zipped(good, undefined, [['a/constants.pkl', good]])), 'LP_FILE', /program of TorchScript/);
  await rejects(read(zipBytes([['a/b/data.pkl', good]])), 'LP_FILE', /zip.* Expected a file that torch\.save wrote/);
  await rejects(read(zipped(good.subarray(0, -1))), 'LP_FILE', /cut off/);

  // A wrong bit of a storage or of the pickle, which the checksum tells where there is one.
  const whole = readFileSync(fixture('single.pth'));
  const unchecked = readFileSync(fixture('unchecked.pth'));
  for (const target of ['data.pkl', 'data/0']) {
    const member = whole.indexOf(`single/${target}`);
    const damaged = Buffer.from(whole);
    damaged[member + 30 + whole.readUInt16LE(member - 2)] ^= 1;
    await rejects(read(damaged), 'LP_FILE', target === 'data/0' ? /single|checksum/ : /checksum/);
  }
  assert.equal((await read(unchecked)).tensors.h.data, Float32Array.from(FLOATS));
});

test('faults of the older form', async () => {
  const good = pickle(dictionary(['h', one], ['g', tensor(storage('1', 2))]));
  const pair = Buffer.from(Float32Array.of(1, 2).buffer);
  const storages = { 0: [1, VALUE], 1: [2, pair] };
  const bytes = older(good, storages);
  assert.equal(Object.keys((await read(bytes)).tensors), ['h', 'g']);
  for (let length = MAGIC.length; length < bytes.length; length++) {
    await rejects(read(bytes.subarray(0, length)), 'LP_FILE', /cut off|truncated|is missing/);
  }
  await rejects(read(older(good, storages, 1000)), 'LP_FILE', /version 1000 of PyTorch's files; expected 1001/);
  await rejects(read(older(good, { 0: [1, VALUE] })), 'LP_FILE', /x\.pth:g: its storage 1 is missing/);
  await rejects(read(older(good, { ...storages, 2: [1, VALUE] })), 'LP_FILE', /lists a storage twice, or one that no tensor has/);
  const listed = (...keys) => joined(MAGIC, pickle(integer(1001)), pickle('}'), good, pickle('](', ...keys.map(text), 'e'));
  const stored = (key) => joined(integer(storages[key][0]).subarray(2), storages[key][1]);
  const keys = ['0', '1', '0'];
  await rejects(read(joined(listed(...keys), ...keys.map(stored))), 'LP_FILE', /lists a storage twice/);
  await rejects(read(older(good, { 0: [1, VALUE], 1: [1, pair] })), 'LP_FILE', /storage 1 has another length than its tensors say/);
  await rejects(
    read(joined(MAGIC, pickle(integer(1001)), pickle('}'), pickle('}'), pickle('}'))),
    'LP_FILE',
    /keys of its storages are no list/,
  );
  const view = tuple(text('0'), integer(0), integer(1));
  const viewed = joined(tuple(text('storage'), global('torch', 'FloatStorage'), text('0'), text('cpu'), integer(1), view), 'Q');
  await rejects(read(older(pickle(tensor(viewed)))), 'LP_FILE', /views of storages, as PyTorch wrote before 0\.4/);
});

test('one tensor of a large file is read in blocks, and the rest not at all', async () => {
  // Sparse on the disk: 64 MB of float16 wanted, after as much that is not.
  const [rows, columns] = [32768, 1024];
  const count = rows * columns;
  const matrix = (key) =>
    tensor(storage(key, count, 'Half'), {
      shape: [rows, columns],
      strides: [columns, 1],
    });
  const head = joined(
    MAGIC,
    pickle(integer(1001)),
    pickle('}'),
    pickle(dictionary(['h', matrix('0')], ['g', matrix('1')])),
    pickle('](', text('0'), text('1'), 'e'),
  );
  writeFileSync(at('large.pth'), joined(head, integer(count).subarray(2)));
  truncateSync(at('large.pth'), head.length + 8 + 2 * count);
  writeFileSync(at('large.pth'), integer(count).subarray(2), { flag: 'a' });
  truncateSync(at('large.pth'), head.length + 16 + 4 * count);
  const source = await openArray(`${at('large.pth')}:g`);
  let [seen, largest] = [0, 0];
  for await (const { shape, data } of source.chunks()) {
    seen += shape[0];
    largest = Math.max(largest, data.byteLength);
    assert.ok(data[0] === 0 && data.at(-1) === 0);
  }
  await source.close();
  assert.is(seen, rows);
  assert.is(largest, 8 * 2 ** 20);
});

test('views far into a storage of a zip', async () => {
  // Beyond what is read for the checksum's sake.
  const count = 3 * 2 ** 20;
  const data = Float32Array.from({ length: count }, (_, i) => i % 1021);
  const parts = { offset: count - 6, shape: [2, 3], strides: [3, 1] };
  const value = dictionary(
    ['far', tensor(storage('0', count), parts)],
    ['turned', tensor(storage('0', count), { ...parts, shape: [3, 2], strides: [1, 3] })],
  );
  for (const deflate of [false, true]) {
    writeFileSync(
      at('far.pth'),
      zipBytes(members(pickle(value), { 0: Buffer.from(data.buffer) }), {
        deflate,
      }),
    );
    const last = [...data.subarray(-6)];
    assert.equal([...(await readFloats(at('far.pth:far'))).data], last);
    assert.equal(
      (await streamed(at('far.pth:turned'))).data,
      [0, 3, 1, 4, 2, 5].map((i) => last[i]),
    );
  }
});

test('kinds are told by what they are, under any name', async () => {
  for (const file of [
    'checkpoint.pth',
    'checkpoint-legacy.pth',
    'protocol5.pth',
    'protocol5-legacy.pth',
    'torch1.pth',
    'deflated.pth',
  ]) {
    for (const name of ['x.npy', 'x.npz', 'x.safetensors']) {
      writeFileSync(at(name), readFileSync(fixture(file)));
      await rejects(readArray(at(name)), 'LP_FILE', /it is a file of PyTorch \(torch\.save\); name it \.pth/);
    }
  }
  const h = { shape: [1, 1], data: Float32Array.of(1) };
  await writeNpy(at('h.npy'), h);
  await writeNpz(at('h.npz'), { h });
  for (const [bytes, pattern] of [
    [readFileSync(at('h.npy')), /it is a \.npy file; name it so. Expected a file that torch\.save wrote/],
    [readFileSync(at('h.npz')), /name it \.npz if numpy\.savez wrote it/],
    [formatSafetensors({ h }), /does not begin as a file of PyTorch does/],
    [pickle(dictionary(['h', integer(1)])), /it is a pickle, which is never loaded/],
    [Buffer.from('<!DOCTYPE html>'), /a page of HTML/],
    [Buffer.alloc(0), /it is empty/],
    [Buffer.alloc(3073), /does not begin as a file of PyTorch does/],
  ]) {
    await rejects(read(bytes), 'LP_FILE', pattern);
  }
});

const run = (...args) =>
  execFileSync(python, ['-W', 'ignore', ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
const torch = (code) => run('-c', `import torch\n${code}`);

if (!python || sanitized) {
  console.log(`Left out, what PyTorch does: ${sanitized ? 'it is not instrumented' : withoutPython}`);
} else {
  test('what PyTorch writes here', async () => {
    run(fileURLToPath(new URL('make-pth-fixtures.py', import.meta.url)), folder);
    const expected = JSON.parse(readFileSync(at('pth.json')));
    assert.ok(Object.keys(expected).length >= 3);
    for (const [file, tensors] of Object.entries(expected)) await sameAsExpected(at(file), tensors);
  });

  test('what is advised about objects and kinds of tensors works in PyTorch, which reads what is put together here', async () => {
    const objects = [
      ['model.pth', 'torch.nn.modules.linear.Linear', 'torch.save(model.state_dict(), path)'],
      ['args.pth', 'argparse.Namespace', "torch.save(checkpoint['state_dict'], path)"],
      ['script.pth', 'TorchScript', 'torch.save(torch.jit.load(path).state_dict(), other)'],
    ];
    const kinds = [
      ['torch.eye(2).to_sparse()', 'tensor.to_dense()', [1, 0, 0, 1]],
      ['torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8)', 'tensor.dequantize()', [1, 1]],
      ['torch.tensor([1 + 2j])', 'torch.view_as_real(tensor)', [1, 2]],
      ['torch.tensor([1 + 2j]).conj().imag', 'tensor.resolve_neg()', [-2]],
      ['torch.ones(2).to(torch.float8_e5m2)', 'tensor.float()', [1, 1]],
      ['torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])', 'tensor.to_padded_tensor(0)', [1, 0, 1, 1]],
    ];
    torch(`import argparse, pickle
model = torch.nn.Linear(2, 1)
torch.nn.init.ones_(model.weight)
torch.save(model, 'model.pth')
torch.save({'args': argparse.Namespace(lr=0.1), 'state_dict': model.state_dict()}, 'args.pth')
torch.jit.trace(model, torch.ones(1, 2)).save('script.pth')
with open('plain.pth', 'wb') as file:
    pickle.dump(model.weight, file)
torch.save([${kinds.map(([made]) => made).join(', ')}, torch.ones(2, device='meta')], 'kinds.pth')`);
    const said = async (name) => {
      const error = await readArray(at(name)).catch((reason) => reason);
      assert.is(error.code, 'LP_FILE', error.stack);
      return error.message;
    };
    for (const [file, named, advice] of objects) {
      const message = await said(file);
      assert.ok(message.includes(named) && message.includes(advice), message);
    }
    assert.match(await said('plain.pth'), /it is a pickle, which is never loaded/);
    for (const [k, [made, advice]] of kinds.entries()) {
      assert.ok((await said(`kinds.pth:${k}`)).includes(`(${advice} converts)`), made);
    }
    assert.match(await said(`kinds.pth:${kinds.length}`), /it was on the device meta, where tensors have no elements/);

    writeFileSync(at('made.pth'), zipped(pickle(dictionary(['h', one]))));
    torch(`model = torch.load('model.pth', weights_only=False)
path = 'after-model.pth'
${objects[0][2]}
checkpoint = torch.load('args.pth', weights_only=False)
path = 'after-args.pth'
${objects[1][2]}
path, other = 'script.pth', 'after-script.pth'
${objects[2][2]}
tensors = torch.load('kinds.pth')
${kinds.map(([, advice], k) => `tensor = tensors[${k}]; tensors[${k}] = ${advice}`).join('\n')}
torch.save(tensors, 'after-kinds.pth')
assert torch.load('made.pth')['h'].tolist() == [2.5]`);
    for (const [file] of objects) assert.equal([...(await readFloats(at(`after-${file}:weight`))).data], [1, 1], file);
    for (const [k, [made, , values]] of kinds.entries()) {
      assert.equal([...(await readFloats(at(`after-kinds.pth:${k}`))).data], values, made);
    }
  });
}

test.run();
