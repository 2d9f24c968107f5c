// A state that an operation reads in double, whatever its dtype is: without its biases.
#pragma once

#include <algorithm>

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

}  // namespace lp::addon
