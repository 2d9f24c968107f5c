// The addon's own functions, called past the TypeScript front: what they refuse bears the code of what was wrong.
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { engine } from '../../lib/engine/load.js';
import { startNode } from '../process.js';

test('a chunk of another dtype than the measurement is refused as such', () => {
  const native = engine();
  const labels = Int32Array.of(0, 1);
  for (const [dtype, Type, Other] of [
    ['float32', Float32Array, Float64Array],
    ['float64', Float64Array, Float32Array],
  ]) {
    const handle = native.collapseBegin({ dtype, classes: 2, dim: 3, meanOfSamples: false, ddof: 0, cosines: true });
    const chunk = (features) => ({ features, labels, rows: 2 });
    const refused = (call) => assert.throws(call, (error) => error.code === 'LP_DTYPE' && /dtype/.test(error.message));
    refused(() => native.collapseSum(undefined, handle, chunk(new Other(6))));
    native.collapseSum(undefined, handle, chunk(Type.of(1, 0, 0, 0, 1, 0)));
    native.collapseCenter(undefined, handle);
    refused(() => native.collapseMeasure(undefined, handle, chunk(new Other(6))));
  }
});

const child = fileURLToPath(new URL('./children/raw.js', import.meta.url));
const cases = JSON.parse((await startNode([child]).ended).stdout);

/** The code that a case ends with, where it is not that of a wrong option. */
const codeOf = (name) => {
  if (/ of \d/.test(name)) return 'LP_SHAPE';
  if (name.endsWith('takes the features away')) return name.startsWith('a getter') ? 'LP_DETACHED' : 'done';
  return (
    {
      'a setter that all objects have': 'done',
      'a getter of the mode throws': 'mine',
      'more memory than there is': 'LP_MEMORY',
    }[name] ?? 'LP_OPTION'
  );
};

/** Those that change what others rely on, or may keep the process from ending, are alone in theirs. */
const alone = cases.filter((name) => /away|all objects|throws|computed/.test(name));
const together = cases.filter((name) => !alone.includes(name));
const groups = [
  ...alone.map((name) => [name]),
  together.filter((name) => / of \d/.test(name)),
  together.filter((name) => !/ of \d/.test(name)),
];

for (const names of groups) {
  test(names.length === 1 ? names[0] : `${names[0]}, and ${names.length - 1} more`, async () => {
    const { code, signal, stdout, stderr } = await startNode([child, ...names]).ended;
    assert.is(code, 0, `${signal} after ${stdout} ${stderr}`);
    assert.equal(
      stdout
        .trim()
        .split('\n')
        .map((found, i) => [names[i], found]),
      names.map((name) => [name, codeOf(name)]),
    );
  });
}

test.run();
