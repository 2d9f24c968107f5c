/**
 * Versions and machine, as reports and `doctor` state them.
 */
import { availableParallelism, cpus, release, totalmem, type } from 'node:os';
import { version } from '../version.js';

export function machine(): Record<string, string> {
  return {
    layerpeel: version,
    Node: process.versions.node,
    system: `${type()} ${release()}, ${process.arch}`,
    processor: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} threads`,
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
  };
}
