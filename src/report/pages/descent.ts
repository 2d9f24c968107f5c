/** The report of a projected descent: what was measured along it, drawn over its steps, and how it ended. */
import { type DescentColumns, type DescentMeasure, descentMeasures, type Snapshot } from '../../dynamics/projected.js';
import { type Axis, lineChart } from '../figure.js';
import { checkResult, type Figure, type PageFigure, type Report, withScripts } from '../page.js';
import { type SimulationAbout, sentence } from './simulation.js';

/** The measures of all snapshots, or of those there are. */
export type MeasuredDescent = { readonly [Name in keyof DescentColumns]?: ArrayLike<number> };

/** How a run ended: its last snapshot. */
export type DescentEnd = Pick<Snapshot, 'step' | 'reason' | 'advice' | 'projected'>;

export interface DescentResult {
  /** The kind of its loss. */
  readonly loss: string;
  /** That were asked for. */
  readonly steps: number;
  readonly columns: MeasuredDescent;
  readonly end: DescentEnd;
  /** What ended it early, in a sentence. */
  readonly ending?: string | undefined;
}

/** @param figures those of `descentFigures`, where they are drawn already */
export function descentPage(
  result: DescentResult,
  { name, parameters = {} }: SimulationAbout,
  figures?: readonly (Figure | PageFigure)[],
): Report<Figure | PageFigure> {
  checkResult(result, ['loss', 'steps', 'columns', 'end'], 'projectedDescent');
  const { loss, steps, columns, end, ending } = result;
  return {
    title: `projectedDescent: ${name}`,
    lead: `Projected descent under ${loss}, to step ${end.step} of ${steps}. ${endingOf(end, ending)}`,
    sections: [{ title: 'Measurements', figures: figures ?? descentFigures(columns) }],
    parameters,
  };
}

const ENDINGS = {
  steps: 'All steps are done.',
  event: 'The event has happened.',
  stationary: 'The gradient is as small as was asked for.',
  diverged: 'The loss of the next step is not finite; this is the last state whose loss is.',
} as const;

/** Why a run ended, in a sentence or two. @param ending what ended it early */
export function endingOf({ reason, advice, projected }: DescentEnd, ending = 'There it is looked at; it goes on.'): string {
  const moved = projected.length > 0 && `The ${projected.join(' and ')} of the start were projected onto their constraints.`;
  return [reason ? ENDINGS[reason] : ending, advice, moved].filter(Boolean).join(' ');
}

const LOGARITHMIC: readonly DescentMeasure[] = ['gradientNorm', 'distance'];

/** A figure of each quantity; none before anything is measured. */
export function descentFigures({ step: x = [], ...measured }: MeasuredDescent): Figure[] {
  if (x.length === 0) return [];
  return (Object.entries(measured) as [DescentMeasure, ArrayLike<number>][]).map(([name, y]) => {
    const axis: Axis = { title: name, scale: LOGARITHMIC.includes(name) ? 'log' : 'linear' };
    const spec = lineChart({ title: name, x: { title: 'step' }, y: axis, series: [{ name, x, y }] });
    return { name, spec, caption: withScripts(sentence(descentMeasures[name])) };
  });
}
