// Whole steps of projected descent (ops/descent/blocks: the same rule, to rounding) for problems that stay in the first
// caches, where a step by blocks would be all overhead. Samples lie on vector lanes: features are held transposed, Hᵀ
// (p, n), so that one step is
//
//   z_c = Σ_j w_cj Hᵀ_j + b_c      G = ∂ℓ/∂z, lane by lane      ∂w_cj = Σ_lanes G_c Hᵀ_j      ∂Hᵀ_j = Σ_c w_cj G_c
//
// with the move of Hᵀ_j made as its gradient leaves the registers. Nothing is allocated, no thread is called and no
// loss is summed: whoever wants to know it measures the state. With normalized features, u = r h/‖h‖, z and G are
// scaled lane by lane by r/‖h‖, and what the gradient loses along h joins the lane's decay.
//
// What it does not do: minibatches, soft labels, dot regression and the adjusted margin; and steps from logits that are
// not small, or from features to be normalized that are nearly zero.
#pragma once

#include "core/control.h"
#include "ops/descent/plan.h"

namespace lp {

// Bytes that a row of lanes is a multiple of, and dimensions that a tile has: shapes are padded with zeros to these.
constexpr Index kLaneBytes = 64, kDimTile = 8, kClassPair = 2;

template <class T>
struct LaneLabel;
template <>
struct LaneLabel<float> {
  using type = int32_t;
};
template <>
struct LaneLabel<double> {
  using type = int64_t;
};

// What the kernel works on: N lanes, padded; P and K: p and C, padded.
template <class T>
struct LaneRun {
  Index lanes, classes, dim, padded_classes, padded_dim;
  T *features, *prototypes, *biases;                             // (P, N), (K, P), (K)
  T *features_velocity, *prototypes_velocity, *biases_velocity;  // likewise; null without momentum
  T *slopes, *prototypes_slope, *biases_slope;                   // (K, N), (K, P), (K)
  T* weights;                                                    // (N) a_y/n, or a_y; 0 in padding
  typename LaneLabel<T>::type* labels;                           // (N) −1 in padding
  T *top, *rest, *scale, *decay, *rate, *squares;                // (N) each
  LossKind kind;
  T gamma, smoothing, margin, radius;
  bool normalized, rescaled, biased;
  bool moves_features, moves_prototypes, moves_biases;
  MoveFactors features_factors, prototypes_factors, biases_factors;  // their rates are those of the step
};

// What steps of a plan would need that neither lanes nor a device's do, with the option it comes from; or null.
const char* beyond_lanes(const ProjectedDescentPlan& plan, Index samples);

template <class T>
class LaneDescent {
 public:
  // Whether a run of this plan and shape is to be made of such steps. A function of the problem alone.
  static bool suits(const ProjectedDescentPlan& plan, Index samples, Index classes, Index p);

  LaneDescent(const ProjectedDescentPlan& plan, const State<const T>& shape);

  // Takes the state and its velocity (null without momentum) `steps` steps on, or up to the first state from which it
  // does not: whether a step can be made there is for blocks to say. Returns the number of steps taken.
  Index advance(const State<T>& state, const State<T>& velocity, const double* rates_features,
                const double* rates_prototypes, const double* rates_biases, Index steps, const Control& control);

  size_t bytes() const { return bytes_of(memory_, labels_); }

 private:
  LaneRun<T> run_;
  Index samples_;
  Buffer<T> memory_;
  Buffer<typename LaneLabel<T>::type> labels_;
};

}  // namespace lp

// Takes `steps` steps, or up to a state from which there is none; returns how many.
LP_DECLARE(template <class T> Index lane_steps(LaneRun<T>& run, const double* rates_features,
                                               const double* rates_prototypes, const double* rates_biases,
                                               Index steps);)
