/**
 * Versions and machine, as reports and `doctor` state them.
 */
import { availableParallelism, cpus, release, totalmem, type } from 'node:os';
import { LayerpeelError } from '../check/errors.js';
import { engine, enginePath } from '../engine/load.js';
import { version } from '../version.js';

export function machine(): Record<string, string> {
  return {
    layerpeel: version,
    Node: process.versions.node,
    system: `${type()} ${release()}, ${process.arch}`,
    processor: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} available`,
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
    ...engineFacts(),
  };
}

function engineFacts(): Record<string, string> {
  try {
    const info = engine().info();
    return {
      binary: `${enginePath()} (${info.version})`,
      'instruction set': `${info.isa} in use, ${info.availableIsa} available${process.env.LAYERPEEL_ISA ? ` (LAYERPEEL_ISA=${process.env.LAYERPEEL_ISA})` : ''}`,
      BLAS: info.blas,
      'BLAS build': info.blasDescription,
      threads: `${info.threads}${process.env.LAYERPEEL_THREADS ? ` (LAYERPEEL_THREADS=${process.env.LAYERPEEL_THREADS})` : ''}`,
      CUDA: info.cudaUsable ? `usable: ${info.cuda}` : `not usable: ${info.cuda}`,
    };
  } catch (error) {
    if (error instanceof LayerpeelError) return { binary: error.message };
    throw error;
  }
}
