// Only workers load the addon here, one after the other; its threads outlive each of them.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

for (let i = 0; i < 3; i++) {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: { task: 'products', count: 3 } });
  await once(worker, 'message');
  await worker.terminate();
}
const addons = process.report.getReport().sharedObjects.filter((path) => path.endsWith('.node'));
if (process.platform === 'linux' && addons.length !== 1) throw new Error(`${addons.length} addons are loaded`);
