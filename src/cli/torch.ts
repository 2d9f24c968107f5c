/**
 * `layerpeel torch`: makes the libtorch extension, and says how it stands.
 */
import { installTorch } from '../training/install.js';
import { torchState } from '../training/state.js';
import { actionOf, type Command, type Context, type Outcome } from './command.js';

const ACTIONS = ['install', 'info'] as const;

export const command: Command = {
  name: 'torch',
  summary: 'Install what training needs (libtorch), or say how it stands',
  positionals: ['install|info'],
  description:
    'install  Finds libtorch (LIBTORCH, else the active Python environment, else the .libtorch of this package, which is made\n' +
    '         where there is none: python3 -m venv, pip install torch), builds the extension against it and proves it by a\n' +
    '         training step: minutes, and a moment where all is done already. It needs a C++20 compiler and CMake.\n' +
    'info     Says whether networks can be trained here, on what, and why not.',
  options: {},
  examples: ['layerpeel torch install', 'LIBTORCH=/opt/libtorch layerpeel torch install', 'layerpeel torch info --json'],
  async run({ args, signal, log, live }: Context): Promise<Outcome> {
    if (actionOf(args[0], ACTIONS) === 'install') await installTorch({ signal, log, onStage: live });
    const { usable, statement, info } = torchState();
    return { text: `libtorch is ${statement}`, json: { usable, statement, ...info } };
  },
};
