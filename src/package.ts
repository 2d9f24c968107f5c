/**
 * Where this package is, and its version. A bundler takes the code elsewhere, where neither is found; of what it turns into CommonJS
 * not even `import.meta.url` is left.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LayerpeelError } from './check/errors.js';

const url: string | undefined = import.meta.url;
const here = url ? fileURLToPath(url) : (process.argv[1] ?? process.cwd());

export const packageRoot = dirname(dirname(here));

const { name, version: stated } = description();

/** The version of this package, from its package.json. */
export const version: string = name === 'layerpeel' && stated !== undefined ? stated : 'unknown';

function description(): { readonly name?: string; readonly version?: string } {
  try {
    return JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
  } catch {
    return {};
  }
}

/**
 * @param what is looked for beside this code: `The native engine`
 * @throws `LP_NOT_BUILT` where this code is not in the package
 */
export function checkInPackage(what: string, cause?: unknown): void {
  if (name === 'layerpeel') return;
  throw new LayerpeelError(
    'LP_NOT_BUILT',
    `${what} cannot be found from ${here}, which is not in the package: a bundler has taken its code elsewhere. Mark layerpeel as ` +
      'external (esbuild: --external:layerpeel), so that it is loaded from node_modules.',
    { cause },
  );
}
