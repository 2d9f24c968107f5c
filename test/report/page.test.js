import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { renderPage } from '../../lib/report/page.js';

const hostile = `<script>alert("x")</script> & 'quoted'`;
const page = {
  command: hostile,
  title: hostile,
  lead: hostile,
  verdicts: [{ claim: hostile, paper: hostile, measured: 1e-9, difference: hostile, tolerance: 0, holds: false }],
  sections: [
    {
      title: hostile,
      text: [hostile],
      formulas: [`e^{${hostile}} x_{1}`],
      tables: [{ caption: hostile, columns: [hostile, hostile], rows: [[hostile, hostile]] }],
      figures: [
        { name: hostile, svg: '<svg><clipPath id="clip0"/><g clip-path="url(#clip0)"/></svg>', caption: hostile },
        { name: 'b', svg: '<svg><clipPath id="clip0"/></svg>', caption: 'b' },
      ],
    },
  ],
  parameters: { [hostile]: hostile, rates: { features: { kind: hostile } }, list: [1, hostile] },
  files: [hostile],
  machine: { [hostile]: hostile },
};

test('every text is escaped, wherever it stands', () => {
  const html = renderPage(page);
  assert.not.match(html, /<script|alert\("|'quoted'/);
  for (const [, attributes] of html.matchAll(/<\w+((?:\s[^<>]*)?)>/g)) assert.match(attributes, /^(\s[\w:-]+(="[^"]*")?)*\s*\/?$/);
  assert.match(html, /rates\.features\.kind/);
});

test('parameters are shown by their paths, the objects of a list a row each', () => {
  const parameters = {
    ...{ a: { b: [1, 2], c: undefined }, runs: [{ gamma: 0.5, rates: { features: 1 } }, 'x'], text: 'y, z' },
    ...{ weights: Float64Array.of(0.5, 2), wide: BigInt64Array.of(3n), images: { data: new Uint8Array(2 ** 26) } },
  };
  const rows = Array.from(
    renderPage({ ...page, parameters }).matchAll(/<tr><th scope="row">([^<]*)<\/th><td>([^<]*)<\/td><\/tr>/g),
    ([, key, value]) => `${key}: ${value}`,
  );
  const ofArrays = ['weights: [0.5, 2]', 'wide: [3]', 'images.data: 67108864 numbers'];
  for (const row of ['a.b: [1, 2]', 'runs[0]: gamma 0.5, rates.features 1', 'runs[1]: x', 'text: y, z', ...ofArrays]) {
    assert.ok(rows.includes(row), `${row} in ${rows.join(' | ')}`);
  }
});

test('figures are numbered through the page, a long parameter is cut off with a sign', () => {
  const figures = (...names) => names.map((name) => ({ name, svg: '<svg></svg>', caption: name }));
  const sections = [
    { title: 'one', figures: figures('a', 'b') },
    { title: 'two', figures: figures('c') },
    { title: 'none', text: ['text'] },
  ];
  const html = renderPage({ ...page, sections, parameters: { long: 'x'.repeat(201), short: 'y'.repeat(200) } });
  assert.equal(
    Array.from(html.matchAll(/<b>Figure (\d+)\.<\/b> (\w)/g), ([, number, name]) => number + name),
    ['1a', '2b', '3c'],
  );
  assert.ok(html.includes(`${'x'.repeat(200)} …</td>`) && html.includes(`${'y'.repeat(200)}</td>`));
});

test('the page needs nothing but itself', () => {
  assert.not.match(renderPage(page), /(src|href)="(?!#)|@import|url\((?!#)/);
});

test('figures keep their own definitions apart', () => {
  const html = renderPage(page);
  assert.match(html, /id="figure-1-clip0".*url\(#figure-1-clip0\)/);
  assert.match(html, /id="figure-2-clip0"/);
});

test('tables name their rows and columns; verdicts are counted', () => {
  const html = renderPage(page);
  assert.match(html, /0 of 1 statement hold /);
  assert.match(html, /<th scope="col">/);
  assert.match(html, /<th scope="row">/);
  assert.match(html, /✗&nbsp;differs/);
  assert.match(html, /10⁻⁹/);
});

test.run();
