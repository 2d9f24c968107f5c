// Integration of z' = f(t, z) with steps of a controlled error: Dormand and Prince 8(5,3), as in E. Hairer, S. P.
// Nørsett, G. Wanner, Solving Ordinary Differential Equations I, and their program DOP853.
#pragma once

#include <array>
#include <functional>

#include "core/array.h"
#include "core/control.h"

namespace lp {

class Integrator {
 public:
  // dz = f(t, z), each of `size` numbers.
  using Slope = std::function<void(double t, const double* z, double* dz)>;

  // Moves z, in the caller's memory, from `time` on. Local errors are held to `tolerance` of each number, or of their
  // mean size where that is more.
  Integrator(Slope slope, Index size, double* z, double time, double tolerance, const Control& control);

  double time() const { return time_; }
  double slope_norm() const;
  double state_norm() const;

  // Tries a step; returns its error in units of the tolerance, and moves if that is at most 1.
  double attempt(double step);
  // By how much the next step may be longer than one of this error.
  static double growth(double error);

 private:
  static constexpr Index kStages = 12;

  void combine(double* out, double step, const double* weights, Index count) const;
  double error_of(double step) const;

  Slope slope_;
  Index size_;
  double* z_;
  double time_, tolerance_, floor_;
  const Control& control_;
  Buffer<double> point_, next_;
  std::array<Buffer<double>, kStages> stages_;
};

}  // namespace lp
