// Projects of others that use the package: its declarations compile without Node.js's types asked for, without the DOM's, with the
// libraries checked, as modules and from CommonJS, by the compiler at hand and by the oldest that the README names.
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { resolve } = createRequire(import.meta.url);
const compilers = ['typescript', 'typescript-oldest'].map((name) => dirname(resolve(`${name}/package.json`)));

const use = `import { collapse, gradientFlow, type NDArray, projectedDescent, randomState, trajectoryMeasures } from 'layerpeel';
import { simulationPage } from 'layerpeel/report';
import { train } from 'layerpeel/torch';
const state = randomState({ classes: 3, perClass: 4, dim: 5 });
export const measured = async (): Promise<number> => (await collapse(state)).nc3;
export const columns = async () => (await gradientFlow(state, { gamma: 0.1, rates: { features: 1, prototypes: 1 } })).measure([1], ['loss']);
export const own: NDArray = { shape: [1], data: new Float64Array(1) };
export const pages = [simulationPage, train, projectedDescent, Object.keys(trajectoryMeasures)];
`;
const files = {
  'use.mts': use,
  'use.ts': use,
  'use.cts': `import type { Collapse } from 'layerpeel' with { 'resolution-mode': 'import' };
export const later = async (): Promise<Collapse> => {
  const { collapse, randomState } = await import('layerpeel');
  return collapse(randomState({ classes: 3, perClass: 4, dim: 5 }));
};
`,
};

test('the declarations stand on their own in the projects of others', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'layerpeel-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules', 'layerpeel'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  for (const [module, moduleResolution, used] of [
    ['nodenext', 'nodenext', ['use.mts', 'use.cts']],
    ['esnext', 'bundler', ['use.ts']],
  ]) {
    for (const exact of [false, true]) {
      const compilerOptions = {
        ...{ noEmit: true, strict: true, exactOptionalPropertyTypes: exact, skipLibCheck: false, typeRoots: [] },
        ...{ target: 'es2022', lib: ['es2022'], types: [], module, moduleResolution },
      };
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: used }));
      for (const compiler of compilers) {
        const bin = join(compiler, JSON.parse(readFileSync(join(compiler, 'package.json'), 'utf8')).bin.tsc);
        const { stdout } = await promisify(execFile)(process.execPath, [bin, '-p', folder, '--pretty', 'false']).catch(
          (error) => error,
        );
        assert.is(stdout, '', `${compiler}, ${moduleResolution}`);
      }
    }
  }
  rmSync(folder, { recursive: true });
});

test('the README names the oldest compiler that is tried', () => {
  const { version } = JSON.parse(readFileSync(join(compilers[1], 'package.json'), 'utf8'));
  const named = /TypeScript (\d+\.\d+) or later/.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1];
  assert.is(version.split('.').slice(0, 2).join('.'), named);
});

test.run();
