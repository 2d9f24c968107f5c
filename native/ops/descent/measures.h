// What a projected descent measures of a state (DescentMeasure), from one pass over the samples: `before` it, `look` at
// each sample with its gradient, `after` it. A pass that also moves the state can be looked at as well.
#pragma once

#include <limits>

#include "ops/descent/plan.h"

namespace lp {

// What the measures of one state are made of.
struct StateSums {
  LossSummary loss;
  double features = 0, prototypes = 0;                       // ‖H‖², ‖W‖²
  double by_features = 0, by_prototypes = 0, by_biases = 0;  // ‖∇‖² by the parts that move
  double slope = 0;                                          // ‖∇‖² by features and prototypes
  double along = 0;                                          // ⟨θ, ∇⟩ of features and prototypes
  double distance = 0;                                       // ‖Z − D‖²
  double residual = 0;                                       // stationarity²
  // Of plain cross-entropy whose loss may be far below the range of T, in logarithms: log L of the sum, and the cosine
  // of θ and −∇L; NaN where they are not needed.
  double log_loss = std::numeric_limits<double>::quiet_NaN();
  double alignment = std::numeric_limits<double>::quiet_NaN();
};

template <class T>
class DescentMeasures {
 public:
  // The plan must outlive it. target (n, p) and (C, p), or null.
  DescentMeasures(const ProjectedDescentPlan& plan, Index samples, Index classes, Index p, const T* target_features,
                  const T* target_prototypes);

  // Whether anything that is measured is made of gradients; if not, nobody has to look.
  bool differentiates() const { return differentiates_; }

  // squares: ‖h_i‖² (n).
  void before(const State<T>& state, const Buffer<double>& squares, StateSums& sums, const Control& control);
  void look(const State<T>& state, Index sample, const T* gradient) const;
  // gradient: ∂L/∂W and ∂L/∂b.
  void after(const State<T>& state, const State<T>& gradient, const LossSummary& loss, StateSums& sums) const;

  double value(DescentMeasure measure, const StateSums& sums) const;

  size_t bytes() const { return bytes_of(slopes_, alongs_, residuals_, distances_, target_); }

 private:
  void in_logarithms(const State<T>& state, double largest_square, StateSums& sums, const Control& control) const;
  double residual_of_features(const StateSums& sums) const;
  double residual_of_prototypes(Matrix<T> x, Matrix<T> g) const;

  const ProjectedDescentPlan& plan_;
  const Index samples_, classes_, p_;
  const bool differentiates_, stationarity_, in_logarithms_;
  Buffer<double> slopes_, alongs_, residuals_, distances_;  // of each sample: ‖g‖², ⟨h, g⟩, residual², ‖h − d‖²
  Buffer<T> target_;                                        // D: (n, p), then (C, p); or empty
};

}  // namespace lp
