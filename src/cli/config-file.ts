/** Configuration files, JSON in UTF-8 with or without a byte order mark, and what `--set path=value` makes of them. */
import { readWhole } from '../array/files.js';
import { LayerpeelError } from '../check/errors.js';
import type { Place } from '../check/options.js';
import { withEntry } from '../check/paths.js';
import { UsageError } from './command.js';

/**
 * A configuration, with entries set as `path=value`; nothing is checked yet but that there can be such an entry.
 * @throws `LP_FILE` where it cannot be read, `LP_CONFIG` where it is not JSON
 */
export async function readConfigFile(path: string, settings: readonly string[] = []): Promise<unknown> {
  return withSettings(await readJson(path), settings);
}

/** @throws UsageError for what is no `path=value`, `LP_CONFIG` for an entry that nothing can have */
export function withSettings(config: unknown, settings: readonly string[]): unknown {
  return settings.reduce((set, setting) => {
    const [, path, text] = /^([^=]+)=(.*)$/s.exec(setting) ?? [];
    if (path === undefined || text === undefined) {
      throw new UsageError(`--set ${setting} sets nothing; expected --set PATH=VALUE, such as --set seed=1.`);
    }
    return withEntry(set, path.trim(), parsedValue(text), CONFIG);
  }, config);
}

/** JSON, or else the text itself: `0.1`, `[1, 2]`, `{"kind": "mse"}`, `true`, `cross-entropy`. */
function parsedValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function readJson(path: string): Promise<unknown> {
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
