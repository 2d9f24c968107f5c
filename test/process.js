import { execFileSync, spawn } from 'node:child_process';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Under emulation a program cannot start itself: then this says how, as a JSON array.
const [node, ...before] = JSON.parse(process.env.LAYERPEEL_TEST_NODE ?? JSON.stringify([process.execPath]));

/** Starts Node.js on `args` (its own flags, a file, the file's arguments); `ended` resolves when it is over. */
export const startNode = (args, options) => startProgram(node, [...before, ...args], options);

/** The same under what a shell's `ulimit` (or another of its commands) sets before. */
export const startLimited = (limit, args, options) =>
  startProgram('/bin/sh', ['-c', `${limit}; exec "$0" "$@"`, node, ...before, ...args], options);

/** Whether what runs is watched by AddressSanitizer, which is preloaded and takes terabytes of address space. */
export const sanitized = Boolean(process.env.LD_PRELOAD?.includes('libasan'));

/** What puts a library before the system's own in a process: made in a folder from a C file, whose URL is given. */
export function preloaded(source, folder) {
  const library = join(folder, `${basename(source.pathname, '.c')}.so`);
  execFileSync('cc', ['-shared', '-fPIC', '-o', library, fileURLToPath(source), '-ldl']);
  return { LD_PRELOAD: [process.env.LD_PRELOAD, library].filter(Boolean).join(' ') };
}

function startProgram(program, args, { env = {}, cwd, stdio } = {}) {
  // The tests' runner asks for colours, of which Node.js warns where somebody else asks for none.
  const { FORCE_COLOR: _, ...inherited } = process.env;
  const child = spawn(program, args, { cwd, stdio, env: { ...inherited, CI: '', ...env } });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr']) {
    child[stream]?.setEncoding('utf8');
    child[stream]?.on('data', (text) => {
      output[stream] += text;
    });
  }
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, ...output })));
  return { child, output, ended };
}
