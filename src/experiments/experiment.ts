/**
 * What an experiment is: one figure or table of a paper, computed anew through this package's public functions and set
 * beside what the paper states. One file each in this folder, listed in `index.ts`.
 */
import type { Control } from '../check/control.js';
import type { PageFigure, Section, Verdict } from '../report/page.js';
import type { RunFolder } from '../report/run-folder.js';
import type { StudyConfig } from '../study/config.js';
import type { SetName, Sources } from './image-sets.js';
import type { Parameters } from './parameters.js';

/** How much of a paper's protocol is run: all that is printed, or less of it, which is no reproduction. */
export const budgets = ['smoke', 'small', 'paper'] as const;
export type Budget = (typeof budgets)[number];

export interface Experiment<P = Parameters> {
  /** `fig1`: what `layerpeel reproduce` is called with. */
  readonly id: string;
  readonly title: string;
  /** The paper's figure or table: `UL Fig. 1`. */
  readonly source: string;
  /** What is shown, in a line. */
  readonly summary: string;
  /** The paper's setting: what it is run with unless told otherwise. */
  readonly config: P;
  /** Of an experiment with networks. */
  readonly networks?: Networks<P> | undefined;
  /** @param config like `config` */
  run(context: ExperimentContext, config: P): Promise<Findings>;
}

export interface Networks<P = Parameters> {
  /** What is run unless told otherwise; the paper's is the experiment's `config`. */
  readonly budgets: Readonly<Record<Budget, P>>;
  /** The images that it needs. */
  readonly sets: readonly SetName[];
  /** The study that is run. @throws `LP_CONFIG` */
  study(config: P, sources: Sources): StudyConfig;
}

export interface ExperimentContext {
  /** To be handed to every computation. */
  readonly signal: NonNullable<Control['signal']>;
  /** Share of the experiment that is done, 0 … 1, and what is being done. */
  progress(share: number, doing: string): void;
  /** Where the images are that it needs, and how many networks are trained at a time. */
  readonly sources: Sources;
  readonly jobs: number;
  /** Where they are trained. @default 'cpu' */
  readonly device?: string | undefined;
  /** Keeps columns, arrays and figures at once, so that a run that is stopped leaves what it had. */
  readonly folder: Pick<RunFolder, 'path' | 'metrics' | 'array' | 'figure' | 'draw'>;
}

export interface Findings {
  /** What was run, in a paragraph. */
  readonly lead: string;
  readonly verdicts: readonly Verdict[];
  readonly sections: readonly Section<PageFigure>[];
}
