// Numbers that grow or shrink without bound are kept well inside the range of a double, times 2^exponent.
#pragma once

#include <cmath>

namespace lp {

constexpr double kLog2 = 0.693147180559945309417;

// The exponent by which numbers of this size should be divided; 0 while there is room for a step of any size.
inline int excess(double size) {
  constexpr double kLarge = 0x1p+32, kSmall = 0x1p-32;
  return size > kLarge || (size < kSmall && size > 0) ? std::ilogb(size) : 0;
}

}  // namespace lp
