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

  // In which time the flow z' = f(z) is followed: its own, t; or s = log(1 + t), in which its slope is e^s f(z).
  enum class Clock { linear, logarithmic };

  struct Outcome {
    double time;   // reached: `to`; where the flow came to rest, if `to` is Infinity; or where the steps ran out
    double step;   // the length of step that the accuracy allows: for the next call
    double error;  // the sum of the local errors, over the size of the state
    bool at_rest;  // no step changes the state by more than rounding any more, nor would all that follow
    double rate;   // log ‖f(z)‖ fell by this much per unit of t towards rest; NaN where it was not seen to fall
  };

  // Goes on to the time `to`, which may be Infinity, in at most `max_steps` steps; `step` is the first one's length, or
  // 0. Throws LP_OVERFLOW where the flow leaves the range of doubles.
  Outcome follow(Clock clock, double to, double step, Index max_steps);

 private:
  // By how much the next step may be longer than one of this error.
  static double growth(double error);

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
