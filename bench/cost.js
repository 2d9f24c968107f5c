/**
 * What a step of projected descent costs against the number of samples n, the dimension p and the number of classes C:
 * `npm run bench:cost` draws bench/cost.svg and prints its numbers. One of the three is varied over three decades while the
 * others stand at n = 2 000, p = 128, C = 20; cross-entropy in float32, full batch, one and two threads, each in a process
 * of its own. A step is what a run costs beyond its first one; medians.
 */
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { projectedDescentSync, randomState } from 'layerpeel';
import { lineChart, renderSvg } from '../lib/report/figure.js';

const standing = { n: 2000, p: 128, C: 20 };
const varied = {
  n: [100, 300, 1000, 3000, 10_000, 30_000, 100_000],
  p: [4, 12, 40, 128, 400, 1200, 4000],
  C: [2, 6, 20, 60, 200, 600, 2000],
};
const names = { n: 'samples n', p: 'dimension p', C: 'classes C' };

/** Median seconds of a step. */
function measure({ n, p, C }) {
  const state = randomState({ counts: Array.from({ length: C }, (_, c) => Math.floor((n + c) / C)), dim: p, dtype: 'float32' });
  const problem = { loss: { kind: 'cross-entropy' }, state };
  const steps = Math.max(2, Math.min(2000, Math.ceil(2e9 / (6 * n * p * C))));
  const time = (count) => {
    const start = performance.now();
    for (const _ of projectedDescentSync(problem, { learningRates: { features: 1, prototypes: 1 }, steps: count }));
    return performance.now() - start;
  };
  time(1 + steps);
  const all = Array.from({ length: 7 }, () => (time(1 + steps) - time(1)) / steps / 1e3);
  return all.sort((a, b) => a - b)[3];
}

if (process.argv[2]) {
  console.log(measure(JSON.parse(process.argv[2])));
} else {
  const charts = [];
  console.log('| varied | value | 1 thread | 2 threads | ratio |\n|---|---|---|---|---|');
  for (const [name, values] of Object.entries(varied)) {
    const columns = { 1: [], 2: [] };
    for (const value of values) {
      for (const threads of [1, 2]) {
        const setting = JSON.stringify({ ...standing, [name]: value });
        const env = { ...process.env, LAYERPEEL_THREADS: String(threads) };
        columns[threads].push(Number(execFileSync(process.execPath, [fileURLToPath(import.meta.url), setting], { env })));
      }
      const [one, two] = [columns[1].at(-1), columns[2].at(-1)];
      const show = (seconds) => `${(1e6 * seconds).toPrecision(3)} µs`;
      console.log(`| ${name} | ${value} | ${show(one)} | ${show(two)} | ${(one / two).toFixed(2)} |`);
    }
    const series = [1, 2].map((threads) => ({
      name: `${threads} thread${threads > 1 ? 's' : ''}`,
      x: values,
      y: columns[threads],
    }));
    // What a cost in proportion would be, through the last point of one thread.
    const linear = values.map((value) => (columns[1].at(-1) * value) / values.at(-1));
    charts.push(
      lineChart({
        title: `Step against ${names[name]}`,
        x: { title: names[name], scale: 'log' },
        y: { title: 'seconds', scale: 'log' },
        series: [...series, { name: 'in proportion', x: values, y: linear, style: 2, color: 6 }],
        width: 260,
        height: 220,
      }),
    );
  }
  const { $schema, config } = charts[0];
  const panels = charts.map(({ $schema: _, config: __, ...rest }) => rest);
  await writeFile(
    new URL('cost.svg', import.meta.url),
    await renderSvg({ $schema, config, description: 'Cost of a step', hconcat: panels }),
  );
}
