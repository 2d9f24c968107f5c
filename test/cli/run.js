import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));

/** Starts the command line in a process of its own. */
export function start(args, { env = {}, cwd } = {}) {
  const child = spawn(process.execPath, [main, ...args], { cwd, env: { ...process.env, CI: '', ...env } });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr']) {
    child[stream].setEncoding('utf8');
    child[stream].on('data', (text) => {
      output[stream] += text;
    });
  }
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, ...output })));
  return { child, output, ended };
}

/** Runs the command line to its end. */
export const run = (args, options) => start(args, options).ended;
