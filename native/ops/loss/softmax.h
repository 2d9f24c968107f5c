// Rows of logits z (n, C) at an inverse temperature β ≥ 0: of p = softmax(βz) what decisions, calibration and scores of
// a classifier are made of.
//
// All of it comes from the lead of the decision, β(z₁ − z₂) with the two largest logits z₁ ≥ z₂, and sums over the
// other classes taken relative to z₂, which neither overflow nor vanish: a confidence that rounds to 1 still has its
// log-odds, and a loss near 0 all of its digits. Everything is computed in double, whatever the logits' type.
//
// A logit of −∞ is that of a masked class: its probability is 0, at β = 0 too, and no sum has it.
#pragma once

#include "core/array.h"
#include "core/control.h"
#include "core/dispatch.h"

namespace lp {

// By samples, each (n). Of a row with NaN or +∞, of −∞ alone, or with −∞ for its own class, the confidence is NaN and
// the rest arbitrary.
struct SoftmaxRows {
  int32_t* predicted;  // the class of the largest logit, the first of several
  double* largest;     // z₁
  double* confidence;  // p₁
  double* log_odds;    // log(p₁ / (1 − p₁))
  double* mean;        // E_p[x] − x₁, where x = βz, or z for β = 0
  double* variance;    // Var_p[x]; not for β = 0
  double* ties;        // how many logits equal the largest one
  // With labels y, else null:
  double* nll;     // −log p_y
  double* brier;   // Σ_j (p_j − 1{j = y})²
  double* missed;  // x₁ − x_y
};

// `labels` may be null.
template <class T>
void softmax_rows(Matrix<const T> logits, const int32_t* labels, double beta, const SoftmaxRows& out,
                  const Control& control);

// Plain loops over probabilities in extended precision: the oracle, where they neither overflow nor vanish.
template <class T>
void softmax_rows_ref(Matrix<const T> logits, const int32_t* labels, double beta, const SoftmaxRows& out);

}  // namespace lp

// Rows begin … end − 1.
LP_DECLARE(template <class T> void softmax_rows(const T* z, Index begin, Index end, Index classes,
                                                const int32_t* labels, double beta, const SoftmaxRows& out);)
