/**
 * The lock of a run folder: that of an open file, `.lock`, which the system takes from a process that is gone, however it
 * went. So a run whose `run.json` says that it runs and whose lock is free was interrupted.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { textIfAny } from '../array/files.js';
import { LayerpeelError } from '../check/errors.js';
import { engine } from '../engine/load.js';

declare module '../engine/load.js' {
  interface Engine {
    /** Locks the open file of a descriptor until it is closed; `unknown` where its file system has no locks. */
    lockFile(plan: { readonly descriptor: number }): LockState;
  }
}

type LockState = 'held' | 'taken' | 'unknown';

export const lockFile = '.lock';

/** A pipe would hold the thread that opens it. */
const NO_WAITING = constants.O_NONBLOCK ?? 0;

export class FolderLock {
  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
    /** `unknown`: nobody can be kept out. */
    readonly state: Exclude<LockState, 'taken'>,
  ) {}

  /** @throws LP_FILE where another run has it; errors of the system as they are */
  static async take(folder: string): Promise<FolderLock> {
    const path = join(folder, lockFile);
    for (;;) {
      const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | NO_WAITING, 0o666);
      try {
        const found = await handle.stat();
        if (!found.isFile()) throw new LayerpeelError('LP_FILE', `${path} is not a regular file; remove it.`);
        const state = lock(handle);
        if (state === 'taken') throw new LayerpeelError('LP_FILE', await usedBy(folder, path));
        // Whoever had it may have removed the file after it was opened here.
        if (found.ino === (await stat(path).catch(() => undefined))?.ino) {
          const taken = new FolderLock(path, handle, state);
          await taken.sign().catch(async (error) => {
            await taken.release();
            throw error;
          });
          return taken;
        }
        await handle.close();
      } catch (error) {
        await handle.close().catch(() => {});
        throw error;
      }
    }
  }

  /** Whether a run has the lock of a folder. */
  static async isTaken(folder: string): Promise<boolean> {
    const handle = await open(join(folder, lockFile), constants.O_RDONLY | NO_WAITING).catch(() => undefined);
    if (!handle) return false;
    try {
      return lock(handle) !== 'held';
    } finally {
      await handle.close();
    }
  }

  /** Says whose it is. */
  private async sign(): Promise<void> {
    await this.handle.truncate();
    await this.handle.write(`process ${process.pid} on ${hostname()}`);
  }

  async release(): Promise<void> {
    await rm(this.path, { force: true }).catch(() => {});
    await this.handle.close().catch(() => {});
  }
}

function lock({ fd }: FileHandle): LockState {
  try {
    return engine().lockFile({ descriptor: fd });
  } catch (error) {
    if ((error as LayerpeelError).code !== 'LP_NOT_BUILT') throw error;
    return 'unknown'; // nothing can be computed then
  }
}

async function usedBy(folder: string, path: string): Promise<string> {
  const owner = await textIfAny(path).catch(() => '');
  return `${folder} is in use by another run${owner && ` (${owner})`}; wait for it, stop it, or give another folder.`;
}
