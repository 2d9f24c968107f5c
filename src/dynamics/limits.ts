/**
 * What a limit means: the regimes and statements of UL Cors. 3 and 5 and Thm 6, corrected, and of what they leave out.
 */
import type { Dynamics } from './scheduled.js';
import type { Limit, Regime } from './trajectory.js';

/** The numbers of `Limit` of native/ops/exact/trajectory, per unit of the dynamics' own time. */
export interface RawLimit {
  readonly kind: 'steady' | 'frozen' | 'oscillating';
  readonly exponent: number;
  readonly rate: number;
  readonly logNorm: number;
  readonly polynomial: boolean;
  /** What leads: differences between classes of one size, modes between sizes, or the rest. */
  readonly within: boolean;
  readonly between: boolean;
  readonly rest: boolean;
}

/** What the statement of a limit depends on. */
export interface LimitFacts extends RawLimit {
  readonly dynamics: Dynamics;
  readonly gamma: number;
  readonly classes: number;
  readonly balanced: boolean;
}

export function regimeOf({ kind, exponent, polynomial, within, between, rest, balanced, dynamics }: LimitFacts): Regime {
  if (kind === 'oscillating') return 'oscillating';
  if (kind === 'frozen') return 'stationary';
  const grows = exponent > 0 || (exponent === 0 && polynomial);
  if (!grows) return exponent < 0 ? 'vanishing' : 'stationary';
  const plain =
    dynamics.featureDecay === 0 && dynamics.prototypeDecay === 0 && dynamics.featureRate > 0 && dynamics.prototypeRate > 0;
  if (!balanced || !plain || rest) return 'diverging';
  return within && between ? 'mixed' : within ? 'aligned' : 'orthogonal';
}

const show = (value: number): string => String(Number(value.toPrecision(6)));

export function statementOf(facts: LimitFacts, { regime, exponent, rate, per }: Omit<Limit, 'statement'>): string {
  const { polynomial, dynamics } = facts;
  const unit = per === 'zeta' ? 'unit of ζ' : per === 'time' ? 'unit of time' : 'step';
  const toward = directionOf(facts);
  const speed = rate === Number.POSITIVE_INFINITY ? '' : rate === 0 ? ', slower than exponentially' : `, like e^(−${show(rate)} t)`;
  const grows = `log ‖Z‖ grows by ${show(exponent)} a ${unit}`;
  switch (regime) {
    case 'aligned':
      return `Z/‖Z‖ tends to ${toward}${speed}; ${grows} (UL Cor. 3).`;
    case 'orthogonal':
      return `Z/‖Z‖ tends to ${toward}${speed}, at distance √2 from Z̄; ${grows} (UL Cor. 3 and Fig. 1: γ > 2/(C−2), or a start without Z̄).`;
    case 'mixed':
      return `Z/‖Z‖ tends to ${toward}${speed}: γ = 0 and γ = 2/(C−2) bound the range of UL Cor. 3, and both grow alike; ${grows}.`;
    case 'vanishing':
      return `‖Z‖ tends to 0, log ‖Z‖ falling by ${show(-exponent)} a ${unit}, and Z/‖Z‖ to ${toward}${speed} (${corollary5(facts, "λ > σ: ω⁺ < 0, where the paper's proof has the sign reversed")}).`;
    case 'diverging':
      return polynomial
        ? `‖Z‖ grows like t, and Z/‖Z‖ tends to ${toward} like 1/t (${dynamics.prototypeRate === 0 ? 'UL Thm 6 without weight decay' : 'one rate is zero'}).`
        : `Z/‖Z‖ tends to ${toward}${speed}; ${grows} (${corollary5(facts, 'λ < σ')}).`;
    case 'stationary':
      return stationary(facts, speed);
    case 'oscillating':
      return `The leading mode changes sign or turns at every step (the learning rate is beyond stability, or decay and momentum leave nothing else); Z/‖Z‖ has no limit, and log ‖Z‖ changes by ${show(exponent)} a step.`;
  }
}

function stationary(facts: LimitFacts, speed: string): string {
  const { kind, dynamics, logNorm, within, between } = facts;
  if (logNorm === Number.NEGATIVE_INFINITY) return 'The start is zero and stays so.';
  if (kind === 'frozen') return 'The rates have a finite integral: Z(t) tends to what the flow or descent has reached by then.';
  if (dynamics.featureRate === 0 && dynamics.prototypeRate === 0) return 'Both rates are zero: nothing moves.';
  if (dynamics.prototypeRate === 0 && dynamics.featureDecay > 0) {
    return `H(t) tends to MᵀW/λ${speed}, the prototypes being fixed (UL Thm 6).`;
  }
  const decays = dynamics.featureDecay > 0 || dynamics.prototypeDecay > 0;
  if (!decays || (!within && !between)) return 'Nothing of the start grows: what does not decay stays.';
  return `Z(t) tends to a finite state${speed} (${corollary5(facts, 'λ = σ: (H₁⁺ + (1−s)/(1+s) H₁⁻, W₁⁺ − (1−s)/(1+s) W₁⁻)')}).`;
}

/** UL Cor. 5 where its conditions hold, or how what is found goes beyond it. */
function corollary5({ dynamics, balanced, within, between, rest }: LimitFacts, itsCase: string): string {
  if (!balanced) return 'as UL Cors. 3 and 5, with the singular values of unequal classes';
  if (dynamics.featureRate === 0 || dynamics.prototypeRate === 0) return 'as UL Thm 6, one side being fixed';
  const plain = dynamics.featureDecay === 0 && dynamics.prototypeDecay === 0;
  if (plain || rest || !within) return 'beyond UL Cors. 3 and 5: what they lead with is not in the start, or γ > 2/(C−2)';
  if (between) return 'beyond UL Cor. 5: γ = 0 or γ = 2/(C−2)';
  return dynamics.featureDecay === dynamics.prototypeDecay ? `UL Cor. 5, ${itsCase}` : 'as UL Cor. 5, with unequal decays';
}

/** The direction in words. */
function directionOf({ dynamics, balanced, within, between, rest }: LimitFacts): string {
  if (dynamics.kind === 'flow' && dynamics.prototypeRate === 0 && (within || between)) return '(MᵀW, 0)/‖MᵀW‖';
  if (rest && !within && !between) return 'what of the features differs within classes';
  if (!balanced) return 'what the leading singular mode has made of the start';
  if (within && between) return 'a mixture of the aligned direction Z̄ and the common mean';
  return within
    ? 'the aligned direction Z̄, features along their prototypes'
    : 'the common mean, the same for all classes and orthogonal to Z̄';
}
