/**
 * The libtorch extension's addon, as `layerpeel torch install` builds it. Everything that crosses into it crosses here.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { LayerpeelError } from '../errors.js';
import type { Mode, Result } from '../native.js';
import { findLibtorch, packageRoot } from './find.js';

/** What the binary says of itself and of libtorch. */
export interface TorchInfo {
  readonly version: string;
  readonly libtorch: string;
  /** Of libtorch, within an operation. */
  readonly threads: number;
  readonly instructions: string;
  readonly cudaDevices: number;
}

/** The addon's functions; `native/torch/addon` documents each. */
export interface TorchEngine {
  info(): TorchInfo;
  /** The losses before and after a training step. */
  prove(mode: Mode): Result<[before: number, after: number]>;
}

/** Where the addon is built; `LAYERPEEL_TORCH` names another folder. */
export const buildFolder = process.env.LAYERPEEL_TORCH || join(packageRoot, 'build/torch');
export const binary = join(buildFolder, 'layerpeel_torch.node');

let loaded: TorchEngine | undefined;

/** The addon, loaded at the first use. @throws `LP_NOT_BUILT` with the cause and the command that mends it */
export function torchEngine(): TorchEngine {
  if (loaded) return loaded;
  const command = 'npx layerpeel torch install';
  if (!existsSync(binary)) {
    const found = findLibtorch();
    const reason = found
      ? `libtorch is at ${found.path} (${found.from}), but the extension is not built`
      : 'libtorch is not installed';
    throw new LayerpeelError('LP_NOT_BUILT', `Training needs libtorch: ${reason}. ${command} does what is missing.`);
  }
  try {
    loaded = createRequire(import.meta.url)(binary) as TorchEngine;
    return loaded;
  } catch (cause) {
    throw new LayerpeelError(
      'LP_NOT_BUILT',
      `The libtorch extension cannot be loaded (${(cause as Error).message}). ${command} builds it anew.`,
      { cause },
    );
  }
}
