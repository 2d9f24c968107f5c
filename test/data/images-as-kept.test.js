// Folders of images as people have them: warnings of decoders, depths, formats, what lies beside images, classes that cannot be read.
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deflateSync, gzipSync } from 'node:zlib';
import { evaluate, loadImages } from 'layerpeel';
import sharp from 'sharp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';
import { startNode } from '../process.js';
import { pixel, withFolder, writeFiles } from './formats.js';

const raw = (data, width, height, channels) => sharp(Buffer.from(data), { raw: { width, height, channels } });
const flat = (colour = '#345') =>
  sharp({ create: { width: 4, height: 4, channels: 3, background: colour } })
    .png()
    .toBuffer();
const load = (path, more = {}) => loadImages({ kind: 'folder', path, cache: false, ...more });

test('JPEGs that every viewer shows are read, whatever their decoder warns of; those cut short are not', async () => {
  const pixels = Array.from({ length: 32 * 32 * 3 }, (_, i) => [Math.floor(i / 96) * 8, (Math.floor(i / 3) % 32) * 8, 128][i % 3]);
  const sound = await raw(pixels, 32, 32, 3).jpeg({ quality: 90 }).toBuffer();
  const scan = Buffer.from(sound); // parameters 0 0 0, as of phones
  const at = scan.indexOf(Buffer.of(0xff, 0xda));
  scan.fill(0, at + 5 + 2 * scan[at + 4], at + 8 + 2 * scan[at + 4]);
  const tables = sound.indexOf(Buffer.of(0xff, 0xc4));
  const stray = Buffer.concat([sound.subarray(0, tables), Buffer.alloc(3), sound.subarray(tables)]);
  const followed = Buffer.concat([sound, Buffer.from('more')]);
  const doubled = Buffer.concat([sound.subarray(0, 2), Buffer.from([0xff, 0xfe, 0, 4, 65, 66]), sound.subarray(2)]);
  await withFolder({ 'train/a/0.jpg': sound }, async (path) => {
    const { images } = await load(path);
    for (const bytes of [scan, stray, followed, doubled]) {
      writeFiles(path, { 'train/a/0.jpg': bytes });
      assert.equal((await load(path)).images, images);
    }
    for (const missing of [2, 200, sound.length - 700]) {
      writeFiles(path, { 'train/a/0.jpg': sound.subarray(0, -missing) });
      if (missing > 2) await refuses('LP_FILE', /0\.jpg cannot be read as an image: .*Mend it/, () => load(path));
    }
  });
});

/** A TIFF of one channel whose values are of any type, straight from the format's description. */
function tiff(width, data, bits, format) {
  const fields = [
    [256, width],
    [257, 1],
    [258, bits],
    [259, 1],
    [262, 1],
    [273, 8, 4],
    [277, 1],
    [278, 1],
    [279, data.length, 4],
    [339, format],
  ];
  const directory = Buffer.alloc(2 + 12 * fields.length + 4);
  directory.writeUInt16LE(fields.length);
  for (const [k, [tag, value, type = 3]] of fields.entries()) {
    directory.writeUInt16LE(tag, 2 + 12 * k);
    directory.writeUInt16LE(type, 4 + 12 * k);
    directory.writeUInt32LE(1, 6 + 12 * k);
    directory.writeUInt32LE(value, 10 + 12 * k);
  }
  const head = Buffer.from('II*\x00\x00\x00\x00\x00', 'latin1');
  head.writeUInt32LE(8 + data.length, 4);
  return Buffer.concat([head, data, directory]);
}

test('values have a scale, of 8 bits or 16, or the image is refused: none comes out black', async () => {
  const bytes = (array) => Buffer.from(array.buffer);
  const ramp = Array.from({ length: 256 }, (_, x) => x);
  await withFolder({}, async (path) => {
    const put = (file) => writeFiles(path, { 'train/a/0.tif': file });
    for (const [data, bits] of [
      [Uint8Array.from(ramp), 8],
      [Uint16Array.from(ramp, (v) => 257 * v), 16],
    ]) {
      put(tiff(256, bytes(data), bits, 1));
      const { images } = await load(path);
      for (const x of ramp) assert.ok(Math.abs(images[3 * x] - x) <= 1, `${bits} bits: ${images[3 * x]} for ${x}`);
    }
    for (const [data, bits, format, type] of [
      [Float32Array.from(ramp, (v) => v / 255), 32, 3, 'float'],
      [Uint32Array.from(ramp), 32, 1, 'uint'],
      [Int32Array.from(ramp), 32, 2, 'int'],
      [Int16Array.from(ramp), 16, 2, 'short'],
      [Float64Array.from(ramp, (v) => v / 255), 64, 3],
      [BigInt64Array.from(ramp, BigInt), 64, 2],
    ]) {
      put(tiff(256, bytes(data), bits, format));
      for (const more of [{}, { size: [1, 8] }]) {
        await refuses(
          'LP_FILE',
          new RegExp(
            `0\\.tif cannot be read as an image: its values are of ${type ? `type ${type}` : 'more than 32 bits'}, .*Convert it to PNG`,
          ),
          () => load(path, more),
        );
      }
    }
  });
});

test('formats that are not read are refused as such, and by what they are converted to', async () => {
  const bmp = Buffer.from('BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02\0\0\0\x02\0\0\0\x01\x00\x18\x00', 'latin1');
  const heic = Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1');
  const files = {
    'a.bmp': [bmp, 'BMP'],
    'a.pgm': [Buffer.from('P5 2 2 255\n\x00\x01\x02\x03', 'latin1'), 'of Netpbm'],
    'b.pgm': [Buffer.from('P5 2 2 65535\n\0\0\0\0\0\0\0\0', 'latin1'), 'of Netpbm'],
    'a.ppm': [Buffer.from('P3\n1 1\n255\n1 2 3\n'), 'of Netpbm'],
    'a.pbm': [Buffer.from('P1\n2 1\n0 1\n'), 'of Netpbm'],
    'a.heic': [heic, 'HEIF'],
    'a.jxl': [Buffer.from('\xff\x0a\0\0', 'latin1'), 'JPEG XL'],
    'a.jp2': [Buffer.from('\0\0\0\x0cjP  \r\n', 'latin1'), 'JPEG 2000'],
    'named.jpg': [bmp, 'BMP'],
  };
  for (const [name, [bytes, format]] of Object.entries(files)) {
    await withFolder({ [`train/a/${name}`]: bytes, 'train/a/z.png': await flat() }, async (path) => {
      const wanted = new RegExp(
        `${name} cannot be read as an image: it is ${format}.*, which is not read here; expected JPEG, PNG.*Convert it to PNG, or pass`,
      );
      await refuses('LP_FILE', wanted, () => load(path));
      assert.equal((await load(path, { onUnreadable: 'skip' })).skipped, [join(path, 'train/a', name)]);
    });
  }
  for (const [bytes, words] of [
    ['', 'it is empty'],
    ['<!DOCTYPE html><html>', 'a page of HTML'],
    ['version https://git-lfs.github.com/spec/v1\n', 'a pointer of Git LFS'],
    [gzipSync(await flat()), 'compressed by gzip'],
  ]) {
    await withFolder({ 'train/a/0.png': bytes, 'train/a/1.png': await flat() }, (path) =>
      refuses('LP_FILE', new RegExp(`0\\.png cannot be read as an image: .*${words}`), () => load(path)),
    );
  }
});

test('what systems leave beside images is passed over, what people do is named', async () => {
  const image = await flat();
  const left = [
    'train/.DS_Store',
    'train/a/desktop.ini',
    'train/a/Thumbs.db',
    'train/a/thumbs.db',
    'train/a/@eaDir/0.png',
    'train/@eaDir/x',
  ];
  left.push(
    'train/__MACOSX/a/._0.png',
    'train/.ipynb_checkpoints/x',
    'train/a/.ipynb_checkpoints/0.png',
    'train/a/Icon\r',
    'train/#recycle/x',
    'train/lost+found/x',
  );
  await withFolder(
    { 'train/a/0.png': image, 'train/a/1': image, ...Object.fromEntries(left.map((name) => [name, 'x'])) },
    async (path) => {
      const set = await load(path);
      assert.equal(set.classes, ['a']);
      assert.is(set.labels.length, 2);
      assert.not('skipped' in set);
      writeFiles(path, { 'train/a/labels.csv': 'a,b\n', 'train/a/0.xml': '<a/>' });
      await refuses('LP_FILE', /0\.xml cannot be read as an image: .*onOther: 'skip' leaves out/, () => load(path));
      const others = ['train/a/0.xml', 'train/a/labels.csv'].map((name) => join(path, name));
      for (const cache of [join(path, 'kept'), join(path, 'kept')]) {
        const skipping = await load(path, { onOther: 'skip', cache });
        assert.equal(skipping.skipped, others);
        assert.is(skipping.labels.length, 2);
      }
      // Damaged images stay an error.
      writeFiles(path, { 'train/a/2.png': 'x' });
      await refuses('LP_FILE', /2\.png cannot be read as an image: .*onUnreadable: 'skip'\.$/, () =>
        load(path, { onOther: 'skip' }),
      );
      rmSync(join(path, 'train/a/2.png'));
      mkdirSync(join(path, 'train/b'));
      writeFiles(path, { 'train/b/notes.txt': 'x' });
      await refuses('LP_FILE', /train\/b: it has no image/, () => load(path, { onOther: 'skip' }));
      await refuses('LP_OPTION', /source\.onOther is "pass"/, () => load(path, { onOther: 'pass' }));
    },
  );
});

test('a class that cannot be read is an error by its name: it is never dropped, with others in its place', async () => {
  const image = await flat();
  await withFolder({ 'train/b/0.png': image, 'train/readme.txt': '' }, async (path) => {
    symlinkSync('/nowhere/a', join(path, 'train/a'));
    await refuses('LP_FILE', /train\/a: it is a link to what does not exist\. Mend or remove it/, () => load(path));
    rmSync(join(path, 'train/a'));
    symlinkSync('a', join(path, 'train/a')); // to itself
    await refuses('LP_FILE', /train\/a: it cannot be looked at \(ELOOP/, () => load(path));
    rmSync(join(path, 'train/a'));
    const folder = Buffer.concat([Buffer.from(join(path, 'train/caf')), Buffer.of(0xe9)]);
    try {
      mkdirSync(folder);
    } catch (error) {
      return console.log(`not run: a folder whose name is not in UTF-8 (${error.code})`);
    }
    await refuses('LP_FILE', /train\/café: its name is not in UTF-8/, () => load(path));
    rmSync(folder, { recursive: true });
    writeFileSync(Buffer.concat([Buffer.from(join(path, 'train/b/caf')), Buffer.of(0xe9, 0x2e, 0x70, 0x6e, 0x67)]), image);
    await refuses('LP_FILE', /train\/b\/café\.png: its name is not in UTF-8/, () => load(path));
  });
});

test('a class folder that is forbidden is an error by its name', async () => {
  await withFolder({ 'train/a/0.png': await flat(), 'train/b/0.png': await flat() }, async (path) => {
    const code = `import { chmodSync } from 'node:fs';
      import { loadImages } from ${JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)};
      await import('sharp');
      chmodSync(${JSON.stringify(path)}, 0o755);
      chmodSync(${JSON.stringify(join(path, 'train/a'))}, 0);
      if (process.getuid() === 0) process.seteuid(65534);
      await loadImages({ kind: 'folder', path: ${JSON.stringify(path)}, cache: false }).then((s) => console.log(s.classes), (e) => console.log(e.code, e.message));`;
    const { stdout, stderr } = await startNode(['--input-type=module', '-e', code], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
    }).ended;
    assert.match(stdout, /LP_FILE .*train\/a: EACCES/, stderr);
  });
});

test('a test split may lack classes of the training split, and a measure names them', async () => {
  const image = await flat();
  await withFolder(
    { 'train/a/0.png': image, 'train/b/0.png': image, 'train/c/0.png': image, 'test/a/0.png': image, 'test/c/0.png': image },
    async (path) => {
      const { classes } = await load(path);
      for (let time = 0; time < 2; time++) {
        const test = await load(path, { split: 'test', classes });
        assert.equal([...test.labels], [0, 2]);
        assert.equal(test.classes, ['a', 'b', 'c']);
        const logits = { shape: [2, 3], data: Float64Array.of(3, 1, 0, 0, 4, 1) };
        const { warnings, perClass } = await evaluate({ logits, labels: test.labels }, { resamples: 0, temperature: 1 });
        assert.ok(
          warnings.some((warning) => /1 of 3 classes has no test sample: 1;/.test(warning)),
          warnings.join('\n'),
        );
        assert.ok(Number.isNaN(perClass[1]));
        mkdirSync(join(path, 'test/b'), { recursive: true }); // nor does an empty folder matter
      }
      await refuses('LP_FILE', /train\/d: it does not exist/, () => load(path, { classes: [...classes, 'd'] }));
      await refuses('LP_FILE', /test\/c: it is the folder of none/, () => load(path, { split: 'test', classes: ['a', 'b'] }));
      rmSync(join(path, 'test/a/0.png'));
      rmSync(join(path, 'test/c/0.png'));
      await refuses('LP_FILE', /test: none of its class folders has an image/, () => load(path, { split: 'test', classes }));
    },
  );
});

test('folders within classes, and images without a class, are refused by name: none is trained on as a class', async () => {
  const image = await sharp(await flat())
    .jpeg()
    .toBuffer();
  const files = { 'val/images/val_0.JPEG': image, 'val/val_annotations.txt': 'val_0.JPEG n01\n' };
  for (const name of ['n01', 'n02']) {
    Object.assign(files, {
      [`train/${name}/images/${name}_0.JPEG`]: image,
      [`train/${name}/${name}_boxes.txt`]: 'x',
      [`sorted/${name}/0.JPEG`]: image,
    });
  }
  await withFolder(files, async (path) => {
    for (const more of [{}, { onUnreadable: 'skip' }, { onOther: 'skip' }]) {
      await refuses('LP_FILE', /n01\/images: it is no file/, () => load(path, more));
    }
    await refuses('LP_FILE', /val\/images: it is the folder of none/, () => load(path, { split: 'val', classes: ['n01', 'n02'] }));
    assert.equal((await load(path, { split: 'sorted' })).classes, ['n01', 'n02']);
    await refuses('LP_FILE', /test: it does not exist; .*Name one that does as split, or pass split: false/, () =>
      load(path, { split: 'test' }),
    );
  });
});

test('classes without splits above them', async () =>
  withFolder(
    { 'a/0.png': await flat('#010203'), 'b/0.png': await flat('#040506'), 'b/1.png': await flat('#070809') },
    async (path) => {
      for (const cache of [false, undefined, undefined]) {
        const set = await loadImages({ kind: 'folder', path, split: false, ...(cache === false && { cache }) });
        assert.equal(set.classes, ['a', 'b']);
        assert.equal([...set.labels], [0, 1, 1]);
        assert.equal([...set.images.subarray(0, 3)], [1, 2, 3]);
      }
      assert.equal([...(await load(path, { split: false, classes: ['b', 'x', 'a'] })).labels], [0, 0, 2]);
      await refuses('LP_OPTION', /source\.split is false/, () => loadImages({ kind: 'idx', path, split: false }));
    },
  ));

test('pixels are as they are stored; with orient as EXIF turns them', async () => {
  const pixels = Array.from({ length: 4 * 6 * 3 }, (_, k) => pixel(0, Math.floor(k / 18), Math.floor(k / 3) % 6, k % 3));
  for (let orientation = 1; orientation <= 8; orientation++) {
    const bytes = await raw(pixels, 6, 4, 3).withMetadata({ orientation }).png().toBuffer();
    await withFolder({ 'train/a/0.png': bytes, 'train/a/1.png': bytes }, async (path) => {
      // With one cache: another rule is another set.
      const stored = await loadImages({ kind: 'folder', path });
      assert.equal(stored.shape, [2, 4, 6, 3]);
      assert.equal([...stored.images.subarray(0, 72)], pixels);
      const { images, shape } = await loadImages({ kind: 'folder', path, orient: true });
      assert.equal(shape, orientation > 4 ? [2, 6, 4, 3] : [2, 4, 6, 3]);
      // Where the pixel of row y, column x of what is shown is stored (TIFF 6.0, tag 274).
      const [h, w] = [shape[1], shape[2]];
      const from = {
        1: (y, x) => [y, x],
        2: (y, x) => [y, w - 1 - x],
        3: (y, x) => [h - 1 - y, w - 1 - x],
        4: (y, x) => [h - 1 - y, x],
        5: (y, x) => [x, y],
        6: (y, x) => [w - 1 - x, y],
        7: (y, x) => [w - 1 - x, h - 1 - y],
        8: (y, x) => [x, h - 1 - y],
      }[orientation];
      for (let y = 0; y < h; y++) {
        for (let x = 0; x < w; x++) {
          const [row, column] = from(y, x);
          assert.equal(
            [...images.subarray(3 * (y * w + x), 3 * (y * w + x) + 3)],
            pixels.slice(3 * (row * 6 + column), 3 * (row * 6 + column) + 3),
          );
        }
      }
      assert.equal((await loadImages({ kind: 'folder', path })).shape, [2, 4, 6, 3]);
      assert.equal((await load(path, { orient: true, size: [6, 4] })).shape, [2, 6, 4, 3]);
    });
  }
});

test('images of hostile size are refused without a word of libvips on standard error', async () => {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length);
    frame.writeUInt32BE(crc(body), 4);
    return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
  };
  const { crc32: crc } = await import('node:zlib');
  const files = {};
  const sizes = [1, 65536, 1_000_001, 10_000_001, 2 ** 31 - 1];
  for (const width of sizes) {
    for (const height of sizes) {
      const header = Buffer.alloc(13);
      header.writeUInt32BE(width);
      header.writeUInt32BE(height, 4);
      header.set([8, 0, 0, 0, 0], 8);
      const png = [
        Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
        chunk('IHDR', header),
        chunk('IDAT', deflateSync(Buffer.alloc(64))),
        chunk('IEND', Buffer.alloc(0)),
      ];
      files[`train/a/${width}x${height}.png`] = Buffer.concat(png);
    }
  }
  await withFolder({ ...files, 'train/a/0.png': await flat() }, async (path) => {
    const code = `import { loadImages } from ${JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)};
      for (const size of [[4, 4], [1, 1]]) console.log((await loadImages({ kind: 'folder', path: ${JSON.stringify(path)}, cache: false, onUnreadable: 'skip', size })).skipped.length);`;
    const { stdout, stderr, code: status } = await startNode(['--input-type=module', '-e', code]).ended;
    assert.is(status, 0, stderr);
    assert.is(stderr, '');
    assert.match(stdout, /2\d/);
  });
});

test.run();
