import { fileURLToPath } from 'node:url';
import { startNode } from '../process.js';

export const main = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));

/** Starts the command line in a process of its own. */
export const start = (args, options) => startNode([main, ...args], options);

/** Runs the command line to its end. */
export const run = (args, options) => start(args, options).ended;
