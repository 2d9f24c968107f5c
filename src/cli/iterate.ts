/**
 * `layerpeel simulate` of what has no closed form: projected descent from a configuration file,
 *
 *     { "dynamics": "projectedDescent",
 *       "state": { "random": { "classes": 10, "perClass": 50, "dim": 64, "seed": 0 } },
 *       "problem": { "loss": { "kind": "cross-entropy" }, "constraints": { "features": { "kind": "ball", "radius": 5 } } },
 *       "options": { "learningRates": { "features": 1, "prototypes": 0.1 }, "steps": 100000, "snapshots": 5000 } }
 *
 * `problem` and `options` are those of the function. The columns and a checkpoint are written every second or so, so that a
 * run that is stopped or killed goes on with `--resume` from its folder: with the rows measured until then, and only if the
 * checkpoint is of the same start, problem and options.
 */
import { join } from 'node:path';
import { textIfAny } from '../array/files.js';
import type { State } from '../array/ndarray.js';
import { ITERATION, type Iteration } from '../configuration/simulation.js';
import { type DescentMeasure, type ProjectedDescentOptions, type Snapshot, startProjectedDescent } from '../dynamics/projected.js';
import type { PageFigure } from '../report/page.js';
import { descentFigures, descentPage, endingOf } from '../report/pages/descent.js';
import type { RunFolder } from '../report/run-folder.js';
import { formatNumber } from '../report/ticks.js';
import { checkpointFile, loadCheckpoint, saveCheckpoint } from '../state/checkpoint.js';
import { aligned, type Context, endOf, kept, type Outcome } from './command.js';

const MEASURED: readonly DescentMeasure[] = ['loss', 'accuracy', 'minMargin', 'gradientNorm'];
/** Unless the configuration says otherwise, so many rows are measured. */
const ROWS = 500;
/** Multiplications between two snapshots: some tenths of a second. Files are written at most once a second. */
const WORK = 1e10;
const PAUSE = 1000;

export async function iterate(
  name: string,
  config: Readonly<Record<string, unknown>>,
  iteration: Iteration,
  folder: RunFolder,
  context: Context,
): Promise<Outcome> {
  const { state, problem } = iteration;
  const steps = Number(iteration.options.steps);
  const every = (parts: number) => Math.max(1, Math.ceil(steps / parts) || 1);
  const from = context.options.resume;
  const resume = typeof from === 'string' ? await loadCheckpoint(join(from, checkpointFile)) : undefined;
  const options: ProjectedDescentOptions = {
    snapshots: Math.max(1, Math.min(100_000, every(1), Math.round(WORK / work(state)))),
    ...iteration.options,
    measure: { names: MEASURED, every: every(ROWS), ...iteration.options.measure },
    signal: context.signal,
    onProgress: (share) => context.progress(share, `step ${Math.round(share * steps)} of ${steps}`),
    ...(resume && { resume }),
  };
  const run = startProjectedDescent({ ...problem, state }, options, ITERATION);
  if (await folder.isComplete(config)) return completeAlready(folder);
  const names: readonly string[] = ['step', ...(options.measure?.names ?? [])];
  const columns = resume ? await rowsBefore(from as string, names, resume.step) : columnsOf(names);
  await folder.begin(config);
  let last: Snapshot | undefined;
  const figures: PageFigure[] = [];
  let written = 0;
  const keep = async () => {
    await folder.metrics(columns);
    if (last) await saveCheckpoint(await folder.add(checkpointFile), last.checkpoint);
    written = Date.now();
  };
  const draw = async () => figures.push(...(await folder.draw(descentFigures(columns))));
  const about = { name, parameters: config };
  const { kind: loss } = problem.loss;
  try {
    for await (const snapshot of run) {
      last = snapshot;
      for (const [key, values] of Object.entries(snapshot.measures)) {
        for (const value of values) columns[key]?.push(value);
      }
      if (Date.now() - written > PAUSE) await keep();
    }
  } catch (error) {
    const ending = (endOf(error, context.signal) as Error).message;
    const end = last ?? { step: resume?.step ?? 0, projected: [] };
    await kept(keep);
    await kept(async () => {
      await draw();
      await folder.report(descentPage({ loss, steps, columns, end, ending }, about, figures));
    });
    throw error;
  }
  await keep();
  await draw();
  const end = last as unknown as Snapshot;
  for (const part of ['features', 'prototypes', 'biases'] as const) {
    if (end.state[part]) await folder.array(`state-${part}`, end.state[part]);
  }
  await folder.array('state-labels', { shape: [end.state.labels.length], data: Int32Array.from(end.state.labels) });
  const report = await folder.report(descentPage({ loss, steps, columns, end }, about, figures));
  const rows = Object.entries(columns).map(([key, values]) => [
    key,
    ...[values[0], values.at(-1)].map((value) => formatNumber(value ?? Number.NaN, 6)),
  ]);
  const { reason, step } = end;
  const final = Object.fromEntries(Object.entries(columns).map(([key, values]) => [key, values.at(-1)]));
  return {
    text: [aligned([['', 'first', 'last'], ...rows]), '', `Step ${step}: ${endingOf(end)}`, '', `Report: ${report}`].join('\n'),
    measures: final as Record<string, number>,
    ...(reason === 'diverged' && { ending: reason }),
    json: { dynamics: 'projectedDescent', reason, step, last: final, folder: folder.path, report },
  };
}

/** What `--resume` says of a run that has nothing left to do. */
export function completeAlready({ path }: RunFolder): Outcome {
  const report = join(path, 'report.html');
  return {
    text: `The run in ${path} is complete; nothing is left to do.\n\nReport: ${report}`,
    json: { complete: true, folder: path, report },
  };
}

const columnsOf = (names: readonly string[]): Record<string, number[]> => Object.fromEntries(names.map((name) => [name, []]));

/**
 * The rows that a run had measured before the step of its checkpoint: that one's own row is measured anew, as by a run that never
 * stopped. A measure that was not taken then is NaN there; of a run without a table there are no rows.
 */
async function rowsBefore(run: string, names: readonly string[], step: number): Promise<Record<string, number[]>> {
  const columns = columnsOf(names);
  const text = await textIfAny(join(run, 'metrics.csv'));
  const [head = [], ...rows] = text.split('\r\n').map((line) => line.split(','));
  const clock = head.indexOf('step');
  const whole = rows.filter((row) => row.length === head.length && clock >= 0 && Number(row[clock]) < step);
  for (const [name, column] of Object.entries(columns)) {
    const at = head.indexOf(name);
    for (const row of whole) column.push(at < 0 ? Number.NaN : Number(row[at]));
  }
  return columns;
}

/** Multiplications of one step, all samples and classes. */
function work({ features, prototypes }: State): number {
  return (features.shape[0] as number) * (prototypes.shape[0] as number) * (features.shape[1] as number);
}
