// Prints the resident memory after a first and after a last round of jobs that finish, fail and are stopped.
import { matmul, matmulSync } from 'layerpeel';
import { zeros } from '../zeros.js';

async function round() {
  const a = zeros(200, Float64Array);
  for (let i = 0; i < 100; i++) {
    const controller = new AbortController();
    const jobs = Array.from({ length: 10 }, () => matmul(a, a, { signal: controller.signal, onProgress() {} }));
    if (i % 2) controller.abort();
    await Promise.allSettled(jobs);
    matmulSync(a, a);
    if (i % 10 === 0) gc();
  }
  gc();
  await new Promise((resolve) => setTimeout(resolve, 10));
  gc();
  return process.memoryUsage.rss();
}

await round();
const early = await round();
for (let i = 0; i < 3; i++) await round();
console.log(JSON.stringify({ early, late: await round() }));
