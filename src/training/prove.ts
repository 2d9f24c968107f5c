/**
 * One training step, in a process of its own: `layerpeel torch install` runs it last, so that a binary and a libtorch which
 * cannot live together are found out there.
 */
import { torchEngine } from './engine.js';

const { before, after } = torchEngine().prove(undefined) as { before: number; after: number };
if (!(after < before)) throw new Error(`A training step took the loss from ${before} to ${after}; expected less.`);
