// A state that an operation reads in double, whatever its dtype is: without its biases.
#pragma once

#include <algorithm>

#include "addon/job.h"

namespace lp::addon {

template <class T>
class WideState {
 public:
  // Features, prototypes, labels and sizes from argument 1 on.
  explicit WideState(const Napi::CallbackInfo& info)
      : sizes_(info[4].As<Napi::Object>()),
        features_(info, 1, sizes_.samples * sizes_.dim),
        prototypes_(info, 2, sizes_.classes * sizes_.dim),
        labels_(info, 3, sizes_.samples, sizes_.classes) {}

  Index samples() const { return sizes_.samples; }
  Index classes() const { return sizes_.classes; }
  Index dim() const { return sizes_.dim; }

  // Calls use(state) on the thread of the operation.
  template <class Use>
  void with(const Use& use) const {
    const auto& [n, classes, p] = sizes_;
    if constexpr (std::is_same_v<T, double>) {
      use(State<const double>{features_.matrix(n, p), prototypes_.matrix(classes, p), nullptr, labels_.get()});
    } else {
      const Buffer<double> wide((n + classes) * p);
      std::copy_n(features_.get(), n * p, wide.get());
      std::copy_n(prototypes_.get(), classes * p, wide.get() + n * p);
      use(State<const double>{{wide.get(), n, p}, {wide.get() + n * p, classes, p}, nullptr, labels_.get()});
    }
  }

 private:
  struct Sizes {
    explicit Sizes(Napi::Object given)
        : samples(size_in(given, "samples")), classes(size_in(given, "classes")), dim(size_in(given, "dim")) {
      if (samples < 1 || classes < 2 || dim < 1) {
        throw Error("LP_SHAPE", "A state has at least one sample, two classes and one dimension.");
      }
    }
    Index samples, classes, dim;
  };
  Sizes sizes_;
  Input<T> features_, prototypes_;
  Labels labels_;
};

}  // namespace lp::addon
