/**
 * `--device`: where a command computes what devices can. It stands for LAYERPEEL_DEVICE, for the functions that have an option of
 * that name; what they do not have there is computed on the CPU.
 */
import { checkPlace, type DeviceOptions, openDevice } from '../array/device.js';
import { asUsage, type Context, type Option } from './command.js';

export const DEVICE: Option = {
  value: 'NAME',
  help: 'Where what a GPU has is computed: cpu, cuda (or cuda:1), auto; default: LAYERPEEL_DEVICE, or cpu',
};

/** The name that was given, checked. @throws UsageError */
export const deviceNamed = ({ options: { device } }: Context): DeviceOptions['device'] =>
  device === undefined ? undefined : asUsage(() => checkPlace(device, '--device'));

/** Computes there from now on, if one was given, which must be there. @throws UsageError, `LP_DEVICE` with the reason that `layerpeel doctor` gives */
export async function useDevice(context: Context): Promise<void> {
  const device = deviceNamed(context);
  if (device === undefined) return;
  if (device !== 'cpu' && device !== 'auto') await openDevice(device);
  process.env.LAYERPEEL_DEVICE = device;
}
