/** The experiments that `layerpeel reproduce` knows, in the papers' order. */
import type { Experiment } from './experiment.js';
import { experiment as ulFig1 } from './ul-fig1.js';
import { experiment as ulFig9 } from './ul-fig9.js';

export const experiments: readonly Experiment[] = [ulFig1, ulFig9];
