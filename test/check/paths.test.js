// Entries of configurations by their paths, which `--set` and the axes of studies name.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { entryAt, withEntry } from '../../lib/check/paths.js';
import { refuses } from '../helpers.js';

const place = { path: 'config', code: 'LP_CONFIG' };
const config = Object.freeze({ a: Object.freeze({ b: 1 }), list: Object.freeze([Object.freeze({ c: 2 }), 3]) });

test('an entry is set in a copy, with objects on the way to it', () => {
  assert.equal(withEntry(config, 'a.b', 5, place), { a: { b: 5 }, list: [{ c: 2 }, 3] });
  assert.equal(withEntry(config, 'list[0].c', [1], place), { a: { b: 1 }, list: [{ c: [1] }, 3] });
  assert.equal(withEntry(config, 'new.one', null, place), { ...config, new: { one: null } });
  assert.equal(withEntry(config, 'list[1]', 'x', place).list, [{ c: 2 }, 'x']);
  assert.equal(config, { a: { b: 1 }, list: [{ c: 2 }, 3] });
});

test('an entry is found, or undefined', () => {
  assert.is(entryAt(config, 'a.b', place), 1);
  assert.is(entryAt(config, 'list[0].c', place), 2);
  for (const path of ['a.c', 'a.b.c', 'list[7]', 'x', 'constructor', 'a.toString'])
    assert.is(entryAt(config, path, place), undefined);
});

test('what cannot be set is told with the entry that is in the way', async () => {
  const cases = [
    ['a.b.c', /config\.a\.b is 1, which has no c, so that config\.a\.b\.c cannot be set; set config\.a\.b itself/],
    ['list[2]', /config\.list has 2 entries, so that config\.list\[2\] cannot be set/],
    ['a[0]', /config\.a is an object, so that config\.a\[0\] cannot be set/],
    ['list.c', /config\.list is a list, which has no c/],
    ['', /"" is no path of an entry/],
    ['a..b', /"a\.\.b" is no path/],
    ['[0]', /is no path/],
    ['a[x]', /is no path/],
    [`a${'.b'.repeat(1e5)}`, /is no path/],
  ];
  for (const [path, message] of cases) await refuses('LP_CONFIG', message, () => withEntry(config, path, 1, place));
});

test('no name reaches a prototype', () => {
  const set = withEntry({}, '__proto__.polluted', true, place);
  assert.is({}.polluted, undefined);
  assert.ok(Object.hasOwn(set, '__proto__'));
});

test.run();
