// What messages about arrays advise is done here, by NumPy where there is one, and the outcome read.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { formatNpy, loadImages, readArray, readFloats, readLabels, readNpz, readSafetensors, writeNpz } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { INTS, npyBytes, rejects, zipBytes } from './cases.js';

const folder = mkdtempSync(join(tmpdir(), 'layerpeel-advice-'));
const at = (name) => join(folder, name);
test.after(() => rmSync(folder, { recursive: true }));

const PYTHON = process.env.PYTHON ?? 'python3';
const numpy = spawnSync(PYTHON, ['-c', 'import numpy']).status === 0;
if (!numpy) console.log(`not run: what is advised to do in NumPy, which ${PYTHON} has not`);
const python = (code) => execFileSync(PYTHON, ['-c', `import numpy\n${code}`], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });

const message = async (promise) => {
  const error = await promise.then(
    () => assert.unreachable('expected a refusal'),
    (reason) => reason,
  );
  assert.is(error.code, 'LP_FILE', error.stack);
  return error.message;
};

/** What is saved, how it is read, the advice as it stands in the message, how it is followed, and what is read then. */
const CASES = [
  [
    "numpy.array({'h': numpy.ones((2, 3)), 'y': numpy.arange(2)})",
    readArray,
    'numpy.savez(path, **dictionary)',
    "path = 'b.npz'; dictionary = numpy.load('a.npy', allow_pickle=True).item()\n@",
    () => readLabels(at('b.npz:y')),
    [0, 1],
  ],
  [
    'numpy.array([1, 2.5], object)',
    readFloats,
    "array.astype('float32')",
    "array = numpy.load('a.npy', allow_pickle=True)\nnumpy.save('b.npy', @)",
    async () => (await readFloats(at('b.npy'))).data,
    [1, 2.5],
  ],
  [
    "numpy.array(['dog', 'cat', 'dog'])",
    readLabels,
    'numpy.unique(array, return_inverse=True)[1]',
    "array = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    () => readLabels(at('b.npy')),
    [1, 0, 1],
  ],
  [
    "numpy.array([b'dog', b'cat'])",
    readLabels,
    'numpy.unique(array, return_inverse=True)[1]',
    "array = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    () => readLabels(at('b.npy')),
    [1, 0],
  ],
  [
    "numpy.array([3], 'datetime64[s]')",
    readArray,
    "array.astype('int64')",
    "array = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    () => readLabels(at('b.npy')),
    [3],
  ],
  [
    'numpy.array([3 + 4j])',
    readFloats,
    'abs(array)',
    "array = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    async () => (await readFloats(at('b.npy'))).data,
    [5],
  ],
  [
    "numpy.array([3], 'longdouble')",
    readFloats,
    "array.astype('float32')",
    "array = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    async () => (await readFloats(at('b.npy'))).data,
    [3],
  ],
  [
    "numpy.array([(1, 2.0)], [('x', 'i4'), ('z', 'f8')])",
    readArray,
    "numpy.savez(path, x=array['x'])",
    "path = 'b.npz'; array = numpy.load('a.npy')\n@",
    () => readLabels(at('b.npz:x')),
    [1],
  ],
  [
    'numpy.eye(3)[[2, 0]]',
    readLabels,
    'labels.argmax(axis=1)',
    "labels = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    () => readLabels(at('b.npy')),
    [2, 0],
  ],
  [
    "numpy.eye(3, dtype='u1')[[2, 0]]",
    readLabels,
    'labels.argmax(axis=1)',
    "labels = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    () => readLabels(at('b.npy')),
    [2, 0],
  ],
  [
    'numpy.array([[2, 0]])',
    readLabels,
    'labels.ravel()',
    "labels = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    () => readLabels(at('b.npy')),
    [2, 0],
  ],
  [
    'numpy.array([2.0, 0.0])',
    readLabels,
    "labels.astype('int64')",
    "labels = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    () => readLabels(at('b.npy')),
    [2, 0],
  ],
  [
    'numpy.array([2, 0])',
    readFloats,
    "array.astype('float32')",
    "array = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    async () => (await readFloats(at('b.npy'))).data,
    [2, 0],
  ],
  [
    "numpy.ones((2, 2, 2), order='F')",
    readArray,
    'numpy.ascontiguousarray(array)',
    "array = numpy.load('a.npy')\nnumpy.save('b.npy', @)",
    async () => (await readFloats(at('b.npy'))).data,
    new Array(8).fill(1),
  ],
];

if (numpy) {
  test('what is advised about types and shapes works in NumPy', async () => {
    for (const [made, read, advice, follow, again, expected] of CASES) {
      python(`numpy.save('a.npy', ${made})`);
      const said = await message(read(at('a.npy')));
      assert.ok(said.includes(advice), `${made}: ${said}`);
      python(follow.replace('@', advice));
      assert.equal([...(await again())], expected, made);
    }
  });

  test('complex numbers, text and images of another order, as advised', async () => {
    python("numpy.save('c.npy', numpy.array([3 + 4j]))");
    assert.match(await message(readFloats(at('c.npy'))), /save array\.real, array\.imag or abs\(array\)/);
    python("array = numpy.load('c.npy'); numpy.savez('c.npz', r=array.real, i=array.imag)");
    assert.equal([...(await readFloats(at('c.npz:r'))).data, ...(await readFloats(at('c.npz:i'))).data], [3, 4]);

    writeFileSync(at('t.npy'), '0.5, 1.5\n2, 3\n');
    assert.match(await message(readFloats(at('t.npy'))), /read it with numpy\.loadtxt and save that with numpy\.save/);
    python("numpy.save('u.npy', numpy.loadtxt('t.npy', delimiter=','))");
    assert.equal([...(await readFloats(at('u.npy'))).data], [0.5, 1.5, 2, 3]);

    python(
      "images = numpy.zeros((2, 3, 5, 6), 'float32'); images[1, 2, 4, 0] = 7; numpy.save('i.npy', images); numpy.save('y.npy', numpy.arange(2))",
    );
    const images = { kind: 'npy', path: folder, images: 'i.npy', labels: 'y.npy' };
    assert.match(await message(loadImages(images)), /images\.transpose\(0, 2, 3, 1\) puts channels last/);
    python("images = numpy.load('i.npy'); numpy.save('i.npy', images.transpose(0, 2, 3, 1))");
    assert.match(
      await message(loadImages(images)),
      /Fortran order with 4 dimensions; save numpy\.ascontiguousarray\(array\)|holds float32; .*images\.astype\('uint8'\) converts/,
    );
    python("images = numpy.ascontiguousarray(numpy.load('i.npy')); numpy.save('i.npy', images.astype('uint8'))");
    const { shape, images: pixels } = await loadImages(images);
    assert.equal(shape, [2, 5, 6, 3]);
    assert.is(pixels[((1 * 5 + 4) * 6 + 0) * 3 + 2], 7);
  });

  test('a pickle by itself is named, and what numpy.savez makes of it is read', async () => {
    python("import pickle; pickle.dump({'h': numpy.ones(2)}, open('p.npy', 'wb'))");
    assert.match(await message(readArray(at('p.npy'))), /it is a pickle, which is never loaded; save its arrays with numpy\.savez/);
    python("import pickle; numpy.savez('p.npz', **pickle.load(open('p.npy', 'rb')))");
    assert.equal([...(await readFloats(at('p.npz'))).data], [1, 1]);
  });

  test('names that nothing could unpack are written as NumPy reads them, and read as it writes them', async () => {
    const names = ['params/head/kernel', 'dense/kernel:0', '/abs/w', '../w', 'W:0', 'a\\w', 'ß'];
    await writeNpz(at('n.npz'), Object.fromEntries(names.map((name, i) => [name, Int32Array.of(i)])));
    const code = `a = numpy.load('n.npz')\nprint([[n, int(a[n][0])] for n in a.files])\nnumpy.savez('m.npz', **{n: a[n] for n in a.files})`;
    const seen = python(code).toString().trim();
    for (const [i, name] of names.entries()) {
      assert.ok(seen.includes(`['${name.replaceAll('\\', '\\\\')}', ${i}]`), seen);
      assert.equal([...(await readLabels(at('m.npz'), { name }))], [i]);
    }
  });
}

test('labels as data sets ship them are read, of any width and either order; what are none is refused', async () => {
  const labels = (descr, shape, view) => {
    const head = npyBytes(`{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`, 0);
    writeFileSync(at('y.npy'), Buffer.concat([head, Buffer.from(view.buffer)]));
    return readLabels(at('y.npy'));
  };
  for (const [descr, shape, view] of [
    ['|u1', '(4, 1)', Uint8Array.of(0, 1, 2, 1)],
    ['<i8', '(4,)', BigInt64Array.of(0n, 1n, 2n, 1n)],
    ['<u8', '(4, 1)', BigUint64Array.of(0n, 1n, 2n, 1n)],
    ['>i4', '(4,)', Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1)],
  ]) {
    assert.equal([...(await labels(descr, shape, view))], [0, 1, 2, 1]);
  }
  assert.equal([...(await labels('|b1', '(3,)', Uint8Array.of(0, 1, 1)))], [0, 1, 1]);
  for (const [descr, shape, view, pattern] of [
    ['|u1', '(2, 3)', Uint8Array.of(1, 0, 0, 0, 0, 1), /shape is \[2, 3\]; .*argmax/],
    ['|u1', '(1, 4)', Uint8Array.of(0, 1, 2, 1), /shape is \[1, 4\]; .*ravel/],
    ['<f8', '(4,)', Float64Array.of(0, 1, 2, 1), /holds float64/],
    ['<i8', '(2,)', BigInt64Array.of(0n, 1n << 40n), /element 1 is 1099511627776; labels must be within/],
    ['<u4', '(2,)', Uint32Array.of(0, 2 ** 31), /element 1 is 2147483648/],
  ]) {
    await rejects(labels(descr, shape, view), 'LP_FILE', pattern);
  }
});

test('text and tables in place of an array are told, and the arrays beside them are read by name', async () => {
  const text = npyBytes("{'descr': '<U3', 'fortran_order': False, 'shape': (1,), }", 12);

  writeFileSync(
    at('t.npz'),
    zipBytes([
      ['names.npy', text],
      ['h.npy', Buffer.from(formatNpy(INTS))],
    ]),
  );
  const said = await message(readNpz(at('t.npz')));
  assert.match(said, /:names: it holds dtype <U3: text; .*by their names: \{ names: \["h", …\] \}/);
  assert.equal(Object.keys(await readNpz(at('t.npz'), { names: ['h'] })), ['h']);
  await rejects(readNpz(at('t.npz'), { names: ['i'] }), 'LP_OPTION', /has no array i/);
  await rejects(readNpz(at('t.npz'), { names: 'h' }), 'LP_OPTION', /options\.names is "h"; expected a list/);
});

test('files of another kind are told by what they are', async () => {
  const npy = Buffer.from(formatNpy(INTS));
  const zip = Buffer.from('PK\x03\x04 and so on');
  const kinds = [
    [Buffer.alloc(0), /it is empty/],
    [gzipSync(npy), /compressed by gzip; decompress it \(gunzip\)/],
    [Buffer.from('<!DOCTYPE html>\n<html>'), /a page of HTML/],
    [Buffer.from('\n <html lang="en">'), /a page of HTML/],
    [Buffer.from('version https://git-lfs.github.com/spec/v1\n'), /a pointer of Git LFS/],
    [Buffer.from('\x89HDF\r\n\x1a\n', 'latin1'), /HDF5/],
    [Buffer.from('\x80\x04\x95more', 'latin1'), /a pickle, which is never loaded/],
    [Buffer.from('0.5, 1.5\n'), /numpy\.loadtxt/],
  ];
  for (const kind of ['npy', 'npz', 'safetensors']) {
    const read = kind === 'safetensors' ? readSafetensors : readArray;
    const others = [kind === 'npy' ? [zip, /it is a zip/] : [npy, /it is a \.npy file/]];
    for (const [bytes, pattern] of [...kinds, ...(kind === 'safetensors' ? [] : others)]) {
      writeFileSync(at(`x.${kind}`), bytes);
      assert.match(await message(read(at(`x.${kind}`))), pattern);
    }
  }
  // As advised.
  writeFileSync(at('g.npy.gz'), gzipSync(npy));
  assert.match(await message(readArray(at('g.npy.gz'))), /unknown kind: it is compressed by gzip; decompress it \(gunzip\)/);
  writeFileSync(at('n.npy.gz'), npy); // the reverse
  assert.match(await message(readArray(at('n.npy.gz'))), /unknown kind: it is a \.npy file; name it so/);
  for (const [tool, back] of [
    ['bzip2', 'bunzip2'],
    ['xz', 'unxz'],
    ['zstd', 'unzstd'],
  ]) {
    if (spawnSync(tool, ['--version'], { input: '' }).status !== 0) {
      console.log(`not run: ${back}, which is not here`);
      continue;
    }
    writeFileSync(at('q.npy'), execFileSync(tool, ['-c'], { input: npy }));
    assert.match(await message(readArray(at('q.npy'))), new RegExp(`decompress it \\(${back}\\)`));
    writeFileSync(at('q.npy'), execFileSync(back, ['-c'], { input: execFileSync(tool, ['-c'], { input: npy }) }));
    assert.equal((await readArray(at('q.npy'))).data, INTS);
  }
  if (spawnSync('gunzip', ['--version']).status !== 0) return console.log('not run: gunzip, which is not here');
  execFileSync('gunzip', [at('g.npy.gz')]);
  assert.equal((await readArray(at('g.npy'))).data, INTS);
  await writeNpz(at('z.npy'), { a: INTS });
  assert.match(await message(readArray(at('z.npy'))), /name it \.npz/);
  renameSync(at('z.npy'), at('z.npz'));
  assert.equal((await readArray(at('z.npz'))).data, INTS);
});

test.run();
