/** The report of a trajectory: what was measured along it, drawn over its clock, its limit, and when events happened. */

import { most } from '../../array/extremes.js';
import type { State } from '../../array/ndarray.js';
import { type CollapseMeasure, collapseMeasures } from '../../collapse/measures.js';
import { type Limit, logMeasures, type MeasureName, meanings, type TrajectoryEvent } from '../../dynamics/trajectory.js';
import { type Axis, lineChart } from '../figure.js';
import { checkResult, type Figure, type PageFigure, type Report, type Section, withScripts } from '../page.js';
import { formatNumber } from '../ticks.js';
import { atCollapse } from './collapse.js';

/** What was measured along a trajectory. */
export interface MeasuredTrajectory {
  /** What the trajectory runs over. */
  readonly clock: 'time' | 'step';
  /** When was measured, ascending. */
  readonly times: ArrayLike<number>;
  /** Whether the times stand evenly on a logarithmic axis. @default false */
  readonly logarithmic?: boolean | undefined;
  /** What `measure` gave, or as much of it as there is. */
  readonly measured: Readonly<Partial<Record<MeasureName, ArrayLike<number>>>>;
}

export interface SimulationResult extends MeasuredTrajectory {
  /** The function that made the trajectory, such as `gradientFlow`. */
  readonly dynamics: string;
  /** Where it began. */
  readonly state: State;
  /** Of a run that ended early there need be none. */
  readonly limit?: Limit | undefined;
  /** Events, and when each happened first: undefined where it had not by its `to`. */
  readonly events?: readonly { readonly event: TrajectoryEvent; readonly at: number | undefined }[];
  /** What ended it early, in a sentence. */
  readonly ending?: string | undefined;
}

export interface SimulationAbout {
  readonly name: string;
  /** Shown as the parameters of the run. */
  readonly parameters?: Readonly<Record<string, unknown>> | undefined;
}

/** @param figures those of `trajectoryFigures`, where they are drawn already */
export function simulationPage(
  result: SimulationResult,
  { name, parameters = {} }: SimulationAbout,
  figures?: readonly (Figure | PageFigure)[],
): Report<Figure | PageFigure> {
  checkResult(result, ['dynamics', 'state', 'clock', 'times', 'measured'], 'a trajectory');
  const { dynamics, state, clock, times, limit, events = [], ending } = result;
  const [first = 0, last = 0] = [times[0], times[times.length - 1]];
  const span = times.length > 0 ? ` from ${formatNumber(first)} to ${formatNumber(last, 7)}` : '';
  return {
    title: `${dynamics}: ${name}`,
    lead: `${dynamics} of ${sizeOf(state)}, computed exactly at ${times.length} ${clock}s${span}.${ending === undefined ? '' : ` ${ending}`}`,
    sections: [
      { title: 'Measurements', figures: figures ?? trajectoryFigures(result) },
      ...(limit ? [limitSection(limit)] : []),
      ...(events.length > 0 ? [eventSection(events, clock)] : []),
    ],
    parameters,
  };
}

const sizeOf = ({ features, prototypes }: State): string =>
  `${features.shape[0]} samples in ${prototypes.shape[0]} classes and ${features.shape[1]} dimensions`;

/** Axes of quantities that are not linear, or not named by themselves. */
const AXES: Readonly<Partial<Record<MeasureName, Axis>>> = {
  logNorm: { title: 'log ‖Z‖' },
  logFeatureNorm: { title: 'log ‖H‖' },
  logPrototypeNorm: { title: 'log ‖W‖' },
  logAbsLoss: { title: 'log |loss|' },
  distanceToLimit: { title: 'distance to the limit', scale: 'log' },
  distanceToAligned: { title: 'distance to the aligned limit', scale: 'log' },
};

function axisOf(name: MeasureName): Axis {
  if (AXES[name]) return AXES[name];
  if (name in logMeasures) return { title: meanings[name] };
  return { title: name, scale: name in collapseMeasures && atCollapse(name as CollapseMeasure) === 0 ? 'log' : 'linear' };
}

/** A figure of each quantity; none before anything is measured. */
export function trajectoryFigures({ clock, times, logarithmic = false, measured }: MeasuredTrajectory): Figure[] {
  if (times.length === 0) return [];
  return (Object.entries(measured) as [MeasureName, ArrayLike<number>][]).map(([name, column]) => {
    const { values, axis, note } = drawable(name, Array.from(column));
    const spec = lineChart({
      title: name,
      x: { title: clock, scale: logarithmic ? 'log' : 'linear' },
      y: axis,
      series: [{ name, x: times, y: values }],
    });
    return { name, spec, caption: withScripts(`${sentence(meanings[name])}${note}`) };
  });
}

/** A line of meaning as a sentence. */
export const sentence = (meaning: string): string => `${meaning[0]?.toUpperCase()}${meaning.slice(1)}.`;

/** How a column is drawn: what grows beyond all bounds by its size, on a logarithmic axis; distances down to rounding. */
function drawable(name: MeasureName, values: readonly number[]): { values: readonly number[]; axis: Axis; note: string } {
  const axis = axisOf(name);
  const least = name in AXES ? 1e-16 : Number.MIN_VALUE;
  if (axis.scale === 'log') return { values: values.map((value) => (value < least ? Number.NaN : value)), axis, note: '' };
  const sizes = values.map(Math.abs).filter((size) => size > 0 && Number.isFinite(size));
  const [first = 1] = sizes;
  if (most(sizes) <= 1e4 * first) return { values, axis, note: '' };
  return { values: values.map(Math.abs), axis: { title: `|${axis.title}|`, scale: 'log' }, note: ' Drawn without its sign.' };
}

function limitSection({ regime, exponent, rate, per, statement }: Limit): Section<never> {
  const unit = per === 'zeta' ? 'unit of ζ' : `unit of ${per}`.replace('unit of step', 'step');
  return {
    title: 'Limit',
    text: [statement],
    tables: [
      {
        columns: ['Quantity', 'Value'],
        rows: [
          ['regime', regime],
          [`growth of log ‖Z‖ a ${unit}`, exponent],
          [`decay of the log distance to the limit a ${unit}`, rate],
        ],
      },
    ],
  };
}

function eventSection(events: NonNullable<SimulationResult['events']>, clock: string): Section<never> {
  const rows = events.map(({ event, at }) => [
    `${event.name} reaches ${event.value}`,
    at === undefined ? `not by ${event.to}` : at,
  ]);
  return { title: 'Events', tables: [{ columns: ['Event', `First ${clock}`], rows }] };
}
