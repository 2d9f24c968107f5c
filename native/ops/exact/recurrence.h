// Linear recurrences of a descent, y ← M(f) y on four numbers: step by step, or, while the learning rates f stay the
// same, by powers of M, so that any step costs the same.
//
// M^k comes from repeated squaring in double-double numbers: a squaring doubles the relative error of what it squares,
// so M^k is right to k 2⁻¹⁰⁴, a double's rounding up to the largest step there is, 2⁵³. It needs no eigenvalues, which
// would have to be told apart where they meet. What grows or shrinks is kept inside the range of numbers, times
// 2^exponent.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>

#include "core/array.h"
#include "core/double2.h"
#include "ops/exact/scale.h"

namespace lp {

// Learning rates of one step, of what belongs to the features and to the prototypes.
struct StepRates {
  double features = 1, prototypes = 1;
};

// Rule::step(y, rates) makes y (4) into M y, in any type of numbers. `columns` vectors are moved alike.
template <class Rule, Index columns>
class Recurrence {
 public:
  template <class N>
  using Vector = std::array<N, 4>;
  using Values = std::array<Vector<double>, columns>;

  // Powers are of this many steps at least; what is left is stepped.
  static constexpr int kBlockBits = 14;
  static constexpr Index kBlock = Index{1} << kBlockBits;

  Recurrence(const Rule& rule, const Values& start) : rule_(rule), now_{start, 0} {}

  const Vector<double>& operator[](Index column) const { return now_.values[column]; }
  int64_t exponent() const { return now_.exponent; }

  void step(const StepRates& rates) {
    double size = 0;
    for (Vector<double>& y : now_.values) {
      rule_.step(y, rates);
      for (const double x : y) size = std::max(size, std::abs(x));
    }
    const int e = excess(size);
    if (e == 0) return;
    for (Vector<double>& y : now_.values)
      for (double& x : y) x = std::ldexp(x, -e);
    now_.exponent += e;
  }

  // From here on the learning rates stay the same: `jump` counts from here.
  void begin_stretch() {
    begin_ = now_;
    block_ = nullptr;
  }
  void jump(Index blocks, const StepRates& rates) {
    if (!block_) block_ = std::make_shared<const Power>(block(rates));
    std::array<Vector<Double2>, columns> values;
    for (Index c = 0; c < columns; c++) std::copy(begin_.values[c].begin(), begin_.values[c].end(), values[c].begin());
    now_.exponent = begin_.exponent;
    Power power = *block_;
    for (; blocks > 0; blocks >>= 1) {
      if (blocks & 1) {
        double size = 0;
        for (Vector<Double2>& y : values) {
          y = times(power.m, y);
          for (const Double2& x : y) size = std::max(size, std::abs(x.hi));
        }
        const int e = excess(size);
        for (Vector<Double2>& y : values)
          for (Double2& x : y) x = x.shifted(-e);
        now_.exponent += power.exponent + e;
      }
      if (blocks > 1) power = squared(power);
    }
    for (Index c = 0; c < columns; c++)
      for (int i = 0; i < 4; i++) now_.values[c][i] = static_cast<double>(values[c][i]);
  }

 private:
  using Matrix4 = std::array<Vector<Double2>, 4>;  // columns
  struct Power {
    Matrix4 m;
    int64_t exponent;
  };
  struct State {
    Values values;
    int64_t exponent;
  };

  static Vector<Double2> times(const Matrix4& m, const Vector<Double2>& y) {
    Vector<Double2> out;
    for (int j = 0; j < 4; j++) {
      if (y[j].hi == 0) continue;
      for (int i = 0; i < 4; i++)
        if (m[j][i].hi != 0) out[i] += m[j][i] * y[j];
    }
    return out;
  }

  static Power squared(const Power& power) {
    Power out{{}, 2 * power.exponent};
    double size = 0;
    for (int j = 0; j < 4; j++) {
      out.m[j] = times(power.m, power.m[j]);
      for (const Double2& x : out.m[j]) size = std::max(size, std::abs(x.hi));
    }
    if (const int e = excess(size)) {
      for (Vector<Double2>& column : out.m)
        for (Double2& x : column) x = x.shifted(-e);
      out.exponent += e;
    }
    return out;
  }

  // M^kBlock. The columns of M are the steps of the unit vectors.
  Power block(const StepRates& rates) const {
    Power power{{}, 0};
    for (int j = 0; j < 4; j++) {
      power.m[j][j] = 1;
      rule_.step(power.m[j], rates);
    }
    for (int i = 0; i < kBlockBits; i++) power = squared(power);
    return power;
  }

  Rule rule_;
  State now_, begin_{};
  std::shared_ptr<const Power> block_;
};

}  // namespace lp
