// How a row of logits decides on its sample: the logit of its own class, the largest of the others − their difference
// is the margin (LP §3.1) −, and the predicted class, the first of those with the largest logit. Every accuracy and
// margin that is reported comes from here, or from `predicted` where logits are never stored as they are.
#pragma once

#include <limits>

#include "core/array.h"
#include "core/dispatch.h"

namespace lp {

struct Decision {
  double own;    // z_y
  double rival;  // max_{j≠y} z_j; −∞ of none
  bool correct;  // whether y is the predicted class
};

// The rule on ties, of the label's logit and the first of the largest others.
inline Index predicted(Index label, double own, Index other, double rival) {
  return own > rival || (own == rival && label < other) ? label : other;
}

// What many decisions add up to.
struct Decisions {
  double correct = 0, margins = 0, min_margin = std::numeric_limits<double>::infinity();

  void add(const Decision& one) {
    const double margin = one.own - one.rival;
    correct += one.correct;
    margins += margin;
    if (margin < min_margin) min_margin = margin;
  }
  void add(const Decisions& more) {
    correct += more.correct;
    margins += more.margins;
    if (more.min_margin < min_margin) min_margin = more.min_margin;
  }
};

}  // namespace lp

// Of the row z (classes) of a sample of class `label`.
LP_DECLARE(template <class T> Decision decide(const T* z, Index classes, Index label);)

namespace lp {

template <class T>
Decision decide(const T* z, Index classes, Index label) {
  return LP_SELECT(decide<T>)(z, classes, label);
}

}  // namespace lp
