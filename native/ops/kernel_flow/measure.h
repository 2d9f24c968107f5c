// What a kernel flow measures of a state: losses, accuracy and margins through its logits z_i = W h_i + b, which are
// made a block of samples at a time and never stored; norms, and the distance to a direction.
#pragma once

#include "core/array.h"
#include "core/control.h"

namespace lp {

struct KernelMeasures {
  double mean_own;     // mean_i z_{i, y_i}
  double mean_total;   // mean_i Σ_j z_ij;  the unhinged loss is γ mean_total − (1+γ) mean_own
  double mean_square;  // mean_i ‖z_i − e_{y_i}‖²: the MSE loss (UL Eq. 25)
  double accuracy;     // share of samples whose largest logit (the first of equals) is their own
  double min_margin;   // min_i z_y − max_{j≠y} z_j
  double mean_margin;
  double feature_norm;    // ‖H‖_F
  double prototype_norm;  // ‖W‖_F
  double distance;        // ‖Z/‖Z‖ − D‖_F, D of unit norm; 0 without D

  static constexpr Index kNumbers = 9;
};

// D, the direction that the distance is taken to, or null.
template <class T>
struct DirectionRef {
  const T* features = nullptr;
  const T* prototypes = nullptr;
};

// The state's products and squares must not leave the range of T: pass a scaled one, with biases scaled by the square.
template <class T>
KernelMeasures measure(const State<const T>& state, const DirectionRef<T>& direction, const Control& control);

// Plain loops: the oracle.
template <class T>
KernelMeasures measure_ref(const State<const T>& state, const DirectionRef<T>& direction);

}  // namespace lp
