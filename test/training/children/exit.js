// Ends the process, or the worker, in the middle of training.
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, Worker } from 'node:worker_threads';
import { train } from 'layerpeel/torch';
import { patterns } from '../images.js';

const how = process.argv[2];
if (isMainThread && how !== 'process') {
  const worker = new Worker(new URL(import.meta.url), { argv: [how] });
  await new Promise((resolve) => worker.once('message', resolve));
  await sleep(300);
  if (how === 'worker') await worker.terminate();
  process.exit(7);
} else {
  const data = { train: patterns({ size: 16, perClass: 100 }) };
  const onReady = async () => {
    if (isMainThread) setTimeout(() => process.exit(7), 500);
    else (await import('node:worker_threads')).parentPort.postMessage('ready');
  };
  const config = { data, model: { kind: 'resnet20' }, loss: { kind: 'cross-entropy' }, epochs: 1000, batch: 16, collapseEvery: 0 };
  for await (const _ of train(config, { onReady }));
}
