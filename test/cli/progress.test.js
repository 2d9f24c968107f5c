import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Progress } from '../../lib/cli/progress.js';

/** What a stream of the given kind is sent. */
function watch({ isTTY, columns }, env, use) {
  const written = [];
  use(new Progress({ isTTY, columns, write: (text) => written.push(text) }, env));
  return written.join('');
}

test('a terminal gets a bar that fits its width, and a clean line in the end', () => {
  for (const [env, width] of [
    [{}, 60],
    [{ COLUMNS: '40' }, 40],
  ]) {
    const text = watch({ isTTY: true, columns: 60 }, { NO_COLOR: '1', ...env }, (progress) => {
      progress.update(0.5, 'measuring '.repeat(20));
      progress.clear();
    });
    assert.match(text, /^\r█+░+ {2}50% {2}measuring/);
    assert.ok(text.split('\x1b[K')[0].length <= width + 1, text);
    assert.ok(text.endsWith('\r\x1b[K'));
  }
});

test('colour is kept out by NO_COLOR', () => {
  const draw = (progress) => progress.update(0.3, 'x');
  assert.ok(watch({ isTTY: true }, {}, draw).includes('\x1b[36m'));
  assert.not.ok(watch({ isTTY: true }, { NO_COLOR: '1' }, draw).includes('\x1b[0m'));
});

test('pipes and CI get plain lines, and few of them', () => {
  for (const [isTTY, env] of [
    [false, {}],
    [true, { CI: 'true' }],
    [true, { TERM: 'dumb' }],
  ]) {
    const text = watch({ isTTY, columns: 80 }, env, (progress) => {
      for (let i = 0; i <= 1000; i++) progress.update(i / 1000, 'measuring');
      progress.log('done');
      progress.clear();
    });
    assert.is(text, '  0%  measuring\ndone\n');
  }
});

test('what changes every second is for a terminal alone', () => {
  const draw = (progress) => progress.live(0.4, 'Collecting torch, 3 s');
  assert.match(watch({ isTTY: true, columns: 60 }, { NO_COLOR: '1' }, draw), /40% {2}Collecting torch, 3 s/);
  for (const [isTTY, env] of [
    [false, {}],
    [true, { CI: 'true' }],
  ]) {
    assert.is(watch({ isTTY, columns: 60 }, env, draw), '');
  }
});

test.run();
