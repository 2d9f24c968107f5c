import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startNode } from '../process.js';

/** The names of vega's modules that a program in a process of its own resolves. */
async function vegaModules(program) {
  const hook = `export async function resolve(specifier, context, next) {
    const found = await next(specifier, context);
    if (found.url.includes('/node_modules/vega')) process._rawDebug(found.url);
    return found;
  }`;
  const code = `import { register } from 'node:module';
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hook)}));
    ${program}`;
  const { code: exit, stderr } = await startNode(['--input-type=module', '--eval', code], { cwd: import.meta.dirname }).ended;
  assert.is(exit, 0, stderr);
  return stderr.split('\n').filter((line) => line.includes('/vega'));
}

test('importing the package loads no vega; drawing a figure does', async () => {
  assert.equal(await vegaModules(`await import('layerpeel');`), []);
  const figure = new URL('../../lib/report/figure.js', import.meta.url).href;
  const draw = `const { lineChart, renderSvg } = await import('${figure}');
    const spec = lineChart({ title: 't', x: { title: 'x' }, y: { title: 'y' }, series: [{ x: [0, 1], y: [0, 1] }] });`;
  assert.equal(await vegaModules(draw), []);
  assert.ok((await vegaModules(`${draw} await renderSvg(spec);`)).length > 10);
});

test.run();
