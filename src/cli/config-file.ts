/** Configuration files: JSON, with or without a byte order mark. */
import { readFile } from 'node:fs/promises';
import { LayerpeelError } from '../check/errors.js';
import type { Place } from '../check/options.js';

/** @throws `LP_FILE` where it cannot be read, `LP_CONFIG` where it is not JSON */
export async function readConfigFile(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new LayerpeelError(
      'LP_FILE',
      `${path} cannot be read: ${error.code === 'ENOENT' ? 'it does not exist' : error.message}.`,
    );
  });
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    throw new LayerpeelError('LP_CONFIG', `${path} is not JSON: ${(error as Error).message}.`);
  }
}

/** Where a configuration's faults are. */
export const CONFIG: Place = { path: 'config', code: 'LP_CONFIG' };
