/**
 * `layerpeel doctor`: what this installation runs on, for bug reports and for people who wonder why something is slow.
 */
import { type EngineInfo, engine } from '../engine/load.js';
import { machine } from '../report/machine.js';
import { torchState } from '../training/state.js';
import { aligned, type Command, type Context, type Outcome } from './command.js';

export const command: Command = {
  name: 'doctor',
  summary: 'Say what this installation runs on: binary, instruction set, BLAS, threads, CUDA, libtorch',
  positionals: [],
  description:
    'Prints the versions, the binary in use, its instruction set and the best this machine has, the BLAS and where it came from,\n' +
    'the compute threads, and the state of CUDA and libtorch with the reason. Put its output into bug reports.',
  options: {},
  examples: ['layerpeel doctor', 'LAYERPEEL_ISA=avx2 LAYERPEEL_THREADS=4 layerpeel doctor --json'],
  async run(context: Context): Promise<Outcome> {
    const facts = { ...machine(), libtorch: torchState().statement };
    if (context.options.out) await (await context.folder('')).begin(facts);
    return { text: aligned(Object.entries(facts)), json: { ...facts, engine: engineInfo() } };
  },
};

/** The engine's own words, for programs; null where it cannot be loaded. */
function engineInfo(): EngineInfo | null {
  try {
    return engine().info();
  } catch {
    return null;
  }
}
