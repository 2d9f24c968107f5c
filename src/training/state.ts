/**
 * Whether networks can be trained here, and why not.
 */

import { binary, type TorchInfo, torchEngine } from './engine.js';
import { findLibtorch } from './libtorch.js';

export interface TorchState {
  readonly usable: boolean;
  /** In words: what is in use, or what is missing and which command mends it. */
  readonly statement: string;
  readonly info?: TorchInfo | undefined;
}

export function torchState(): TorchState {
  try {
    const info = torchEngine().info();
    const found = findLibtorch();
    const devices = info.cudaDevices ? `${info.cudaDevices} CUDA devices` : 'no CUDA device';
    const statement = `usable: libtorch ${info.libtorch}, ${info.instructions}, ${info.threads} threads, ${devices}; built into ${binary}${
      found ? `; installing again would build it against ${found.path} (${found.from})` : ''
    }`;
    return { usable: true, statement, info };
  } catch (error) {
    return { usable: false, statement: `not usable: ${(error as Error).message}` };
  }
}
