// A state that an operation reads in double, whatever its dtype is: without its biases. Where squares of its numbers
// might leave the range of a double it is read over a power of two.
#pragma once

#include <algorithm>
#include <cmath>

#include "addon/call.h"

namespace lp::addon {

// Calls use(state) on the thread of the operation.
template <class T, class Use>
void with_wide(const StateInput<T>& given, const Use& use) {
  const auto [n, classes, p] = given.sizes;
  const State<const T> state = given.get();
  if constexpr (std::is_same_v<T, double>) {
    use(State<const double>{state.features, state.prototypes, nullptr, state.labels});
  } else {
    const Buffer<double> wide((n + classes) * p);
    std::copy_n(state.features.data, n * p, wide.get());
    std::copy_n(state.prototypes.data, classes * p, wide.get() + n * p);
    use(State<const double>{{wide.get(), n, p}, {wide.get() + n * p, classes, p}, nullptr, state.labels});
  }
}

// Calls use(state over 2^exponent) and returns the exponent, 0 where there is no need of one.
template <class T, class Use>
int with_wide_scaled(const StateInput<T>& given, const Use& use) {
  int exponent = 0;
  with_wide(given, [&](const State<const double>& state) {
    const Index features = state.features.size(), prototypes = state.prototypes.size();
    double largest = 0;
    for (Index i = 0; i < features; i++) largest = std::max(largest, std::abs(state.features.data[i]));
    for (Index i = 0; i < prototypes; i++) largest = std::max(largest, std::abs(state.prototypes.data[i]));
    constexpr double kSafe = 0x1p400;
    if (!std::isfinite(largest) || largest == 0 || (largest < kSafe && largest > 1 / kSafe)) return use(state);
    exponent = std::ilogb(largest);
    const Buffer<double> scaled(features + prototypes);
    for (Index i = 0; i < features; i++) scaled[i] = std::scalbn(state.features.data[i], -exponent);
    for (Index i = 0; i < prototypes; i++) scaled[features + i] = std::scalbn(state.prototypes.data[i], -exponent);
    use(State<const double>{{scaled.get(), state.features.rows, state.features.cols},
                            {scaled.get() + features, state.prototypes.rows, state.prototypes.cols},
                            nullptr,
                            state.labels});
  });
  return exponent;
}

}  // namespace lp::addon
