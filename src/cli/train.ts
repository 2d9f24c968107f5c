/**
 * `layerpeel train`: a network from a configuration file,
 *
 *     { "data": { "kind": "cifar10", "path": "cifar-10-batches-bin", "augmentation": { "padding": 4, "flip": true } },
 *       "model": { "kind": "resnet20" }, "loss": { "kind": "cross-entropy" },
 *       "optimizer": { "learningRate": { "kind": "cosine", "value": 0.1, "period": 30 }, "weightDecay": 5e-4 }, "epochs": 30 }
 *
 * Columns, report and a checkpoint are written after every epoch, so that a run that is stopped or killed goes on with
 * `--resume` from its folder.
 */
import { basename, dirname } from 'node:path';
import type { LayerpeelError } from '../check/errors.js';
import { classNamesFile, setsFile } from '../evaluation/files.js';
import { EventWriter } from '../report/events.js';
import { theoryColumns, trainingPage } from '../report/pages/training.js';
import type { RunFolder } from '../report/run-folder.js';
import { formatNumber } from '../report/ticks.js';
import { checkpointFile } from '../state/checkpoint.js';
import { lastByClass } from '../training/by-class.js';
import { checkSpace } from '../training/checkpoint.js';
import { type TrainingConfig, withPathsFrom } from '../training/config.js';
import { torchEngine } from '../training/engine.js';
import { type Epoch, type Ready, train } from '../training/train.js';
import { describeWeights } from '../training/weights.js';
import { aligned, type Command, type Context, endOf, kept, type Outcome, SET } from './command.js';
import { readConfigFile } from './config-file.js';
import { completeAlready } from './iterate.js';

const EXAMPLE: TrainingConfig = {
  data: { kind: 'cifar10', path: 'cifar-10-batches-bin', augmentation: { padding: 4, flip: true } },
  model: { kind: 'resnet20' },
  loss: { kind: 'cross-entropy' },
  optimizer: { learningRate: { kind: 'cosine', value: 0.1, period: 30, warmup: 1 }, momentum: 0.9, weightDecay: 5e-4 },
  epochs: 30,
  batch: 128,
  seed: 0,
};

export const command: Command = {
  name: 'train',
  summary: 'Train a network on images from a configuration file, with neural collapse measured after every epoch',
  positionals: ['CONFIG.json'],
  description:
    'Trains the network that CONFIG.json describes (--example prints one; paths in it are relative to the file). After every epoch\n' +
    'metrics.csv, report.html and a checkpoint are written; --resume goes on from the one in a run folder, on a CPU bit for bit as\n' +
    'if the run had never stopped. At the end features, logits and labels of the test set, prototypes and biases, and outputs for\n' +
    'images of classes held out, are kept for layerpeel evaluate.\n' +
    'Needs libtorch: layerpeel torch install.',
  options: {
    set: SET,
    resume: { value: 'DIR', help: 'Go on from the checkpoint of this run folder; in it, if --out names it as well' },
    example: { help: 'Print a configuration to start from' },
  },
  examples: [
    'layerpeel train run.json --out runs/first --set optimizer.weightDecay=5e-3',
    'layerpeel train run.json --resume runs/first --out runs/first',
  ],
  async run(context: Context): Promise<Outcome> {
    if (context.options.example) return { text: JSON.stringify(EXAMPLE, null, 2), json: EXAMPLE };
    const path = context.args[0] as string;
    const name = basename(path, '.json');
    const folder = await context.folder(name);
    const config = await readConfig(path, context.settings);
    if (await folder.isComplete(config)) return completeAlready(folder);
    const resume = context.options.resume as string | undefined;
    let records: Records | undefined;
    const began = performance.now();
    const epochs = train(config, {
      signal: context.signal,
      onStage: context.progress,
      ...(resume !== undefined && { resume }),
      async onReady(ready) {
        records = new Records(await folder.begin(config), { name, config, ...ready });
        const { parameters, dim, samples } = ready;
        const { kind, weights } = config.model;
        const begun = weights === undefined ? '' : `, begun with ${describeWeights(weights).file}`;
        context.log(`${kind}: ${parameters} parameters${begun}, features of ${dim} dimensions; ${samples} images`);
        await records.begin(context.log);
      },
    });
    try {
      for await (const epoch of epochs) {
        context.log(line(epoch, config.epochs));
        await records?.add(epoch);
      }
    } catch (error) {
      // A training that diverges has failed; tables tell it from one that could not run.
      if (records && (error as LayerpeelError).code === 'LP_NOT_FINITE')
        await kept(() => folder.result({ measures: {}, ending: 'diverged' }));
      await kept(async () => records?.end((endOf(error, context.signal) as Error).message));
      throw error;
    }
    const ended = records as unknown as Records;
    await ended.end();
    const { report } = ended;
    const last = ended.last as Epoch; // there is at least one, a resumed run's own last one included
    const rows = Object.entries(last.measures).map(([name, value]) => [name, formatNumber(value)]);
    const seconds = (performance.now() - began) / 1000;
    return {
      text: `${aligned(rows)}\n\nTrained for ${formatNumber(seconds)} s.\n\nReport: ${report}`,
      measures: Object.fromEntries(Object.entries(last.measures).filter(([name]) => !PACE.includes(name))),
      json: { folder: folder.path, report, seconds, epochs: last.history },
    };
  },
};

/** What a run says of its time and place, which is no result of it. */
const PACE = ['epoch', 'seconds', 'imagesPerSecond', 'waitedForImages', 'secondsCollapse', 'secondsMeasuring', 'secondsTheory'];

/** What a run leaves in its folder. */
class Records {
  last: Epoch | undefined;
  report = '';
  private drawn = Number.NEGATIVE_INFINITY;
  private drawing = 0;
  private events: EventWriter | undefined;

  constructor(
    readonly folder: RunFolder,
    private readonly about: { readonly name: string; readonly config: TrainingConfig } & Ready,
  ) {}

  async begin(log: Context['log']): Promise<void> {
    const { config, checkpointBytes, history } = this.about;
    await checkSpace(this.folder.path, checkpointBytes, log);
    if (config.tensorboard) {
      this.events = await freshEvents(this.folder);
      for (const row of history) await this.write(row);
    }
    await this.draw();
  }

  async add(epoch: Epoch): Promise<void> {
    this.last = epoch;
    await epoch.save(await this.folder.add(checkpointFile));
    await this.folder.metrics(columnsOf(epoch.history));
    if (lastByClass(epoch.byClass)) {
      for (const [name, array] of Object.entries(epoch.byClass)) await this.folder.array(`class-${dashed(name)}`, array);
    }
    if (epoch.epoch > this.about.history.length) await this.write(epoch.measures);
    const { epochs } = this.about.config;
    const ended = epoch.epoch === epochs;
    if (ended) await keepArrays(epoch, this.about.config, this.folder);
    // A page takes as long to draw as many a small epoch: such epochs share one.
    if (ended || performance.now() - this.drawn > 10 * this.drawing) await this.draw();
  }

  /** @param ending why the run ends early */
  async end(ending?: string): Promise<void> {
    await this.events?.close();
    if (ending !== undefined) await this.draw(ending);
  }

  /** Hands an epoch to TensorBoard: what was measured of it. */
  private async write({ epoch = 0, ...columns }: Epoch['measures']): Promise<void> {
    await this.events?.scalars(epoch, Object.fromEntries(Object.entries(columns).filter(([, value]) => !Number.isNaN(value))));
  }

  private async draw(ending?: string): Promise<void> {
    const began = performance.now();
    const { history, byClass } = this.last ?? this.about;
    const theory = await this.about.theory();
    const { libtorch } = torchEngine().info();
    const more = { history, byClass, theory, libtorch, ...(ending !== undefined && { ending }) };
    if (typeof theory !== 'string') await this.folder.metrics(theoryColumns(theory), 'theory');
    this.report = await this.folder.report(trainingPage({ ...this.about, ...more }, this.about));
    this.drawn = performance.now();
    this.drawing = this.drawn - began;
  }
}

/** An event file in place of those of a run before in this folder: TensorBoard would draw both. */
async function freshEvents(folder: RunFolder): Promise<EventWriter> {
  await folder.clear((file) => file.startsWith('events.out.tfevents.'));
  const events = await EventWriter.open(folder.path);
  await folder.add(basename(events.path));
  return events;
}

const readConfig = async (path: string, settings: readonly string[]) =>
  withPathsFrom(dirname(path), await readConfigFile(path, settings)) as TrainingConfig;

function columnsOf(history: Epoch['history']): Record<string, number[]> {
  const names = Object.keys(history[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, history.map((row) => row[name] ?? Number.NaN)]));
}

function line({ epoch, measures }: Epoch, epochs: number): string {
  const { loss, accuracy, testAccuracy, nc1, imagesPerSecond } = measures as Record<string, number | undefined>;
  const percent = (share: number) => `${(100 * share).toFixed(2)}%`;
  return [
    `epoch ${epoch} of ${epochs}`,
    `loss ${formatNumber(loss as number)}`,
    `accuracy ${percent(accuracy as number)}`,
    ...(testAccuracy === undefined ? [] : [`test ${percent(testAccuracy)}`]),
    ...(nc1 === undefined || Number.isNaN(nc1) ? [] : [`nc1 ${formatNumber(nc1)}`]),
    `${Math.round(imagesPerSecond as number)} images/s`,
  ].join(', ');
}

/** `feature-norm` of `featureNorm`. */
const dashed = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** What `layerpeel evaluate` takes of a run folder. */
async function keepArrays(epoch: Epoch, { data }: TrainingConfig, folder: RunFolder): Promise<void> {
  const { features, logits, labels } = await epoch.output(epoch.splits.includes('test') ? 'test' : 'train');
  const { prototypes, biases } = await epoch.classifier();
  const outside = epoch.splits.includes('heldOut') ? await epoch.output('heldOut') : undefined;
  const integers = (data: Int32Array) => ({ shape: [data.length], data });
  const arrays = {
    ...{ features, logits, labels: integers(labels), prototypes, counts: integers(epoch.counts) },
    'feature-mean': await epoch.featureMean(),
    ...(biases && { biases }),
    ...(outside && { 'ood-logits': outside.logits, 'ood-features': outside.features }),
  };
  for (const [name, array] of Object.entries(arrays)) await folder.array(name, array);
  await folder.json(classNamesFile, epoch.classes);
  const sets = data.outOfDistribution ?? [];
  for (const { name } of sets) {
    const { logits, features } = await epoch.output(`ood:${name}`);
    for (const [kind, array] of Object.entries({ logits, features })) await folder.array(`ood-${kind}-${name}`, array);
  }
  if (sets.length > 0)
    await folder.json(
      setsFile,
      sets.map(({ name, distance }) => ({ name, ...(distance && { distance }) })),
    );
}
