/**
 * `layerpeel simulate`: exact dynamics from a configuration file, measured, drawn and saved; or iterated ones (`iterate.ts`).
 */
import { basename, dirname, resolve } from 'node:path';
import type { State } from '../array/ndarray.js';
import { OverflowError } from '../check/errors.js';
import { withEntry } from '../check/paths.js';
import { CONFIG } from '../configuration/file.js';
import { DYNAMICS, EXAMPLE, ITERATED, makeTrajectory, readSimulation, type Simulation } from '../configuration/simulation.js';
import { type Direction, type Limit, logMeasures, type Trajectory, trajectoryMeasures } from '../dynamics/trajectory.js';
import type { PageFigure } from '../report/page.js';
import { simulationPage, trajectoryFigures } from '../report/pages/simulation.js';
import type { RunFolder } from '../report/run-folder.js';
import { formatNumber } from '../report/ticks.js';
import { aligned, type Command, type Context, endOf, kept, type Outcome, SET, UsageError } from './command.js';
import { readConfigFile } from './config-file.js';
import { DEVICE, deviceNamed, useDevice } from './device.js';
import { iterate } from './iterate.js';

type Columns = Record<string, number[]>;

/** Times are measured in so many batches; a run that is stopped keeps the whole ones. */
const BATCHES = 25;

export const command: Command = {
  name: 'simulate',
  summary: 'Run exact dynamics of the layer-peeled model from a configuration file',
  positionals: ['CONFIG.json'],
  description:
    'Computes a flow or a descent exactly at the times or steps asked for, and writes a run folder: the measured columns and their\n' +
    'figures, the limit, the times of events, and arrays. The file names one of gradientFlow, gradientDescent, anchoredFlow,\n' +
    'sphericalDescent and kernelFlow with its options, a state (random, or from files), and what to do:\n\n' +
    '  times or steps   a list, or { "from", "to", "count", "scale": "linear" or "log" }\n' +
    '  measure          quantities, as below\n' +
    '  when             events, such as { "name": "accuracy", "value": 1, "to": 100000 }: the first time they happen\n' +
    '  save             any of "state" and "direction" (Z/‖Z‖, which never overflows) at the last time, and "limit"\n\n' +
    'With "dynamics": "projectedDescent" any loss is iterated: the file has a state, "problem" (loss, constraints, weightDecay, moves …)\n' +
    'and "options" (learningRates, steps, momentum, batch, measure, stop …) of that function. A checkpoint is written every second or\n' +
    'so, from which --resume goes on.\n\n' +
    `Quantities:\n${aligned(Object.entries(trajectoryMeasures))}\n\n` +
    `Of gradientFlow, gradientDescent and anchoredFlow also every measure of collapse, and:\n${aligned(Object.entries(logMeasures))}`,
  options: {
    set: SET,
    example: { help: 'Print a configuration to start from' },
    device: DEVICE,
    resume: { value: 'RUN', help: 'Folder of a run of projectedDescent to go on with' },
  },
  examples: [
    'layerpeel simulate --example > run.json',
    'layerpeel simulate run.json --out runs/first --set options.gamma=0 --set steps.count=50',
    'layerpeel simulate run.json --resume runs/first --out runs/second',
  ],
  async run(context: Context): Promise<Outcome> {
    if (context.options.example) return { text: JSON.stringify(EXAMPLE, null, 2), json: EXAMPLE };
    const [path = ''] = context.args;
    const name = basename(path, '.json');
    const folder = await context.folder(name);
    const config = await configOf(path, context);
    await useDevice(context);
    const { simulation, iteration } = await readSimulation(config, dirname(resolve(path)));
    if (iteration) return await iterate(name, config, iteration, folder, context);
    if (context.options.resume !== undefined)
      throw new UsageError('--resume goes on with a run of projectedDescent; other dynamics are computed at any time at once.');
    using trajectory = await makeTrajectory(simulation, context.signal);
    await folder.begin(config);
    return await simulate(name, config, simulation, trajectory, folder, context);
  },
};

/** The configuration as it is asked for: a device is an entry of what can run there. */
async function configOf(path: string, context: Context): Promise<Readonly<Record<string, unknown>>> {
  const config = (await readConfigFile(path, context.settings)) as Readonly<Record<string, unknown>>;
  const device = deviceNamed(context);
  if (device === undefined) return config;
  const { dynamics } = Object(config);
  if (dynamics === ITERATED) return withEntry(config, 'options.device', device, CONFIG) as typeof config;
  if (device !== 'cpu' && device !== 'auto' && DYNAMICS.includes(dynamics))
    throw new UsageError(`--device is ${device}, but ${dynamics} is computed on the CPU; leave it out.`);
  return config;
}

async function simulate(
  name: string,
  config: Readonly<Record<string, unknown>>,
  simulation: Simulation,
  trajectory: Trajectory,
  folder: RunFolder,
  context: Context,
): Promise<Outcome> {
  const { dynamics, state, times, clock, logarithmic } = simulation;
  const columns: Columns = Object.fromEntries([clock, ...simulation.measure].map((column) => [column, []]));
  const sofar = () => {
    const { [clock]: done = [], ...measured } = columns;
    return { clock, times: done, logarithmic, measured };
  };
  const about = { name, parameters: config };
  const figures: PageFigure[] = [];
  const keep = async () => {
    await folder.metrics(columns);
    figures.push(...(await folder.draw(trajectoryFigures(sofar()))));
  };
  try {
    await measure(trajectory, simulation, columns, context);
  } catch (error) {
    const ending = (endOf(error, context.signal) as Error).message;
    await kept(async () => {
      await keep();
      await folder.report(simulationPage({ dynamics, state, ...sofar(), ending }, about, figures));
    });
    throw error;
  }
  await keep();
  context.progress(1, 'limit and events');
  const limit = await trajectory.limit({ signal: context.signal });
  const events = await happenings(trajectory, simulation, context.signal);
  await save(trajectory, limit, simulation, folder, context);

  const [first, last] = [0, times.length - 1].map((row) =>
    Object.fromEntries(Object.entries(columns).map(([key, values]) => [key, values[row] as number])),
  );
  const { regime, exponent, rate, per, statement } = limit;
  const result = { dynamics, state, ...sofar(), limit, events };
  const report = await folder.report(simulationPage(result, about, figures));
  const rows = Object.keys(columns).map((key) => [key, ...[first, last].map((row) => formatNumber(row?.[key] ?? Number.NaN, 6))]);
  return {
    text: [
      aligned([['', 'first', 'last'], ...rows]),
      '',
      `Limit: ${regime}. ${statement}`,
      ...events.map(
        ({ event, at }) =>
          `${event.name} reaches ${event.value}: ${at === undefined ? `not by ${clock} ${event.to}` : `${clock} ${at}`}`,
      ),
      '',
      `Report: ${report}`,
    ].join('\n'),
    measures: {
      ...measuresAt(last, clock),
      ...{ 'limit.exponent': exponent, 'limit.rate': rate },
      ...Object.fromEntries(events.map(({ at }, i) => [`when[${i}]`, at ?? Number.NaN])),
    },
    json: { dynamics, first, last, limit: { regime, exponent, rate, per, statement }, events, folder: folder.path, report },
  };
}

/** A row without its clock. */
const measuresAt = (row: Readonly<Record<string, number>> | undefined, clock: string): Record<string, number> =>
  Object.fromEntries(Object.entries(row ?? {}).filter(([name]) => name !== clock));

/** Appends what is measured to the columns, batch by batch. */
async function measure(
  trajectory: Trajectory,
  { times, measure: names, clock }: Simulation,
  columns: Columns,
  { signal, progress }: Context,
): Promise<void> {
  const size = Math.ceil(times.length / BATCHES);
  for (let start = 0; start < times.length; start += size) {
    const batch = times.slice(start, start + size);
    const onProgress = (share: number) =>
      progress((start + share * batch.length) / times.length, `measuring up to ${clock} ${batch.at(-1)}`);
    onProgress(0);
    const measured: Record<string, Float64Array> = await trajectory.measure(batch, names, { signal, onProgress });
    for (const [name, values] of Object.entries({ [clock]: batch, ...measured })) {
      for (const value of values) columns[name]?.push(value);
    }
  }
}

async function happenings(trajectory: Trajectory, { when }: Simulation, signal: AbortSignal) {
  const found = [];
  for (const event of when) found.push({ event, at: await trajectory.when(event, { signal }) });
  return found;
}

/** Writes the arrays asked for; a state that overflows is written as its direction. */
async function save(
  trajectory: Trajectory,
  limit: Limit,
  simulation: Simulation,
  folder: RunFolder,
  { signal, log }: Context,
): Promise<void> {
  const last = simulation.times.at(-1) as number;
  const write = async (name: string, { features, prototypes, biases, labels }: Direction & Partial<State>) => {
    await folder.array(`${name}-features`, features);
    await folder.array(`${name}-prototypes`, prototypes);
    if (biases) await folder.array(`${name}-biases`, biases);
    if (labels) await folder.array(`${name}-labels`, { shape: [labels.length], data: labels });
  };
  let directionWanted = simulation.save.includes('direction');
  if (simulation.save.includes('state')) {
    try {
      await write('state', await trajectory.at(last, { signal }));
    } catch (error) {
      if (!(error instanceof OverflowError)) throw error;
      log(`The state at the end does not fit its dtype; its direction is written instead. ${error.message}`);
      directionWanted = true;
    }
  }
  if (directionWanted) await write('direction', await trajectory.directionAt(last, { signal }));
  if (simulation.save.includes('limit')) {
    if (limit.direction) await write('limit', limit.direction);
    else log(`There is no limit direction to write: the regime is ${limit.regime}.`);
  }
}
