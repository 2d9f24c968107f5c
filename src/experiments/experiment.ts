/**
 * What an experiment is: one figure or table of a paper, computed anew through this package's public functions and set
 * beside what the paper states. One file each in this folder, listed in `index.ts`.
 */
import type { Control } from '../check/control.js';
import type { PageFigure, Section, Verdict } from '../report/page.js';
import type { RunFolder } from '../report/run-folder.js';
import type { Parameters } from './parameters.js';

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
  /** @param config like `config` */
  run(context: ExperimentContext, config: P): Promise<Findings>;
}

export interface ExperimentContext {
  /** To be handed to every computation. */
  readonly signal: NonNullable<Control['signal']>;
  /** Share of the experiment that is done, 0 … 1, and what is being done. */
  progress(share: number, doing: string): void;
  /** Keeps columns, arrays and figures at once, so that a run that is stopped leaves what it had. */
  readonly folder: Pick<RunFolder, 'metrics' | 'array' | 'figure'>;
}

export interface Findings {
  /** What was run, in a paragraph. */
  readonly lead: string;
  readonly verdicts: readonly Verdict[];
  readonly sections: readonly Section<PageFigure>[];
}
