import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { randomState, writeNpy } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readConfiguration } from '../../lib/configuration/file.js';
import { EXAMPLE, readSimulation } from '../../lib/configuration/simulation.js';

const flow = {
  dynamics: 'gradientFlow',
  state: { random: { classes: 3, perClass: 2, dim: 4, seed: 5 } },
  options: { gamma: 0.1, rates: { features: 1, prototypes: 1 } },
  times: { to: 10, count: 5 },
};

let folder;
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layerpeel-'));
});
test.after(() => rm(folder, { recursive: true }));

async function read(config) {
  const path = join(folder, 'config.json');
  await writeFile(path, typeof config === 'string' || Buffer.isBuffer(config) ? config : JSON.stringify(config));
  return readSimulation(await readConfiguration(path), folder);
}

test('the example is a configuration', async () => {
  const { simulation } = await read(EXAMPLE);
  assert.is(simulation.clock, 'step');
  assert.is(simulation.times[0], 1);
  assert.is(simulation.times.at(-1), 20_000);
  assert.ok(simulation.times.every((time, i) => Number.isInteger(time) && (i === 0 || time > simulation.times[i - 1])));
});

test('a random state is the one of randomState', async () => {
  const { simulation } = await read({ ...flow, dtype: 'float32' });
  assert.equal(simulation.state, randomState({ classes: 3, perClass: 2, dim: 4, seed: 5, dtype: 'float32' }));
  assert.equal(simulation.times, [0, 2.5, 5, 7.5, 10]);
});

test('a state is read from files beside the configuration, in the dtype asked for', async () => {
  const state = randomState({ classes: 3, perClass: 2, dim: 4 });
  await writeNpy(join(folder, 'h.npy'), state.features);
  await writeNpy(join(folder, 'w.npy'), { ...state.prototypes, data: Float32Array.from(state.prototypes.data) });
  await writeNpy(join(folder, 'y.npy'), { shape: [6], data: state.labels });
  const files = { features: 'h.npy', prototypes: 'w.npy', labels: 'y.npy' };
  const { simulation } = await read({ ...flow, state: files, dtype: 'float32', times: [3, 1, 3] });
  assert.equal(simulation.state.features.data, Float32Array.from(state.features.data));
  assert.equal(simulation.state.labels, state.labels);
  assert.equal(simulation.times, [1, 3]);
});

test('faults are named by their path, with the nearest right name', async () => {
  const cases = [
    ['{', /config\.json is not JSON/],
    [Buffer.from('\ufeff{}', 'utf16le'), /config\.json is UTF-16; save it as UTF-8/],
    [Buffer.from([0x7b, 0xe9, 0x7d]), /config\.json is no UTF-8/],
    [[], /config is .*expected an object/],
    [{ ...flow, dynamics: 'gradientflow' }, /config\.dynamics is "gradientflow"; did you mean 'gradientFlow'/],
    [{ ...flow, state: undefined }, /config\.state is missing/],
    [{ ...flow, option: {} }, /config\.option is not known; did you mean options/],
    [{ ...flow, options: [] }, /config\.options is an empty list; expected an object/],
    [{ ...flow, times: undefined }, /config\.times is missing/],
    [{ ...flow, times: [] }, /config\.times is empty/],
    [{ ...flow, times: [1, -2] }, /config\.times\[1\] is -2/],
    [{ ...flow, times: { from: 5, to: 1 } }, /config\.times\.to is 1/],
    [{ ...flow, times: { from: 0, to: 1, scale: 'log' } }, /config\.times\.from is 0; .*above 0/],
    [{ ...flow, times: { to: 1, sclae: 'log' } }, /config\.times\.sclae is not known; did you mean scale/],
    [{ ...flow, steps: [1] }, /config\.steps is given, but gradientFlow runs over times; give config\.times/],
    [{ ...flow, dynamics: 'gradientDescent', times: undefined, steps: [1.5] }, /config\.steps\[0\] is 1\.5; expected an integer/],
    [{ ...flow, measure: 'loss' }, /config\.measure is "loss"; expected a list/],
    [{ ...flow, save: ['sate'] }, /config\.save\[0\] is "sate"; did you mean 'state'/],
    [{ ...flow, dtype: 'float46' }, /config\.dtype is "float46"; did you mean/],
    [{ ...flow, state: { random: { classes: 3, perClass: 2, dim: 0 } } }, /config\.state\.random\.dim is 0/],
    [
      { ...flow, state: { random: { clases: 3, perClass: 2, dim: 1 } } },
      /config\.state\.random\.clases is not known; did you mean classes/,
    ],
    [{ ...flow, state: { random: {}, labels: 'y.npy' } }, /config\.state has both/],
    [{ ...flow, state: { features: 3 } }, /config\.state\.features is 3; expected the path/],
    [{ ...flow, state: { features: 'none.npy' } }, /config\.state\.features: .*none\.npy cannot be read: it does not exist/],
  ];
  for (const [config, pattern] of cases) {
    const error = await read(config).then(
      () => assert.unreachable(`${pattern} should have been refused`),
      (caught) => caught,
    );
    assert.match(error.message, pattern);
    assert.match(error.code, /^LP_(CONFIG|FILE)$/);
  }
});

test('no configuration, however malformed, throws anything but a typed error', async () => {
  const anything = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(-1, 0, 1e300, '', 'loss', 'h.npy', [], {}, null, [[]], { kind: 'cosine' }),
  );
  const keys = ['dynamics', 'state', 'dtype', 'options', 'times', 'steps', 'measure', 'when', 'save', '__proto__', 'x'];
  const changes = fc.dictionary(fc.constantFrom(...keys), anything, { maxKeys: 3 });
  const inner = fc.record({ random: anything, features: anything, labels: anything }, { requiredKeys: [] });
  await fc.assert(
    fc.asyncProperty(
      changes,
      fc.option(inner, { nil: undefined }),
      fc.option(anything, { nil: undefined }),
      async (change, state, times) => {
        const config = { ...flow, ...(state ? { state } : {}), ...(times === undefined ? {} : { times }), ...change };
        await read(config).catch((error) => {
          assert.match(error.code, /^LP_(CONFIG|FILE|OPTION|MEMORY)$/, error.message);
          const words = /undefined|\[object|NaN/;
          if (!words.test(JSON.stringify(config))) assert.not.match(error.message, words);
        });
      },
    ),
    { numRuns: 400 },
  );
});

test.run();
