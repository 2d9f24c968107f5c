// evaluate(mode, features, prototypes, biases?, labels, sizes, limitFeatures?, limitPrototypes?) → the numbers of an
// Evaluation in their order; see ops/kernel_flow/measure.
#include "ops/kernel_flow/measure.h"

#include <algorithm>
#include <iterator>
#include <memory>

#include "addon/addon.h"
#include "addon/job.h"

namespace lp::addon {

Napi::Value evaluate(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const auto sizes = info[5].As<Napi::Object>();
    const Index n = size_in(sizes, "samples"), classes = size_in(sizes, "classes"), p = size_in(sizes, "dim");
    const auto optional = [&](size_t index, Index size) {
      return info[index].IsTypedArray() ? std::make_shared<Input<T>>(info, index, size) : nullptr;
    };
    const Input<T> features(info, 1, n * p), prototypes(info, 2, classes * p);
    const auto biases = optional(3, classes), toward = optional(6, n * p), toward_w = optional(7, classes * p);
    if (!toward != !toward_w) throw Error("LP_SHAPE", "A direction needs both features and prototypes.");
    const Labels labels(info, 4, n, classes);
    const Output<double> out(info.Env(), Evaluation::kNumbers);
    return run(
        info,
        [=](Control& control) {
          const State<const T> state{features.matrix(n, p), prototypes.matrix(classes, p),
                                     biases ? biases->get() : nullptr, labels.get()};
          DirectionRef<T> direction;
          if (toward) direction = {toward->get(), toward_w->get()};
          const Evaluation e = lp::evaluate(state, direction, control);
          const double numbers[] = {e.mean_own,    e.mean_total,   e.mean_square,    e.accuracy, e.min_margin,
                                    e.mean_margin, e.feature_norm, e.prototype_norm, e.distance};
          std::copy(std::begin(numbers), std::end(numbers), out.get());
        },
        [=](Napi::Env) { return out.value(); });
  });
}

}  // namespace lp::addon
