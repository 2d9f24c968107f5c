/** Configuration files, JSON in UTF-8 with or without a byte order mark. */
import { readWhole } from '../array/files.js';
import { LayerpeelError } from '../check/errors.js';
import type { Place } from '../check/options.js';

/** @throws `LP_FILE` where it cannot be read, `LP_CONFIG` where it is not JSON */
export async function readConfiguration(path: string): Promise<unknown> {
  const bytes = await readWhole(path);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    const wide = bytes.length >= 2 && [0xfeff, 0xfffe].includes(bytes.readUInt16LE(0));
    throw new LayerpeelError('LP_CONFIG', `${path} is ${wide ? 'UTF-16' : 'no UTF-8'}; save it as UTF-8.`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LayerpeelError('LP_CONFIG', `${path} is not JSON: ${(error as Error).message}.`);
  }
}

/** Where a configuration's faults are. */
export const CONFIG: Place = { path: 'config', code: 'LP_CONFIG' };
