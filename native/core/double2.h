// Numbers with twice the digits of a double, hi + lo with |lo| ≤ ½ ulp(hi): for what is multiplied by itself so often
// that the rounding of a double would show. Sums and products are right to some 2⁻¹⁰⁴ (T. J. Dekker, A floating-point
// technique for extending the available precision, 1971; D. E. Knuth, The Art of Computer Programming 2, §4.2.2).
#pragma once

#include <cmath>

namespace lp {

struct Double2 {
  double hi = 0, lo = 0;

  Double2() = default;
  Double2(double value) : hi(value) {}
  Double2(double hi, double lo) : hi(hi), lo(lo) {}

  Double2 operator+(Double2 b) const {
    const Double2 high = sum(hi, b.hi), low = sum(lo, b.lo);
    const Double2 middle = quick_sum(high.hi, high.lo + low.hi);
    return quick_sum(middle.hi, middle.lo + low.lo);
  }
  Double2 operator*(Double2 b) const {
    const double product = hi * b.hi, error = std::fma(hi, b.hi, -product);
    return quick_sum(product, error + (hi * b.lo + lo * b.hi));
  }
  Double2& operator+=(Double2 b) { return *this = *this + b; }
  // Times 2^exponent.
  Double2 shifted(int exponent) const { return {std::ldexp(hi, exponent), std::ldexp(lo, exponent)}; }
  explicit operator double() const { return hi; }

 private:
  static Double2 quick_sum(double a, double b) {  // |a| ≥ |b|
    const double s = a + b;
    return {s, b - (s - a)};
  }
  static Double2 sum(double a, double b) {
    const double s = a + b, of_b = s - a;
    return {s, (a - (s - of_b)) + (b - of_b)};
  }
};

}  // namespace lp
