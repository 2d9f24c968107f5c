/**
 * `layerpeel cuda`: installs what products on NVIDIA GPUs are fastest with, and says how GPUs stand.
 */
import { installCublas } from '../engine/cublas.js';
import { type DeviceReport, deviceReport } from '../engine/place.js';
import { actionOf, aligned, type Command, type Context, type Outcome } from './command.js';

const ACTIONS = ['install', 'info'] as const;

export const command: Command = {
  name: 'cuda',
  summary: 'Install cuBLAS for NVIDIA GPUs, or say how they stand',
  positionals: ['install|info'],
  description:
    'install  Fetches cuBLAS, NVIDIA’s library of matrix products, into the .cublas of this package (python3 -m venv, pip install\n' +
    '         nvidia-cublas): some 400 MB. Without it, products on a GPU are made by kernels of the package’s own.\n' +
    'info     Says which GPUs can be used, with driver, memory and the cuBLAS in use, or exactly why not.',
  options: {},
  examples: ['layerpeel cuda info', 'layerpeel cuda install', 'layerpeel cuda info --json'],
  async run({ args, signal, log, live }: Context): Promise<Outcome> {
    const cublas = actionOf(args[0], ACTIONS) === 'install' ? await installCublas({ signal, log, onStage: live }) : undefined;
    const report = deviceReport();
    const installed = cublas === undefined ? '' : `cuBLAS is in ${cublas}.\n`;
    return { text: installed + textOf(report), json: { ...(cublas !== undefined && { cublas }), ...report } };
  },
};

function textOf({ usable, state, devices, blas }: DeviceReport): string {
  if (!usable) return `not usable: ${state}`;
  const rows = devices.map(({ ordinal, name, major, minor, multiprocessors, memory }): [string, string] => [
    `cuda:${ordinal}`,
    `${name}, compute capability ${major}.${minor}, ${multiprocessors} multiprocessors, ${(memory / 2 ** 30).toFixed(1)} GiB`,
  ]);
  return aligned([['CUDA', `usable: ${state}`], ...rows, ['cuBLAS', blas]]);
}
