// One mode of the linear dynamics: a pair (h, w) under (h, w)' = A (h, w),
//
//   A = [[−λ1 η1, σ η1], [σ η2, −λ2 η2]],   eigenvalues slow ≤ fast, both real as A12 A21 ≥ 0.
//
// Flow with proportional rates, plain descent, heavy ball and Nesterov are all functions F of A. In Newton's form
//
//   F(A) = F(slow) I + F[slow, fast] (A − slow I)
//
// with the divided difference F[slow, fast] = (F(fast) − F(slow))/(fast − slow), nothing cancels where the eigenvalues
// meet, and (A − slow I) z is along the eigenvector of `fast`: the direction that wins in the end. For the flow this is
// the stable e^μ (cosh Δ I + sinh Δ/Δ (S − μ I)) of UL Thm 4, arranged so.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace lp {

struct Mat2 {
  double hh = 0, hw = 0, wh = 0, ww = 0;

  Mat2 operator*(const Mat2& b) const {
    return {hh * b.hh + hw * b.wh, hh * b.hw + hw * b.ww, wh * b.hh + ww * b.wh, wh * b.hw + ww * b.ww};
  }
  Mat2 operator*(double x) const { return {hh * x, hw * x, wh * x, ww * x}; }
  Mat2 operator+(const Mat2& b) const { return {hh + b.hh, hw + b.hw, wh + b.wh, ww + b.ww}; }
  Mat2 operator-(const Mat2& b) const { return {hh - b.hh, hw - b.hw, wh - b.wh, ww - b.ww}; }
  double dot(const Mat2& b) const { return hh * b.hh + hw * b.hw + wh * b.wh + ww * b.ww; }
  double norm() const { return std::sqrt(dot(*this)); }
  double largest() const {
    return std::max(std::max(std::abs(hh), std::abs(hw)), std::max(std::abs(wh), std::abs(ww)));
  }
};

inline Mat2 scalar(double x) { return {x, 0, 0, x}; }

struct Rates {
  double features, prototypes;            // η1, η2
  double feature_decay, prototype_decay;  // λ1, λ2
};

struct Pair {
  Pair(double sigma, const Rates& rates)
      : a{-rates.feature_decay * rates.features, sigma * rates.features, sigma * rates.prototypes,
          -rates.prototype_decay * rates.prototypes} {
    const double middle = (a.hh + a.ww) / 2, half = (a.hh - a.ww) / 2;
    const double coupling = std::sqrt(std::abs(a.hw)) * std::sqrt(std::abs(a.wh)), radius = std::hypot(half, coupling);
    // At the critical weight decay (UL Cor. 5, λ = σ) `fast` is zero but for rounding.
    const double rounding = 8 * std::numeric_limits<double>::epsilon() * (std::abs(middle) + radius);
    fast = std::abs(middle + radius) <= rounding ? 0 : middle + radius;
    slow = middle - radius;
    gap = 2 * radius;
    lift = {half >= 0 ? half + radius : coupling * (coupling / (radius - half)), a.hw, a.wh,
            half <= 0 ? radius - half : coupling * (coupling / (radius + half))};
  }

  Mat2 a;
  double slow, fast, gap;
  Mat2 lift;  // A − slow I
};

}  // namespace lp
