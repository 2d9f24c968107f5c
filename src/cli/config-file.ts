/** Configuration files with what `--set path=value` makes of them. */
import { withEntry } from '../check/paths.js';
import { CONFIG, readConfiguration } from '../configuration/file.js';
import { UsageError } from './command.js';

/**
 * A configuration, with entries set as `path=value`; nothing is checked yet but that there can be such an entry.
 * @throws `LP_FILE` where it cannot be read, `LP_CONFIG` where it is not JSON
 */
export async function readConfigFile(path: string, settings: readonly string[] = []): Promise<unknown> {
  return withSettings(await readConfiguration(path), settings);
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
