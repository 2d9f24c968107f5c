// The learning rate, or the factor of one, at the steps k = 0, 1, … of a descent: a product of shapes, each
// value · f(k) · min(1, (k+1)/warmup),
//
//   constant     f(k) = 1
//   cosine       f(k) = ½ (1 + cos(π k/period)) up to `period`, 0 after
//   exponential  f(k) = e^{−k/timescale}
//   steps        f(k) = factor^m, m the number of milestones ≤ k
//
// as src/dynamics/rates.ts has them; or numbers one by one, of a function that is not known here.
#pragma once

#include <limits>
#include <vector>

#include "core/array.h"

namespace lp {

class Schedule {
 public:
  struct Shape {
    enum class Kind { constant, cosine, exponential, steps } kind = Kind::constant;
    double value = 1;
    double warmup = 0;
    double length = 1;               // period or timescale
    double factor = 1;               // of `steps`
    std::vector<double> milestones;  // ascending
  };
  static constexpr Index kForever = std::numeric_limits<Index>::max();

  Schedule() = default;  // 1 at every step
  explicit Schedule(std::vector<Shape> shapes) : shapes_(std::move(shapes)) {}
  static Schedule listed(std::vector<double> values);

  // Stretches are cut where a shape changes its form. The first step after that of `step`, or kForever; and whether all
  // steps of a stretch have one value.
  Index stretch_end(Index step) const;
  bool constant(Index step) const;
  // The values of steps first … first + count − 1. Throws LP_OPTION beyond those that are listed.
  void fill(Index first, Index count, double* out) const;

  size_t bytes() const { return bytes_of(values_); }

 private:
  std::vector<Shape> shapes_;
  std::vector<double> values_;
  bool listed_ = false;
};

}  // namespace lp
