/**
 * Whether the process was started by `nohup`. Node.js resets the signals that it was told to ignore, so this goes by what else
 * `nohup` leaves behind: its name in `_`, where the shell puts the program that it starts; in place of a terminal, a standard
 * input that can only be written to (GNU); or a parent that ignores SIGHUP itself.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';

const field = (file: string, pattern: RegExp): string => {
  try {
    return pattern.exec(readFileSync(file, 'utf8'))?.[1] ?? '';
  } catch {
    return ''; // elsewhere than on Linux
  }
};

export function underNohup(): boolean {
  if (basename(process.env._ ?? '') === 'nohup') return true;
  const access = Number.parseInt(field('/proc/self/fdinfo/0', /^flags:\s*(\d+)/m), 8) & 3;
  if (access === 1) return true;
  return (Number.parseInt(field(`/proc/${process.ppid}/status`, /^SigIgn:\s*([\da-f]+)/m).slice(-1), 16) & 1) === 1;
}
