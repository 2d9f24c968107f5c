/**
 * Descent with weight decay λ1 = λ2 = λ, as UL Figs. 4–8 draw it: what each of a list of runs measures, and what Theorem 4
 * and Corollary 5 say of it. With σ = (1+γ)/(C√N) and s = η1/η2 the parts Π1± grow at η2 ω±,
 * ω± = (−λ(s+1) ± √(λ²(s−1)² + 4sσ²))/2, so that ‖Z‖ vanishes above λ* = σ, diverges below it, and at λ*
 * Z → Z̄ = (H1⁺ + (1−s)/(1+s) H1⁻, W1⁺ − (1−s)/(1+s) W1⁻).
 */
import type { NDArray, State } from '../array/ndarray.js';
import { gradientDescent } from '../dynamics/descent.js';
import { spectralProjections } from '../dynamics/projections.js';
import { lineChart } from '../report/figure.js';
import type { PageFigure, Verdict } from '../report/page.js';
import type { Experiment, ExperimentContext, Findings } from './experiment.js';
import { exponentOf, within } from './fit.js';
import { distance, type Setting, sigma1, sigma2, start } from './setting.js';

/** One curve of a figure. */
export interface Curve {
  readonly label: string;
  readonly gamma: number;
  readonly weightDecay: number;
  readonly learningRates: { readonly features: number; readonly prototypes: number };
}

/** A curve with what was measured along it, a number for each time. */
export interface Measured extends Curve {
  readonly columns: Readonly<Record<Quantity, ArrayLike<number>>>;
}

/** What Figs. 4–8 draw: [title of the axis, scale]. */
const quantities = {
  accuracy: ['accuracy', 'linear'],
  logFeatureNorm: ['log ‖H‖', 'linear'],
  logPrototypeNorm: ['log ‖W‖', 'linear'],
  featureDistance: ['‖H(t) − H̄‖', 'log'],
  prototypeDistance: ['‖W(t) − W̄‖', 'log'],
  normDifference: ['|‖H‖ − ‖W‖| / ‖Z‖', 'log'],
} as const;

type Quantity = keyof typeof quantities;

/** Runs every curve from the same start and keeps the columns as they come. */
async function traceAll(
  { signal, progress, folder }: ExperimentContext,
  setting: Setting,
  curves: readonly Curve[],
  times: readonly number[],
): Promise<Measured[]> {
  const initial = start(setting);
  const { plus1, minus1 } = await spectralProjections(initial, { signal });
  const traced: Measured[] = [];
  for (const [i, curve] of curves.entries()) {
    const { gamma, weightDecay, learningRates, label } = curve;
    progress(i / curves.length, label);
    const s = learningRates.features / learningRates.prototypes;
    const limit = {
      features: combine(plus1.features, minus1.features, (1 - s) / (1 + s)),
      prototypes: combine(plus1.prototypes, minus1.prototypes, -(1 - s) / (1 + s)),
    };
    using trajectory = await gradientDescent(initial, { gamma, learningRates, weightDecay, signal });
    const measured = await trajectory.measure(times, ['accuracy', 'logNorm', 'logFeatureNorm', 'logPrototypeNorm'], { signal });
    const distances = { featureDistance: [] as number[], prototypeDistance: [] as number[] };
    for (const time of times) {
      const state: State = await trajectory.at(time, { signal });
      distances.featureDistance.push(distance(state.features, limit.features));
      distances.prototypeDistance.push(distance(state.prototypes, limit.prototypes));
    }
    const { logNorm, ...shown } = measured;
    const normDifference = times.map((_, k) =>
      Math.abs(
        Math.exp((shown.logFeatureNorm[k] as number) - (logNorm[k] as number)) -
          Math.exp((shown.logPrototypeNorm[k] as number) - (logNorm[k] as number)),
      ),
    );
    traced.push({ ...curve, columns: { ...shown, ...distances, normDifference } });
    await folder.metrics({
      step: times,
      ...Object.fromEntries(
        traced.flatMap((each) => Object.entries(each.columns).map(([name, column]) => [`${name} (${each.label})`, column])),
      ),
    });
  }
  return traced;
}

function combine(x: NDArray, y: NDArray, factor: number): NDArray {
  return { shape: x.shape, data: x.data.map((value, i) => value + factor * (y.data[i] as number)) };
}

/** A figure of one quantity, a line for each curve. */
interface Drawn {
  readonly quantity: Quantity;
  readonly title: string;
  readonly caption: string;
  readonly xScale?: 'linear' | 'log' | undefined;
  readonly domain?: readonly [number, number] | undefined;
}

/** What one of Figs. 4–8 is in a setting: its curves, what is stated of them, and what is drawn. */
interface Figure extends Pick<Findings, 'lead'> {
  readonly curves: readonly Curve[];
  /** The steps that are measured; the last one ends the runs. */
  readonly times: readonly number[];
  readonly verdicts: (runs: readonly Measured[]) => readonly Verdict[];
  readonly section: { readonly title: string; readonly formulas?: readonly string[] };
  readonly figures: readonly Drawn[];
}

/** The experiment of a figure. */
export function regularized<P extends Setting>({
  figure,
  ...named
}: Omit<Experiment<P>, 'run'> & { readonly figure: (config: P) => Figure }): Experiment<P> {
  return {
    ...named,
    async run(context, config) {
      const { curves, times, lead, verdicts, section, figures } = figure(config);
      const runs = await traceAll(context, config, curves, times);
      const drawn: PageFigure[] = [];
      for (const figure of figures) drawn.push(await draw(context, runs, times, figure));
      return { lead, verdicts: verdicts(runs), sections: [{ ...section, figures: drawn }] };
    },
  };
}

function draw(
  { folder }: ExperimentContext,
  runs: readonly Measured[],
  times: readonly number[],
  { quantity, title, caption, xScale = 'linear', domain }: Drawn,
): Promise<PageFigure> {
  const [yTitle, scale] = quantities[quantity];
  const series = runs.map(({ label, columns }) => ({ name: label, x: times, y: columns[quantity] }));
  return folder.figure(
    quantity,
    lineChart({ title, x: { title: 'step', scale: xScale }, y: { title: yTitle, scale, ...(domain && { domain }) }, series }),
    caption,
  );
}

/** ω± of Corollary 5, per unit of ζ2. */
function omega(sigma: number, { weightDecay: lambda, learningRates }: Curve, sign: 1 | -1): number {
  const s = learningRates.features / learningRates.prototypes;
  return (-lambda * (s + 1) + sign * Math.sqrt(lambda ** 2 * (s - 1) ** 2 + 4 * s * sigma ** 2)) / 2;
}

/** Exponent per step at which ‖Z‖ grows in the end, for 0 < γ < 2/(C−2): η2 ω+. */
export const growthExponent = (curve: Curve, of: Setting): number =>
  curve.learningRates.prototypes * omega(sigma1(curve.gamma, of), curve, 1);

/** Exponent per step at which what does not belong to the limit falls: the slowest of Π1⁻, Π2± and Π3. */
export function convergenceExponent(curve: Curve, of: Setting): number {
  const rest = -curve.weightDecay * (curve.learningRates.features / curve.learningRates.prototypes);
  return (
    curve.learningRates.prototypes *
    Math.max(omega(sigma1(curve.gamma, of), curve, -1), omega(sigma2(curve.gamma, of), curve, 1), rest)
  );
}

/** Whether ‖H‖ and ‖W‖ approach each other at the pace of Corollary 5 with s = 1. */
export const normsApproach = ({ label, gamma, learningRates, columns }: Measured, times: readonly number[], of: Setting): Verdict =>
  within(
    `${label}: ‖H‖ and ‖W‖ approach, exponent per step (the same for every λ)`,
    -2 * learningRates.features * sigma1(gamma, of),
    exponentOf(times, columns.normDifference),
    0.01,
  );
