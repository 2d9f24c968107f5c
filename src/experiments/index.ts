/** The experiments that `layerpeel reproduce` knows, in the papers' order. */
import type { Experiment } from './experiment.js';

export const experiments: readonly Experiment[] = [];
