// projections(mode, features, prototypes, labels, n, C, p) → features of the five parts, then prototypes of the five:
// see ops/linear/projections.
#include "ops/linear/projections.h"

#include "addon/addon.h"
#include "addon/job.h"

namespace lp::addon {

Napi::Value projections(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const Index n = size_argument(info, 4), classes = size_argument(info, 5), p = size_argument(info, 6);
    const Input<T> features(info, 1, n * p), prototypes(info, 2, classes * p);
    const Labels labels(info, 3, n, classes);
    std::vector<Output<T>> parts;
    for (int i = 0; i < 10; i++) parts.emplace_back(info.Env(), (i < 5 ? n : classes) * p);
    return run(
        info,
        [=](Control& control) {
          Projections<T> out;
          for (int i = 0; i < 5; i++) {
            out.features[i] = parts[i].get();
            out.prototypes[i] = parts[5 + i].get();
          }
          lp::projections<T>({features.matrix(n, p), prototypes.matrix(classes, p), nullptr, labels.get()}, out,
                             control);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto result = Napi::Array::New(env, parts.size());
          for (uint32_t i = 0; i < parts.size(); i++) result.Set(i, parts[i].value());
          return result;
        });
  });
}

}  // namespace lp::addon
