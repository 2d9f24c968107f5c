// Descent of normalized features under fixed prototypes (UL Thm 7, Lemma 10), exact at every step.
//
// The unhinged loss of ĥ = h/‖h‖ pulls sample i along g_i = ((1+γ) w_y − γ Σ_c w_c)/n = (1+γ)/n · u_y, with the
// effective target u_y = w_y − γ/(1+γ) Σ_c w_c (the papers take Σ_c w_c = 0, where u = w). A step of learning rate η is
//
//     h ← h + η/‖h‖ (I − ĥĥᵀ) g        rescaled: the factor 1/‖h‖ is left out
//
// It stays in the plane of û and h(0). In its orthonormal basis (û, v), ĥ = c û + s v, and with α = η‖g‖/‖h‖²
// (rescaled: η‖g‖/‖h‖) and q = 1 + α² s² a step is
//
//     c ← (c + α s²)/√q      s ← s (1 − αc)/√q      ‖h‖ ← ‖h‖ √q
//
// so a sample costs O(1) a step whatever p is, and the sine keeps its relative accuracy however close ĥ is to û.
// A feature within rounding of ±û (s < 16 ε) is taken to lie on it, and stays.
#pragma once

#include <vector>

#include "core/array.h"
#include "core/control.h"
#include "core/dispatch.h"

namespace lp {

// Where the samples stand: three rows of n numbers.
struct Sphere {
  double *cosine, *sine, *norm;
  Index samples;

  // Over memory of 3 n doubles.
  static Sphere over(double* data, Index n) { return {data, data + n, data + 2 * n, n}; }
};

// Start: angles of the state, the pull ‖g_i‖ of each sample (n), and the unit targets û (C, p); û is 0 where u is.
// Throws LP_NOT_FINITE, and LP_OPTION for a feature that is zero.
template <class T>
void spherical_start(const State<const T>& state, double gamma, Sphere start, double* pull, Matrix<double> targets,
                     const Control& control);

// Advances every sample by rates.size() steps. Throws LP_OVERFLOW where a step leaves the range of doubles.
void spherical_advance(Sphere sphere, const double* pull, const std::vector<double>& rates, bool rescaled,
                       const Control& control);

// The features (n, p): ‖h‖ ((s/s0) ĥ(0) + (c − c0 s/s0) û), scaled by `scale`.
template <class T>
void spherical_features(const State<const T>& state, Matrix<const double> targets, Sphere start, Sphere now,
                        double scale, Matrix<T> out, const Control& control);

// What the logits of a sample are made of: z_j = c ahead(y, j) + s aside(i, j) + b_j.
struct SphereLogits {
  Matrix<const double> ahead;  // (C, C): w_jᵀ û_c
  Matrix<const double> aside;  // (n, C): w_jᵀ v_i; empty where no measure needs logits
  const double* biases;        // (C) or null
  const int32_t* labels;       // (n)
};

template <class T>
void spherical_logits(const State<const T>& state, Matrix<const double> targets, Sphere start, Matrix<double> ahead,
                      Matrix<double> aside, const Control& control);

// Columns of the measures.
enum SphereMeasure : Index {
  kPulled,           // Σ_i ‖g_i‖ c_i: minus the loss, but for the biases
  kSquaredDistance,  // Σ_i ‖ĥ_i − û_i‖² = Σ_i 2 (1 − c_i), without those that never move (s = 0)
  kSquaredNorm,      // Σ_i (‖h_i‖ scale)²
  kCorrect,          // samples whose largest logit (the first of equals) is their own
  kMarginSum,        // Σ_i z_y − max_{j≠y} z_j
  kMarginMin,
  kSphereMeasures
};

// Advances like spherical_advance and writes a row of measures (·, kSphereMeasures) after each of the ascending step
// counts `wanted`. The last three columns are 0 unless there are logits.
void spherical_measure(Sphere sphere, const double* pull, const std::vector<double>& rates, bool rescaled,
                       const std::vector<double>& wanted, double scale, const SphereLogits& logits, Matrix<double> out,
                       const Control& control);

}  // namespace lp

// `steps` steps of `count` samples, whose cosines, sines, norms and pulls are given.
LP_DECLARE(void spherical_steps(Index count, double* cosine, double* sine, double* norm, const double* pull,
                                const double* rates, Index steps, bool rescaled);)
