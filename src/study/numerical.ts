/**
 * Simulations in this process, without folders: exact ones each by its closed form, where only what is asked for is computed (`limit()`
 * alone, say), iterated ones of one shape together by `batchedDescent`.
 */
import type { State } from '../array/ndarray.js';
import { aborted } from '../check/errors.js';
import { type Iteration, makeTrajectory, type Simulated, type Simulation, StateMemory } from '../configuration/simulation.js';
import { batchedDescent, type DescentMeasure, type ProjectedDescentOptions } from '../dynamics/projected.js';
import type { MeasureName, Trajectory } from '../dynamics/trajectory.js';

/** What became of a run. */
export interface Outcome {
  readonly status: 'complete' | 'diverged' | 'failed';
  readonly reason?: string | undefined;
  readonly measures: Readonly<Record<string, number>>;
}

const failed = (error: unknown): Outcome => ({ status: 'failed', reason: (error as Error).message, measures: {} });

/** Numbers that a trajectory ends in: measures at its last time, `limit.exponent`, `limit.rate`, and times of its events, `when[0]`. */
async function ending(
  trajectory: Trajectory,
  { times, when }: Simulation,
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  const own = names.filter((name) => !/^(limit\.|when\[)/.test(name)) as MeasureName[];
  if (own.length > 0) {
    const measured = await trajectory.measure([times.at(-1) as number], own, { signal });
    for (const name of own) found[name] = measured[name][0] as number;
  }
  if (names.some((name) => name.startsWith('limit.'))) {
    const { exponent, rate } = await trajectory.limit({ signal });
    Object.assign(found, { 'limit.exponent': exponent, 'limit.rate': rate });
  }
  for (const [i, event] of when.entries()) {
    if (names.includes(`when[${i}]`)) found[`when[${i}]`] = (await trajectory.when(event, { signal })) ?? Number.NaN;
  }
  return found;
}

/** Runs of a batch: they end together, and what has ended is kept. */
const BATCH = 512;

interface Waiting {
  readonly at: number;
  readonly iteration: Iteration;
  readonly options: ProjectedDescentOptions;
}

/** Exact runs under way at a time, and the numbers of all their states: what a run waits for the engine's threads, others work in. */
const [MOST_ABREAST, MOST_ELEMENTS] = [16, 1 << 20];

const elementsOf = ({ features, prototypes }: State): number => features.data.length + prototypes.data.length;

class Abreast {
  private readonly under = new Map<Promise<void>, number>();
  private broken: { readonly error: unknown } | undefined;

  /** Begins when there is room for it. */
  async add(elements: number, run: () => Promise<void>): Promise<void> {
    const full = () =>
      this.under.size >= MOST_ABREAST || [...this.under.values()].reduce((a, b) => a + b, elements) > MOST_ELEMENTS;
    while (this.under.size > 0 && full()) await Promise.race(this.under.keys());
    if (this.broken) throw this.broken.error;
    const one: Promise<void> = run()
      .catch((error) => {
        this.broken ??= { error };
      })
      .finally(() => this.under.delete(one));
    this.under.set(one, elements);
  }

  async end(): Promise<void> {
    await Promise.all(this.under.keys());
    if (this.broken) throw this.broken.error;
  }
}

/**
 * The outcomes of some configurations.
 * @param measures those that are wanted
 * @param onOutcome hears of each as it is there, by its place
 */
export async function computeRuns(
  configs: readonly Readonly<Record<string, unknown>>[],
  measures: readonly string[],
  { signal, onOutcome }: { signal?: AbortSignal | undefined; onOutcome(at: number, outcome: Outcome): Promise<void> | void },
): Promise<void> {
  const batches = new Map<string, Waiting[]>();
  const states = new StateMemory();
  const exact = new Abreast();
  const outcomeOf = async (simulation: Simulation): Promise<Outcome> => {
    try {
      using trajectory = await makeTrajectory(simulation, signal);
      return { status: 'complete', measures: await ending(trajectory, simulation, measures, signal) };
    } catch (error) {
      if (signal?.aborted) throw error;
      return failed(error);
    }
  };
  try {
    for (const [at, config] of configs.entries()) {
      if (signal?.aborted) throw aborted(signal);
      let read: Simulated;
      try {
        read = await states.read(config);
      } catch (error) {
        await onOutcome(at, failed(error));
        continue;
      }
      const { simulation, iteration } = read;
      if (simulation) {
        await exact.add(elementsOf(simulation.state), async () => onOutcome(at, await outcomeOf(simulation)));
        continue;
      }
      const options = optionsOf(iteration, measures);
      const { features, prototypes } = iteration.state;
      const key = JSON.stringify([
        features.shape,
        prototypes.shape,
        features.data.constructor.name,
        options.steps,
        options.measure,
      ]);
      const batch = [...(batches.get(key) ?? []), { at, iteration, options }];
      batches.set(key, batch);
      if (batch.length < BATCH) continue;
      batches.delete(key);
      await iterate(batch, signal, onOutcome);
    }
  } finally {
    await exact.end();
  }
  for (const batch of batches.values()) await iterate(batch, signal, onOutcome);
}

/** Measures are taken at the end alone, unless the run stops by what is measured. */
function optionsOf({ options }: Iteration, measures: readonly string[]): ProjectedDescentOptions {
  const { measure, stop, steps } = options;
  const names = measures.filter((name) => name !== 'step') as DescentMeasure[];
  return { ...options, snapshots: steps, measure: { names, every: (stop && measure?.every) ?? Math.max(1, steps) } };
}

async function iterate(
  batch: readonly Waiting[],
  signal: AbortSignal | undefined,
  onOutcome: (at: number, outcome: Outcome) => Promise<void> | void,
): Promise<void> {
  const problems = batch.map(({ iteration: { problem, state } }) => ({ ...problem, state }));
  try {
    const options = batch.map(({ options: own }) => ({ ...own, signal }));
    for await (const snapshots of batchedDescent(problems, options)) {
      for (const [i, { reason, step, measures }] of snapshots.entries()) {
        if (!reason) continue;
        const last = Object.entries(measures).map(([name, values]) => [name, (values as Float64Array).at(-1) ?? Number.NaN]);
        const { at } = batch[i] as Waiting;
        await onOutcome(at, {
          status: reason === 'diverged' ? 'diverged' : 'complete',
          measures: { ...Object.fromEntries(last), step },
        });
      }
    }
  } catch (error) {
    if (signal?.aborted) throw error;
    for (const { at } of batch) await onOutcome(at, failed(error));
  }
}
