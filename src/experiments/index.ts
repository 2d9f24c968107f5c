/** The experiments that `layerpeel reproduce` knows, in the papers' order. */
import type { Experiment } from './experiment.js';
import { experiment as ulFig1 } from './ul-fig1.js';
import { experiment as ulFig4 } from './ul-fig4.js';
import { experiment as ulFig5 } from './ul-fig5.js';
import { experiment as ulFig6 } from './ul-fig6.js';
import { experiment as ulFig7 } from './ul-fig7.js';
import { experiment as ulFig8 } from './ul-fig8.js';
import { experiment as ulFig9 } from './ul-fig9.js';
import { experiment as ulFig15 } from './ul-fig15.js';

export const experiments: readonly Experiment[] = [ulFig1, ulFig4, ulFig5, ulFig6, ulFig7, ulFig8, ulFig9, ulFig15];
