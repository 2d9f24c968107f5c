#include "core/vector.h"

#include <cmath>

namespace lp {

template <class T>
double norm(const T* x, Index size) {
  // Outside of these, squares that under- or overflow count.
  constexpr double kLeast = 0x1p-900, kMost = 0x1p1000;
  const double square = squared_norm(x, size);
  if (square > kLeast && square < kMost) return std::sqrt(square);
  double largest = 0;
  for (Index j = 0; j < size; j++) {
    const double value = std::abs(static_cast<double>(x[j]));
    if (!(value <= largest)) largest = value;  // a NaN too
  }
  if (largest == 0 || !std::isfinite(largest)) return largest;
  const int exponent = std::ilogb(largest);
  double scaled = 0;
  for (Index j = 0; j < size; j++) {
    const double value = std::scalbn(static_cast<double>(x[j]), -exponent);
    scaled += value * value;
  }
  return std::scalbn(std::sqrt(scaled), exponent);
}

template double norm(const float*, Index);
template double norm(const double*, Index);

}  // namespace lp
