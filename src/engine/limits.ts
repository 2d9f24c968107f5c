/**
 * What this process may use of its machine, where a container or a job of a cluster limits it: processors, by the quota of its
 * control groups (`cpu.max` of version 2, `cpu.cfs_quota_us` of version 1), and memory.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** A file of the system, or nothing where there is none. */
function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

/**
 * Processors that the quota amounts to: the least of the group of this process and those around it; Infinity without a quota. A
 * container may see its group by a path that is only there outside: the groups above it, down to the root, are asked then.
 * @param root where the system's files are
 */
export function cpuQuota(root = '/'): number {
  const quotas = [Number.POSITIVE_INFINITY];
  for (const line of contentOf(join(root, 'proc/self/cgroup')).split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    const unified = controllers === '';
    if (!unified && !controllers?.split(',').includes('cpu')) continue;
    for (const mount of unified ? ['', 'unified'] : [controllers as string, 'cpu']) {
      for (let group = path; ; group = dirname(group)) {
        const at = (file: string) => contentOf(join(root, 'sys/fs/cgroup', mount, group, file));
        const [quota, period] = unified ? at('cpu.max').split(' ') : [at('cpu.cfs_quota_us'), at('cpu.cfs_period_us')];
        const processors = Number.parseFloat(quota as string) / Number.parseFloat(period as string);
        if (processors > 0) quotas.push(processors);
        if (group === dirname(group)) break;
      }
    }
  }
  return Math.min(...quotas);
}

/** Threads that a quota of processors has time for: with more, all of them would be stopped for the rest of each period. */
export const threadsOf = (quota: number): number => Math.max(1, Math.floor(quota));

const UNITS = ['', 'K', 'M', 'G', 'T'];

/** `LAYERPEEL_MEMORY`: bytes, or KiB, MiB, GiB, TiB by their letters; undefined where it is not understood. */
export function memoryAsked(text = process.env.LAYERPEEL_MEMORY ?? ''): number | undefined {
  const [, count, unit = ''] = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text.trim()) ?? [];
  if (count === undefined || Number(count) === 0) return undefined;
  return Number(count) * 1024 ** UNITS.indexOf(unit.toUpperCase());
}

/** Bytes that this process may take in all: what `LAYERPEEL_MEMORY` says, else the container; Infinity where nothing does. */
export function memoryLimit(): number {
  const asked = memoryAsked();
  // Without a limit the system reports none, or a number beyond any machine.
  const contained = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return Math.min(asked ?? Number.POSITIVE_INFINITY, contained < 2 ** 53 ? contained : Number.POSITIVE_INFINITY);
}

/** What OpenBLAS maps when it is loaded, and the engine with it; it ends the process where it cannot. */
const LOADING = 256 * 2 ** 20;

/** In words what keeps the engine from being loaded; undefined where nothing does. */
export function tooLittleToLoad(root = '/'): string | undefined {
  const [limits, status] = ['limits', 'status'].map((file) => contentOf(join(root, 'proc/self', file))) as [string, string];
  for (const [limit, used, flag] of [
    ['Max address space', 'VmSize', '-v'],
    ['Max data size', 'VmData', '-d'],
  ] as const) {
    const most = Number(new RegExp(`^${limit} +(\\d+)`, 'm').exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
    const taken = 1024 * Number(new RegExp(`^${used}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    if (most - taken >= LOADING) continue;
    const mebibytes = (bytes: number) => Math.max(0, Math.floor(bytes / 2 ** 20));
    return `ulimit ${flag} leaves ${mebibytes(most - taken)} MiB; expected ${mebibytes(LOADING)}`;
  }
  return undefined;
}
