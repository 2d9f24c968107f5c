/**
 * What `collapse` measures: names, formulas and sources, in one table.
 *
 * `μ_c` is the mean of class `c`, `h̄` the global mean (of class means unless told), `M_c = μ_c − h̄` the centred class means,
 * `w_c` the prototypes and `v_c = w_c − w̄` the centred ones, `h_i` a feature, `y_i` its label, `z_i = W h_i + b` its logits;
 * `Σ_W = (1/n) Σ_i (h_i − μ_{y_i})(·)ᵀ`, `Σ_B = (1/C) Σ_c M_c M_cᵀ`; `E = (I − 11ᵀ/C)/√(C−1)`, the Gram matrix of a simplex
 * frame of unit norm; `std/mean` has the divisor `C − ddof`.
 */

export interface MeasureInfo {
  /** What it says, in a line. */
  readonly meaning: string;
  readonly formula: string;
  readonly source: string;
  /** Its value at exact neural collapse; absent where there is none. */
  readonly atCollapse?: number | undefined;
  /** Whether prototypes have to be given. */
  readonly prototypes?: true | undefined;
  /** Whether it takes a second sweep over the features, with the means of the first. */
  readonly secondSweep?: true | undefined;
}

const layerPeeled = 'Ji et al., An unconstrained layer-peeled perspective on neural collapse, 2022';
const papyan = 'Papyan, Han & Donoho, Prevalence of neural collapse, 2020';
const zhu = 'Zhu et al., A geometric analysis of neural collapse with unconstrained features, 2021';
const galanti = 'Galanti, György & Hutter, On the role of neural collapse in transfer learning, 2022';

/** Every measure by its name. */
export const collapseMeasures = {
  nc1: {
    meaning: 'spread within classes against spread between them, a class',
    formula: 'tr(Σ_W Σ_B⁺)/C',
    source: `${papyan}, with the 1/C of ${zhu}`,
    atCollapse: 0,
    secondSweep: true,
  },
  nc1Papyan: {
    meaning: 'spread within classes against spread between them',
    formula: 'tr(Σ_W Σ_B⁺)',
    source: papyan,
    atCollapse: 0,
    secondSweep: true,
  },
  nc1TraceRatio: {
    meaning: 'total spread within classes against total spread between them',
    formula: 'tr Σ_W / tr Σ_B',
    source: 'a common stand-in for nc1 without the pseudo-inverse',
    atCollapse: 0,
    secondSweep: true,
  },
  nc1Cdnv: {
    meaning: 'class-distance normalized variance, mean over pairs of classes',
    formula: 'mean_{c<d} (s_c + s_d)/(2‖μ_c − μ_d‖²), s_c = mean_{y_i=c} ‖h_i − μ_c‖²',
    source: galanti,
    atCollapse: 0,
    secondSweep: true,
  },
  withinClassVariation: {
    meaning: 'mean distance to the class mean against mean distance to the global mean',
    formula: 'mean_i ‖h_i − μ_{y_i}‖ / mean_i ‖h_i − h̄‖',
    source: layerPeeled,
    atCollapse: 0,
    secondSweep: true,
  },
  featureNormVariation: {
    meaning: 'variation of the lengths of centred class means',
    formula: 'std/mean of ‖M_c‖',
    source: `${papyan}; ${layerPeeled}`,
    atCollapse: 0,
  },
  featureCosine: {
    meaning: 'deviation of the angles between centred class means from the simplex',
    formula: 'mean_{c<d} |cos(M_c, M_d) + 1/(C−1)|',
    source: `${papyan}; ${layerPeeled}`,
    atCollapse: 0,
  },
  prototypeNormVariation: {
    meaning: 'variation of the lengths of prototypes',
    formula: 'std/mean of ‖w_c‖',
    source: papyan,
    atCollapse: 0,
    prototypes: true,
  },
  centeredPrototypeNormVariation: {
    meaning: 'variation of the lengths of centred prototypes',
    formula: 'std/mean of ‖v_c‖',
    source: layerPeeled,
    atCollapse: 0,
    prototypes: true,
  },
  centeredPrototypeCosine: {
    meaning: 'deviation of the angles between centred prototypes from the simplex',
    formula: 'mean_{c<d} |cos(v_c, v_d) + 1/(C−1)|',
    source: `${papyan}; ${layerPeeled}`,
    atCollapse: 0,
    prototypes: true,
  },
  nc2: {
    meaning: 'distance of the Gram matrix of centred prototypes from that of a simplex',
    formula: '‖V Vᵀ/‖V Vᵀ‖_F − E‖_F',
    source: `${zhu}, with centred prototypes`,
    atCollapse: 0,
    prototypes: true,
  },
  nc2Zhu: {
    meaning: 'distance of the Gram matrix of prototypes from that of a simplex',
    formula: '‖W Wᵀ/‖W Wᵀ‖_F − E‖_F',
    source: zhu,
    atCollapse: 0,
    prototypes: true,
  },
  nc3: {
    meaning: 'distance of the products of centred prototypes and class means from a simplex',
    formula: '‖V Mᵀ/‖V Mᵀ‖_F − E‖_F',
    source: `${zhu}, with centred prototypes`,
    atCollapse: 0,
    prototypes: true,
  },
  nc3Zhu: {
    meaning: 'distance of the products of prototypes and centred class means from a simplex',
    formula: '‖W Mᵀ/‖W Mᵀ‖_F − E‖_F',
    source: zhu,
    atCollapse: 0,
    prototypes: true,
  },
  dualityFrobenius: {
    meaning: 'squared distance between prototypes and centred class means, each of unit norm as a matrix (the NC3 of its source)',
    formula: '‖W/‖W‖_F − M/‖M‖_F‖_F²',
    source: papyan,
    atCollapse: 0,
    prototypes: true,
  },
  selfDuality: {
    meaning: 'mean distance between the directions of centred prototypes and centred class means',
    formula: 'mean_c ‖M_c/‖M_c‖ − v_c/‖v_c‖‖',
    source: layerPeeled,
    atCollapse: 0,
    prototypes: true,
  },
  alignment: {
    meaning: 'mean cosine between prototypes and centred class means',
    formula: 'mean_c cos(M_c, w_c)',
    source: 'the unhinged-loss paper aligns each feature with its prototype',
    atCollapse: 1,
    prototypes: true,
  },
  nc4: {
    meaning: 'share of samples that the classifier and the nearest class centre decide differently',
    formula: 'mean_i [argmax_c z_ic ≠ argmin_c ‖h_i − μ_c‖]',
    source: papyan,
    atCollapse: 0,
    prototypes: true,
    secondSweep: true,
  },
  nc4Zhu: {
    meaning: 'length of the logits of the global mean: whether the biases cancel it',
    formula: '‖W h̄ + b‖',
    source: zhu,
    atCollapse: 0,
    prototypes: true,
  },
  accuracy: {
    meaning: 'share of samples whose largest logit is that of their label (the first of equal ones)',
    formula: 'mean_i [argmax_c z_ic = y_i]',
    source: 'usual',
    atCollapse: 1,
    prototypes: true,
    secondSweep: true,
  },
  minMargin: {
    meaning: 'smallest margin of a sample',
    formula: 'min_i (z_iy − max_{c≠y} z_ic)',
    source: layerPeeled,
    prototypes: true,
    secondSweep: true,
  },
  meanMargin: {
    meaning: 'mean margin of the samples',
    formula: 'mean_i (z_iy − max_{c≠y} z_ic)',
    source: 'usual',
    prototypes: true,
    secondSweep: true,
  },
} as const satisfies Record<string, MeasureInfo>;

/** Name of a measure. */
export type CollapseMeasure = keyof typeof collapseMeasures;

/** Names of the measures that need prototypes. */
export type PrototypeMeasure = {
  [K in CollapseMeasure]: (typeof collapseMeasures)[K] extends { prototypes: true } ? K : never;
}[CollapseMeasure];
