import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readNpy, writeNpy, writeNpz } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toJson } from '../../lib/array/json.js';
import { run } from './run.js';

const cases = JSON.parse(await readFile(new URL('../golden/collapse.json', import.meta.url), 'utf8'));
const matrix = (rows) => ({ shape: [rows.length, rows[0].length], data: Float64Array.from(rows.flat()) });

let folder;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
});
test.after.each(() => rm(folder, { recursive: true }));

async function write({ features, labels, prototypes, biases }) {
  await writeNpy(join(folder, 'h.npy'), matrix(features));
  await writeNpy(join(folder, 'w.npy'), matrix(prototypes));
  await writeNpy(join(folder, 'b.npy'), { shape: [biases.length], data: Float64Array.from(biases) });
  await writeNpy(join(folder, 'y.npy'), { shape: [labels.length], data: Int32Array.from(labels) });
}

test('measures what the golden cases hold, as one JSON document, and leaves a run folder', async () => {
  for (const { features, labels, prototypes, biases, counts, ...expected } of cases) {
    await write({ features, labels, prototypes, biases });
    const args = ['h.npy', '--labels', 'y.npy', '--prototypes', 'w.npy', '--biases', 'b.npy', '--out', 'run', '--force', '--json'];
    const { code, stdout } = await run(['measure', ...args], { cwd: folder });
    assert.is(code, 0);
    const { measures, spectrum } = JSON.parse(stdout);
    for (const [name, value] of Object.entries(expected)) {
      assert.ok(Math.abs(measures[name] - value) <= 1e-10 * Math.max(1, Math.abs(value)), name);
    }
    assert.is(spectrum.length, counts.length - 1);
    const out = join(folder, 'run');
    const { status, files } = JSON.parse(await readFile(join(out, 'run.json'), 'utf8'));
    assert.is(status, 'complete');
    for (const file of ['config.json', 'metrics.csv', 'report.html', 'figures/spectrum.svg', 'figures/prototype-cosines.svg']) {
      assert.ok(files.includes(file), file);
    }
    const [names, row] = (await readFile(join(out, 'metrics.csv'), 'utf8')).trim().split('\r\n');
    assert.is(Number(row.split(',')[names.split(',').indexOf('nc3')]), measures.nc3);
    assert.equal((await readNpy(join(out, 'arrays/class-means.npy'))).shape, [counts.length, features[0].length]);
  }
});

test('prototypes may be left out, and arrays may stand in one file', async () => {
  const [{ features, labels }] = cases;
  const data = Float32Array.from(features.flat());
  await writeNpz(join(folder, 'a.npz'), {
    h: { shape: [features.length, features[0].length], data },
    y: { shape: [labels.length], data: Int32Array.from(labels) },
  });
  for (const args of [['a.npz:h'], ['a.npz', '--name', 'h']]) {
    const { code, stdout } = await run(['measure', ...args, '--labels', 'a.npz:y', '--out', 'run', '--force'], { cwd: folder });
    assert.is(code, 0);
    assert.match(stdout, /^ {2}nc1 +\d/m);
    assert.not.match(stdout, /nc3/);
    assert.match(stdout, /Report: .*run\/report\.html\n$/);
  }
});

test('what is not defined and what is not finite are told apart in JSON, which has neither', async () => {
  // Two classes of one mean: a spread over none is Infinity, a cosine with nothing NaN.
  await writeNpy(join(folder, 'h.npy'), { shape: [4, 2], data: Float64Array.of(1, 0, -1, 0, 1, 0, -1, 0) });
  await writeNpy(join(folder, 'y.npy'), { shape: [4], data: Int32Array.of(0, 0, 1, 1) });
  const { code, stdout, stderr } = await run(['measure', 'h.npy', '--labels', 'y.npy', '--out', 'same', '--json'], { cwd: folder });
  assert.is(code, 0, stderr);
  const { measures } = JSON.parse(stdout);
  assert.equal([measures.nc1Cdnv, measures.nc1], ['Infinity', 'NaN']);
  assert.not.match(stdout, /null/);
  const values = { a: [Number.NaN, -0.5], b: Float32Array.of(Number.NEGATIVE_INFINITY, 2), c: null };
  assert.is(toJson(values), '{"a":["NaN",-0.5],"b":["-Infinity",2],"c":null}');
});

test('faults of usage exit 2, faults of data exit 1 with a sentence and without a folder', async () => {
  const [{ features, labels, prototypes, biases }] = cases;
  await write({ features, labels: labels.slice(1), prototypes, biases });
  const usage = await run(['measure', 'h.npy'], { cwd: folder });
  assert.is(usage.code, 2);
  assert.match(usage.stderr, /--labels is missing/);
  for (const [args, pattern] of [
    [['h.npy', '--labels', 'y.npy'], /labels have \d+ entries/],
    [['g.npy', '--labels', 'y.npy'], /g\.npy cannot be read: it does not exist/],
    [['y.npy', '--labels', 'y.npy'], /y\.npy/],
    [['h.npy', '--labels', 'h.npy'], /labels are integers/],
  ]) {
    const { code, stderr, stdout } = await run(['measure', ...args, '--out', 'run'], { cwd: folder });
    assert.is(code, 1, args.join(' '));
    assert.match(stderr, pattern);
    assert.match(stderr, /^layerpeel: [^\n]+\n$/);
    assert.is(stdout, '');
  }
  assert.not.ok((await readdir(folder)).includes('run'));
});

test.run();
