import { parentPort, workerData } from 'node:worker_threads';
import { matmul } from 'layerpeel';
import { counting, zeros } from '../zeros.js';

const tasks = {
  async products() {
    const a = counting(97);
    const products = await Promise.all(Array.from({ length: workerData.count }, () => matmul(a, a)));
    parentPort.postMessage(products.map((product) => product.data));
  },
  /** More jobs than threads, each for longer than anybody waits. */
  endless() {
    const a = zeros(6000);
    for (let i = 0; i < 4; i++) matmul(a, a, { onProgress() {} });
    setTimeout(() => parentPort.postMessage('running'), 10);
  },
  leave() {
    matmul(zeros(6000), zeros(6000));
    setTimeout(() => process.exit(3), 10);
  },
};

await tasks[workerData.task]();
