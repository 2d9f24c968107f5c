/** The experiments that `layerpeel reproduce` knows: those that are computed, then those with networks, each in the papers' order. */

import { isDeepStrictEqual } from 'node:util';
import type { PageFigure, Report } from '../report/page.js';
import { experiment as etfMinority } from './etf-minority.js';
import { fixedClassifierExperiments } from './etf-networks.js';
import { experiment as etfThm2 } from './etf-thm2.js';
import type { Experiment, Findings } from './experiment.js';
import { experiment as lpFig2 } from './lp-fig2.js';
import { collapseExperiments } from './lp-networks.js';
import { experiment as lpThm31 } from './lp-thm31.js';
import { experiment as lpThm34 } from './lp-thm34.js';
import type { Parameters } from './parameters.js';
import { classificationExperiments } from './ul-classification.js';
import { detectionExperiments } from './ul-detection.js';
import { experiment as ulFig1 } from './ul-fig1.js';
import { experiment as ulFig4 } from './ul-fig4.js';
import { experiment as ulFig5 } from './ul-fig5.js';
import { experiment as ulFig6 } from './ul-fig6.js';
import { experiment as ulFig7 } from './ul-fig7.js';
import { experiment as ulFig8 } from './ul-fig8.js';
import { experiment as ulFig9 } from './ul-fig9.js';
import { experiment as ulFig15 } from './ul-fig15.js';
import { imbalancedExperiments } from './ul-imbalanced.js';
import { experiment as ulLosses } from './ul-losses.js';

/** The papers, by the letters that an experiment's source begins with. */
export const papers: Readonly<Record<string, string>> = {
  UL: 'Zhou et al., On the dynamics under the unhinged loss and beyond, 2023',
  LP: 'Ji et al., An unconstrained layer-peeled perspective on neural collapse, 2022',
  ETF: 'Yang et al., Inducing neural collapse in imbalanced learning, 2022',
};

/** The report of an experiment. @param config that it was run with */
export function experimentPage(
  { title, source, config: own, networks }: Experiment,
  config: Parameters,
  { lead, verdicts, sections }: Findings,
): Report<PageFigure> {
  const changed = Object.keys(own).filter((key) => !isDeepStrictEqual(own[key], config[key]));
  const otherwise =
    changed.length > 0
      ? [`Not the paper’s setting: ${changed.map((key) => `\`${key}\``).join(', ')} ${changed.length > 1 ? 'were' : 'was'} set.`]
      : [];
  const budget = networks && changed.length > 0 ? ['This is no reproduction of the paper’s numbers: its budget is another.'] : [];
  const letters = source.split(' ')[0] as string;
  return {
    ...{ title: `${source}: ${title}`, lead: [...otherwise, ...budget, lead].join(' '), verdicts },
    sections: [...sections, { title: 'Paper', text: [`${letters} is ${papers[letters]}.`] }],
    parameters: config,
  };
}

export const experiments = [
  ulFig1,
  ulFig4,
  ulFig5,
  ulFig6,
  ulFig7,
  ulFig8,
  ulFig9,
  ulFig15,
  ulLosses,
  lpThm31,
  lpThm34,
  lpFig2,
  etfThm2,
  etfMinority,
  ...classificationExperiments,
  ...imbalancedExperiments,
  ...detectionExperiments,
  ...collapseExperiments,
  ...fixedClassifierExperiments,
] as readonly Experiment<unknown>[] as readonly Experiment[];
