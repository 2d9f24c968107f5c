/**
 * Ticks and number labels of the figures: round steps on linear axes, powers of ten on logarithmic ones.
 */

export interface Ticks {
  readonly domain: readonly [number, number];
  readonly values: readonly number[];
  readonly labels: readonly string[];
}

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/** `−12` as `⁻¹²`. */
export const superscript = (value: number): string =>
  String(value).replace(/[-\d]/g, (c) => (c === '-' ? '⁻' : (SUPERSCRIPTS[Number(c)] as string)));

/** A number as people read it: at most `digits` significant ones, thousands apart, `1.5×10⁻⁶` where zeros would hide it. */
export function formatNumber(value: number, digits = 4): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const rounded = Number(value.toPrecision(digits));
  const size = Math.abs(rounded);
  return size !== 0 && (size < 1e-3 || size >= 1e7) ? scientific(rounded) : plain(String(rounded));
}

function scientific(value: number): string {
  if (value === 0) return '0';
  const [mantissa, exponent] = value.toExponential().split('e') as [string, string];
  const factor = mantissa === '1' ? '' : mantissa === '-1' ? '−' : `${mantissa.replace('-', '−')}×`;
  return `${factor}10${superscript(Number(exponent))}`;
}

/** Decimal digits with a true minus, and thousands apart from 10,000 on. */
function plain(digits: string): string {
  const [whole, fraction] = digits.replace('-', '').split('.') as [string, string | undefined];
  const grouped = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, ',') : whole;
  return `${digits.startsWith('-') ? '−' : ''}${grouped}${fraction ? `.${fraction}` : ''}`;
}

/**
 * Ticks at multiples of 1, 2 or 5 times a power of ten.
 * @param widen whether the axis ends at the ticks beyond the data (else exactly at the data)
 * @param whole whether only whole numbers are marked
 */
export function linearTicks(lowest: number, highest: number, widen: boolean, whole = false, count = 5): Ticks {
  let [low, high] = [lowest, highest];
  // A span below what labels can show is a constant: draw it through the middle.
  if (high - low <= 1e-6 * Math.max(Math.abs(low), Math.abs(high))) {
    const margin = low === 0 ? 1 : 0.05 * Math.abs(low);
    [low, high] = [low - margin, high + margin];
  }
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const round = power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1);
  const step = whole ? Math.max(1, round) : round;
  const slack = 1e-9;
  const first = widen ? Math.floor(low / step + slack) : Math.ceil(low / step - slack);
  const last = widen ? Math.ceil(high / step - slack) : Math.floor(high / step + slack);
  const values = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  // One notation and one number of decimals for all labels of an axis.
  const top = Math.max(Math.abs(low), Math.abs(high));
  const [small, large] = [top < 1e-3, top >= 1e6];
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + slack));
  return {
    domain: widen ? [values[0] as number, values.at(-1) as number] : [low, high],
    values,
    labels: values.map((value) => (small || large ? scientific(value) : plain(value.toFixed(decimals)))),
  };
}

/** Ticks at powers of ten, thinned to a handful; within one decade or so at multiples 1, 2, 5 in plain numbers. */
export function logTicks(lowest: number, highest: number, widen: boolean, count = 8): Ticks {
  let [low, high] = [Math.log10(lowest), Math.log10(highest)];
  if (high - low < 0.01) [low, high] = [low - 0.3, high + 0.3];
  const decades = high - low;
  if (widen && decades <= 0.7) [low, high] = [low - 0.06 * decades, high + 0.06 * decades];
  if (widen && decades > 0.7) [low, high] = [Math.floor(low + 1e-9), Math.ceil(high - 1e-9)];
  // The ends of what a double can hold.
  [low, high] = [Math.max(low, -307), Math.min(high, 308)];
  const exponents = Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, i) => Math.ceil(low) + i);
  const domain = [10 ** low, 10 ** high] as const;
  if (exponents.length > 2) {
    const step = [1, 2, 5, 10, 20, 50, 100].find((s) => exponents.length / s <= count) ?? 200;
    const kept = exponents.filter((exponent) => exponent % step === 0);
    return { domain, values: kept.map((e) => 10 ** e), labels: kept.map((e) => `10${superscript(e)}`) };
  }
  const values: number[] = [];
  for (let exponent = Math.floor(low); exponent <= Math.ceil(high); exponent++) {
    for (const multiple of decades < 0.5 ? [1, 1.5, 2, 3, 4, 5, 6, 8] : [1, 2, 5]) {
      const value = Number(`${multiple}e${exponent}`);
      if (value >= domain[0] * (1 - 1e-9) && value <= domain[1] * (1 + 1e-9)) values.push(value);
    }
  }
  // Between two of those there may be none, or a single one, which says nothing of the scale.
  if (values.length < 2) return { ...linearTicks(...domain, false), domain };
  return { domain, values, labels: values.map((value) => formatNumber(value)) };
}
