// Images named in a list, class folders named in a list, and images that stay in their files.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  augment,
  channelStatistics,
  classCounts,
  fitImages,
  imageSubset,
  joinImages,
  loadImages,
  selectImages,
  streamImages,
} from 'layerpeel';
import sharp from 'sharp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refuses } from '../helpers.js';
import { assertSet, pixel, withFolder } from './formats.js';

const image = (i, height = 4, width = 3) =>
  sharp(
    Uint8Array.from({ length: height * width * 3 }, (_, k) =>
      pixel(i, Math.floor(k / (width * 3)), Math.floor(k / 3) % width, k % 3),
    ),
    { raw: { height, width, channels: 3 } },
  )
    .png()
    .toBuffer();

const files = async () => ({
  'images/a/0.png': await image(0),
  'images/a/with a blank.png': await image(1),
  'images/b/2.PNG': await image(2),
});
const lines = 'images/b/2.PNG 0\nimages/a/0.png 1\nimages/a/with a blank.png 1\n';

test('a list, its paths from its own folder or from another; the same from the cache, and from the files', async () =>
  withFolder({ ...(await files()), 'train.txt': lines }, async (path) => {
    const set = await loadImages({ kind: 'list', path });
    assert.equal([...set.labels], [0, 1, 1]);
    assert.equal(set.classes, ['0', '1']);
    assert.is(set.images[0], pixel(2, 0, 0, 0));
    assert.match(set.source, /train\.txt/);
    assert.equal((await loadImages({ kind: 'list', path })).images, set.images);
    const left = await streamImages({ kind: 'list', path });
    assert.equal(
      left.files.map((file) => file.slice(path.length)),
      ['/images/b/2.PNG', '/images/a/0.png', '/images/a/with a blank.png'],
    );
    assert.equal([...left.labels], [0, 1, 1]);
    assert.equal(left.shape, set.shape);
  }));

test('as they are shipped: carriage returns, a byte-order mark, tabs, empty lines; a root; names; other endings of the list', async () =>
  withFolder(
    { ...(await files()), 'lists/LT_val.lst': '\ufeffb/2.PNG\t5\r\n\r\n  a/0.png 4\r\n', 'lists/of.txt': '/nowhere/x.png 4' },
    async (path) => {
      const source = { kind: 'list', path: join(path, 'lists'), split: 'LT_val.lst', root: join(path, 'images'), firstLabel: 4 };
      const set = await loadImages({ ...source, classes: ['tench', 'shark', 'ray'] });
      assert.equal([...set.labels], [1, 0]);
      assert.equal(set.classes, ['tench', 'shark', 'ray']);
      assertSet(imageSubset(set, [1]), [0], [4, 3, 3]);
      const numbered = await loadImages({ ...source, firstLabel: 0, emptyClasses: 'leave out' });
      assert.equal(numbered.classes, ['4', '5']);
      await refuses('LP_FILE', /of\.txt, line 1: \/nowhere\/x\.png is no file/, () => loadImages({ ...source, split: 'of' }));
    },
  ));

for (const [what, text, expected] of [
  ['no line', '\n \n', /it has no line/],
  ['no label', 'images/a/0.png 0\nimages/b/2.PNG', /train\.txt, line 2: it is "images\/b\/2\.PNG"; expected a path and a label/],
  ['a label alone', '490\n', /line 1: it is "490"/],
  ['a label that is a word', 'images/a/0.png cat', /line 1: .*whole number/],
  ['a fraction', 'images/a/0.png 0.5', /line 1: .*whole number/],
  ['an endless number', `images/a/0.png ${'9'.repeat(400)}`, /line 1: .*whole number/],
  ['a negative label', 'images/a/0.png 0\n\nimages/b/2.PNG -1', /line 3: its label is -1; expected 0 or more/],
  [
    'a gap',
    'images/a/0.png 0\nimages/b/2.PNG 2',
    /no line has the label 1, but others have larger ones; emptyClasses: 'leave out'/,
  ],
  ['a label beyond memory', 'images/a/0.png 0\nimages/b/2.PNG 999999999999', /999999999999.*expected at most/],
  ['two labels', 'images/a/0.png 0\nimages/a/0.png 1', /line 2: images\/a\/0\.png has the label 1 here, but 0 on line 1/],
  ['a file that is not there', 'images/a/9.png 0', /line 1: .*images\/a\/9\.png is no file; root names another folder/],
  ['a name without its ending', 'images/a/0 0', /line 1: .*images\/a\/0 is no file; there is .*images\/a\/0\.png/],
  ['a folder', 'images/a 0', /line 1: .*is no file/],
  ['a zero byte', 'images/\0 0', /line 1: it is/],
  ['bytes that are no text', Buffer.of(0xff, 0xfe, 0x20, 0x30), /no text in UTF-8/],
]) {
  test(`a list with ${what} is refused`, async () =>
    withFolder({ ...(await files()), 'train.txt': text }, (path) =>
      Promise.all(
        [loadImages, streamImages].map((open) => refuses('LP_FILE', expected, () => open({ kind: 'list', path, cache: false }))),
      ),
    ));
}

test('labels beyond the classes that are named, and a list that is not there', async () =>
  withFolder({ ...(await files()), 'train.txt': lines }, async (path) => {
    const source = { kind: 'list', path };
    await refuses('LP_FILE', /the label of line 2 is 1; expected 0 … 0/, () => loadImages({ ...source, classes: ['a'] }));
    // Of a class without an image only training says something.
    assert.equal(classCounts(await loadImages({ ...source, classes: ['a', 'b', 'c'] })), Int32Array.of(1, 2, 0));
    await refuses('LP_FILE', /val\.txt/, () => loadImages({ ...source, split: 'val' }));
    await refuses('LP_OPTION', /source\.split/, () => loadImages({ ...source, split: '../train' }));
    await refuses('LP_OPTION', /onOther/, () => loadImages({ ...source, onOther: 'skip' }));
  }));

const folders = async () => ({
  'train/n01440764/1.JPEG': await image(0),
  'train/n01443537/2.JPEG': await image(1),
  'train/n01484850/3.JPEG': await image(2),
});

test('classes to take, in the order they are named in, by a list or a file', async () =>
  withFolder({ ...(await folders()), 'two.txt': 'n01484850\r\n\nn01440764\n' }, async (path) => {
    const source = { kind: 'folder', path };
    for (const take of [['n01484850', 'n01440764'], join(path, 'two.txt')]) {
      const set = await loadImages({ ...source, take });
      assert.equal(set.classes, ['n01484850', 'n01440764']);
      assert.equal([...set.labels], [0, 1]);
      assert.is(set.images[0], pixel(2, 0, 0, 0));
    }
    // A test set that is numbered as its training set is, as training does it.
    const both = { ...source, take: ['n01484850', 'n01440764'], classes: ['n01484850', 'n01440764'] };
    assert.equal([...(await loadImages(both)).labels], [0, 1]);
    await refuses('LP_FILE', /take\[1\]: .*train has no folder n01440765; did you mean n01440764\?/, () =>
      loadImages({ ...source, take: ['n01443537', 'n01440765'] }),
    );
    await refuses('LP_OPTION', /take/, () => loadImages({ ...source, take: ['n01443537', 'n01443537'] }));
    await refuses('LP_OPTION', /take/, () => loadImages({ ...source, take: [] }));
    await refuses('LP_OPTION', /take/, () => loadImages({ ...source, take: '' }));
  }));

test('a file of classes to take that is wrong is refused with its line', async () =>
  withFolder(
    { ...(await folders()), 'twice.txt': 'n01440764\n\nn01440764', 'none.txt': '\n', 'odd.txt': 'n01440764 tench' },
    async (path) => {
      const take = (name) => loadImages({ kind: 'folder', path, take: join(path, name) });
      await refuses('LP_FILE', /twice\.txt, line 3: it names n01440764 again, as .*twice\.txt, line 1 does/, () =>
        take('twice.txt'),
      );
      await refuses('LP_FILE', /none\.txt: it names no class/, () => take('none.txt'));
      await refuses('LP_FILE', /odd\.txt, line 1: .*has no folder n01440764 tench/, () => take('odd.txt'));
      await refuses('LP_FILE', /missing\.txt/, () => take('missing.txt'));
    },
  ));

test('validation images that lie flat are told from class folders, and where a list stands', async () =>
  withFolder(
    { ...(await folders()), 'val/ILSVRC2012_val_00000001.JPEG': await image(7), 'val.txt': 'ILSVRC2012_val_00000001.JPEG 1\n' },
    async (path) => {
      const { classes } = await loadImages({ kind: 'folder', path });
      await refuses('LP_FILE', /val: it has no folders.*kind: 'list'/, () =>
        loadImages({ kind: 'folder', path, split: 'val', classes }),
      );
      const val = await loadImages({ kind: 'list', path, split: 'val', root: join(path, 'val'), classes });
      assert.equal([...val.labels], [1]);
      assert.equal(val.classes, classes);
    },
  ));

test('images in their files: their size, subsets, joined, and their statistics as in memory', async () =>
  withFolder({ ...(await folders()), 'train/n01484850/4.png': await image(3), 'train/n01484850/note.csv': '' }, async (path) => {
    const source = { kind: 'folder', path, onOther: 'skip', cache: false };
    const [loaded, left] = [await loadImages(source), await streamImages(source)];
    assert.equal(left.shape, loaded.shape);
    assert.equal(left.labels, loaded.labels);
    assert.equal(left.skipped, loaded.skipped);
    assert.equal(await channelStatistics(left), await channelStatistics(loaded));
    const selection = { heldOut: ['n01443537'], labelNoise: { share: 0.5 } };
    const [some, others] = [selectImages(loaded, selection), selectImages(left, selection)];
    assert.equal(others.images.labels, some.images.labels);
    assert.equal(others.images.files, [left.files[0], left.files[2], left.files[3]]);
    assert.equal(others.heldOut.files, [left.files[1]]);
    assert.equal(joinImages([left, left]).files, [...left.files, ...left.files]);
    const [small, same] = [
      await fitImages(left, { height: 2, width: 5, channels: 3 }),
      await loadImages({ ...source, size: [2, 5] }),
    ];
    assert.equal(small.shape, [4, 2, 5, 3]);
    assert.equal(await channelStatistics(small), await channelStatistics(same));
    await refuses('LP_OPTION', /sets\[1\] and the first/, () => joinImages([left, loaded]));
    await refuses('LP_SHAPE', /channels/, () => fitImages(left, { height: 2, width: 2, channels: 1 }));
  }));

test('what cannot be read in its turn is named; what cannot be asked is refused', async () =>
  withFolder({ ...(await folders()), 'train/n01484850/4.png': Buffer.from('no image') }, async (path) => {
    const source = { kind: 'folder', path };
    const left = await streamImages(source);
    await refuses('LP_FILE', /4\.png cannot be read as an image.*Mend it\.$/, () => channelStatistics(left));
    rmSync(left.files[1]);
    await refuses('LP_FILE', /2\.JPEG/, () => channelStatistics(imageSubset(left, [0, 1])));
    await refuses('LP_ABORTED', /./, () => channelStatistics(left, { signal: AbortSignal.abort() }));
    await refuses('LP_OPTION', /source\.onUnreadable is "skip"; expected 'refuse' with stream/, () =>
      streamImages({ ...source, onUnreadable: 'skip' }),
    );
    await refuses('LP_OPTION', /source\.stream is true.*streamImages/, () => loadImages({ ...source, stream: true }));
    await refuses('LP_OPTION', /stream/, () => streamImages({ kind: 'idx', path }));
    await refuses('LP_DTYPE', /stay in their files/, () => augment(left, [0]));
    await refuses('LP_SHAPE', /3 files|4 files/, () => imageSubset({ ...left, files: left.files.slice(1) }, [0]));
    await refuses('LP_OPTION', /files/, () => imageSubset({ ...left, files: [1, 2, 3, 4] }, [0]));
  }));

test('images of one size that is not said: one of another is refused by name', async () =>
  withFolder({ ...(await folders()), 'train/n01484850/4.png': await image(3, 5, 5) }, async (path) => {
    const left = await streamImages({ kind: 'folder', path });
    await refuses('LP_FILE', /4\.png: it is 5×5 \(height × width\), not 4×3/, () => channelStatistics(left));
  }));

test.run();
