// products(mode, features, prototypes, labels, n, C, p, gamma) → [features, prototypes, biases]: see
// ops/linear/products.
#include "ops/linear/products.h"

#include "addon/addon.h"
#include "addon/job.h"

namespace lp::addon {

Napi::Value products(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const Index n = size_argument(info, 4), classes = size_argument(info, 5), p = size_argument(info, 6);
    const double gamma = number_argument(info, 7);
    const Input<T> features(info, 1, n * p), prototypes(info, 2, classes * p);
    const Labels labels(info, 3, n, classes);
    const Output<T> h(info.Env(), n * p), w(info.Env(), classes * p), b(info.Env(), classes);
    return run(
        info,
        [=](Control& control) {
          lp::products<T>({features.matrix(n, p), prototypes.matrix(classes, p), nullptr, labels.get()}, gamma,
                          {h.matrix(n, p), w.matrix(classes, p), b.get(), labels.get()}, control);
        },
        [=](Napi::Env env) -> Napi::Value { return array_of(env, {h.value(), w.value(), b.value()}); });
  });
}

}  // namespace lp::addon
