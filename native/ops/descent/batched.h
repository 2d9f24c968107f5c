// Many runs of projected descent on a device, a block a run: state, velocity and slopes stay in the block's shared
// memory for as many steps as a launch takes. A step is that of lanes (ops/descent/lanes: the same rule, the same
// refusals, to rounding):
//
//   Z = H Wᵀ + b      G = ∂ℓ/∂Z, a thread a row      ∂W = GᵀH      H moves by G W, a warp a row      W and b move
//
// Whatever is looked at on the way is looked at on the CPU, by the code of every other run (ops/descent/projected).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "ops/descent/projected.h"

namespace lp {

// Where the parts of a run lie in a block's shared memory, in elements of T behind kScratch doubles. Rows are an odd
// number of elements apart, lest lanes that walk down a column meet in a bank.
struct SharedParts {
  static constexpr int kScratch = 8;  // a warp's share of a sum each

  SharedParts(Index samples, Index classes, Index p, bool moving);

  int dim_stride, class_stride;
  Index features, prototypes, biases;                             // (n, p), (C, p), (C)
  Index features_velocity, prototypes_velocity, biases_velocity;  // likewise; nowhere without momentum
  Index slopes, prototypes_slope, biases_slope;                   // (n, C), (C, p), (C)
  Index weights, decay, rate, scale, labels;                      // (n) each
  Index size;
  template <class T>
  Index bytes() const {
    return kScratch * Index{sizeof(double)} + size * Index{sizeof(T)};
  }
};

// The most that a block of any device may have, in bytes.
constexpr Index kMostShared = 227 * 1024;

// What runs of a plan and shape would need that a device's do not have, as words to stand after "no"; empty: nothing.
template <class T>
std::string beyond_devices(const ProjectedDescentPlan& plan, Index samples, Index classes, Index p);

namespace cuda {

// `advance_all` on a device, of runs that have nothing beyond it.
template <class T>
void advance_all(Job& job, const std::vector<std::unique_ptr<ProjectedDescent<T>>>& runs, const double* rates,
                 bool rates_of_each, Index steps, bool shown, std::vector<DescentOutcome>& outcomes);

}  // namespace cuda
}  // namespace lp
