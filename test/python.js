// Python with PyTorch, where there is one: that beside libtorch, with which the extension has been built, or that of LIBTORCH.
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { buildFolder } from '../lib/training/engine.js';

const cache = join(buildFolder, 'CMakeCache.txt');
const libtorch = (existsSync(cache) && /^LIBTORCH:PATH=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1]) || process.env.LIBTORCH;
const beside = libtorch && resolve(libtorch, '../../../../bin/python');

/** The path of its program, or undefined. */
export const python = beside && existsSync(beside) ? beside : undefined;

/** Why there is none. */
export const withoutPython = `there is no Python beside libtorch (${libtorch || 'which is not there'}).`;
