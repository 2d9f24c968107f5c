// What a container allows is kept: threads within its quota, and where room is asked for that is not there LP_MEMORY, never a killed process.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cpuQuota, memoryAsked, threadsOf, tooLittleToLoad } from '../../lib/engine/limits.js';
import { sanitized, startLimited, startNode } from '../process.js';

let root;
test.before.each(() => {
  root = mkdtempSync(join(tmpdir(), 'layerpeel-'));
});
test.after.each(() => rmSync(root, { recursive: true }));
const put = (files) => {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
};

test('the quota of processors, of either version of control groups, of this group or one around it', () => {
  assert.is(cpuQuota(root), Infinity);
  const v2 = 'sys/fs/cgroup';
  put({ 'proc/self/cgroup': '0::/a/b\n', [`${v2}/a/b/cpu.max`]: 'max 100000\n' });
  assert.is(cpuQuota(root), Infinity);
  put({ [`${v2}/a/cpu.max`]: '150000 100000\n', [`${v2}/a/b/cpu.max`]: '400000 100000\n' });
  assert.is(cpuQuota(root), 1.5);
  // Seen from inside a container its group is the root.
  put({ 'proc/self/cgroup': '0::/\n', [`${v2}/cpu.max`]: '800000 100000' });
  assert.is(cpuQuota(root), 8);
  rmSync(join(root, v2), { recursive: true });
  put({
    'proc/self/cgroup': '12:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/docker/x\n',
    [`${v2}/cpu,cpuacct/cpu.cfs_quota_us`]: '250000\n', // the path of outside is not there inside
    [`${v2}/cpu,cpuacct/cpu.cfs_period_us`]: '100000\n',
  });
  assert.is(cpuQuota(root), 2.5);
  put({ [`${v2}/cpu,cpuacct/cpu.cfs_quota_us`]: '-1\n' });
  assert.is(cpuQuota(root), Infinity);
  put({ [`${v2}/cpu/docker/x/cpu.cfs_quota_us`]: '50000\n', [`${v2}/cpu/docker/x/cpu.cfs_period_us`]: '100000\n' });
  assert.is(cpuQuota(root), 0.5);
  assert.equal([0.5, 1, 1.5, 2, 7.9, Infinity].map(threadsOf), [1, 1, 1, 2, 7, Infinity]);
});

test('LAYERPEEL_MEMORY in bytes or by letters', () => {
  for (const [text, bytes] of [
    ['1000', 1000],
    ['8G', 8 * 2 ** 30],
    ['8 GB', undefined],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['512m', 512 * 2 ** 20],
    ['', undefined],
    ['0', undefined],
    ['-1', undefined],
    ['lots', undefined],
  ]) {
    assert.is(memoryAsked(text), bytes, text);
  }
});

test('too little address space for what is loaded is told by its limit', () => {
  assert.is(tooLittleToLoad(root), undefined);
  const limits = (space, data) =>
    put({
      'proc/self/limits': `Limit Soft Limit Hard Limit Units\nMax data size ${data} unlimited bytes\nMax address space   ${space}  unlimited bytes\n`,
    });
  put({ 'proc/self/status': 'VmSize:\t 1000000 kB\nVmData:\t  100000 kB\n' });
  limits('unlimited', 'unlimited');
  assert.is(tooLittleToLoad(root), undefined);
  limits(1024 * 1000000 + 2 ** 28 - 1, 'unlimited');
  assert.match(tooLittleToLoad(root), /ulimit -v leaves 255 MiB; expected 256/);
  limits(1024 * 1000000 + 2 ** 28, 'unlimited');
  assert.is(tooLittleToLoad(root), undefined);
  limits('unlimited', 1024 * 100000);
  assert.match(tooLittleToLoad(root), /ulimit -d leaves 0 MiB/);
});

const code = (body) =>
  `import(${JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)}).then(async (lp) => { ${body} }).catch((error) => console.log(error.code, error.message))`;

test('whatever the limit on address space, a call is done or refused, and the process lives', async () => {
  if (process.platform !== 'linux') return console.log('  (skipped: needs Linux)');
  if (sanitized) return console.log('  (skipped: AddressSanitizer takes terabytes of address space)');
  const call = `const one = { shape: [1, 1], data: Float64Array.of(3) }; console.log('made ' + (await lp.matmul(one, one)).data[0]);`;
  const outcomes = new Set();
  for (const kibibytes of [950_000, 1_000_000, 1_050_000, 1_100_000, 1_200_000, 1_400_000, 4_000_000]) {
    const { code: exit, signal, stdout, stderr } = await startLimited(`ulimit -v ${kibibytes}`, ['-e', code(call)]).ended;
    // Below a gigabyte Node.js itself may not start.
    if (exit !== 0 && !/layerpeel|OpenBLAS/i.test(stderr)) continue;
    assert.equal([exit, signal], [0, null], `${kibibytes}: ${stderr}`);
    assert.match(stdout, /^(made 9|LP_MEMORY There is not enough memory to load the native engine: ulimit -v leaves)/);
    outcomes.add(stdout.split(' ')[0]);
  }
  assert.ok(outcomes.has('made'));
});

test('beyond LAYERPEEL_MEMORY everything that asks for room is refused, and small things go on', async () => {
  const calls = {
    randomState: 'lp.randomState({ classes: 20, perClass: 2000, dim: 1000 })',
    simplexETF: 'lp.simplexETF(5000, 8000)',
    etfOptimum: `lp.etfOptimum(lp.simplexETF(4, 10000), Int32Array.from({ length: 4000 }, (_, i) => i % 4))`,
    matmul: `await lp.matmul({ shape: [20000, 1], data: new Float64Array(20000) }, { shape: [1, 2000], data: new Float64Array(2000) })`,
    matmulSync: `lp.matmulSync({ shape: [20000, 1], data: new Float64Array(20000) }, { shape: [1, 2000], data: new Float64Array(2000) })`,
  };
  for (const [name, call] of Object.entries(calls)) {
    const body = `const one = { shape: [1, 1], data: Float64Array.of(3) };
      await lp.matmul(one, one);
      await (async () => { ${call}; console.log('made'); })().catch((error) => console.log(error.code, error.message));
      console.log(String((await lp.matmul(one, one)).data[0]));`;
    const env = { LAYERPEEL_MEMORY: '250M', LAYERPEEL_THREADS: '2' };
    const { code: exit, stdout, stderr } = await startNode(['-e', code(body)], { env }).ended;
    assert.is(exit, 0, `${name}: ${stderr}`);
    assert.match(stdout, /^LP_MEMORY .*\n9\n$/, name);
  }
  const { stdout } = await startNode(
    ['-e', code(`console.log(String(lp.randomState({ classes: 20, perClass: 2000, dim: 1000 }).features.shape[0]))`)],
    {
      env: { LAYERPEEL_MEMORY: '4G' },
    },
  ).ended;
  assert.is(stdout, '40000\n');
});

test('loading the engine changes no variable of the environment', async () => {
  for (const before of [undefined, '7']) {
    const body = `lp.matmulSync({ shape: [1, 1], data: Float64Array.of(3) }, { shape: [1, 1], data: Float64Array.of(3) }); console.log(String(process.env.OPENBLAS_NUM_THREADS));`;
    const { stdout } = await startNode(['-e', code(body)], { env: before ? { OPENBLAS_NUM_THREADS: before } : {} }).ended;
    assert.is(stdout, `${before}\n`);
  }
});

test.run();
