/**
 * Versions and machine, as reports and `doctor` state them.
 */
import { availableParallelism, cpus, release, totalmem, type } from 'node:os';
import { LayerpeelError } from '../check/errors.js';
import { cpuQuota, memoryAsked, memoryLimit } from '../engine/limits.js';
import { engine, enginePath } from '../engine/load.js';
import type { DeviceAvailability } from '../engine/place.js';
import { version } from '../package.js';

export function machine(): Record<string, string> {
  return {
    layerpeel: version,
    Node: process.versions.node,
    system: `${type()} ${release()}, ${process.arch}`,
    processor: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} available`,
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB${memoryAllowed()}`,
    ...engineFacts(),
  };
}

function engineFacts(): Record<string, string> {
  try {
    const info = engine().info();
    return {
      binary: `${enginePath()} (${info.version})`,
      'instruction set': `${info.isa} in use, ${info.availableIsa} available${asked('LAYERPEEL_ISA', /^(baseline|avx2|avx512)$/)}`,
      BLAS: info.blas,
      'BLAS build': info.blasDescription,
      threads: `${info.threads}${asked('LAYERPEEL_THREADS', /^0*[1-9]\d*$/)}${quota()}`,
      CUDA: cudaState(engine().deviceAvailability()),
    };
  } catch (error) {
    if (error instanceof LayerpeelError) return { binary: error.message };
    throw error;
  }
}

const cudaState = ({ usable, state }: DeviceAvailability) => `${usable ? 'usable' : 'not usable'}: ${state}`;

/** What this process may have of the memory, and who says so. */
function memoryAllowed(): string {
  const limit = memoryLimit();
  const share = limit < totalmem() ? `, ${(limit / 2 ** 30).toFixed(1)} GiB for this process` : '';
  const by = share && memoryAsked() === undefined ? ' (its container)' : '';
  return share + by + asked('LAYERPEEL_MEMORY', memoryAsked() === undefined ? /^$/ : /./);
}

function quota(): string {
  const processors = cpuQuota();
  return Number.isFinite(processors) ? ` (a quota of ${Number(processors.toFixed(2))} processors)` : '';
}

/** What an environment variable asks for, if it is set, and whether it is understood. */
function asked(name: string, known: RegExp): string {
  const value = process.env[name];
  if (!value) return '';
  return ` (${name}=${value}${known.test(value) ? '' : ', which is not understood and does nothing'})`;
}
