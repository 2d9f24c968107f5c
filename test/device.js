// A device for tests: a GPU, or the one that `npm run build:emulated` puts on the CPU.
import { LayerpeelError, openDevice } from 'layerpeel';

const opened = await openDevice('cuda').catch((error) => error);

/** Why there is none, an `LP_DEVICE`; or undefined. */
export const lack = opened instanceof LayerpeelError ? opened : undefined;

/** A test of the device, which is opened where another file's tests have closed it; or a line that says why there is none. */
export function onDevice(test, name, body) {
  if (lack) console.log(`skipped: ${name} (${lack.message})`);
  else test(name, async () => body(await openDevice('cuda')));
}
