// A measurement of collapse, in steps: see ops/collapse.
//   collapseBegin(dtype, classes, dim, prototypes?, biases?, options) → handle
//   collapseSum(mode, handle, features, rows, labels)       the first sweep, chunk by chunk
//   collapseCenter(mode, handle)
//   collapseMeasure(mode, handle, features, rows, labels)   the second sweep, over the same rows
//   collapseResult(mode, handle) → { measures, spectrum, … }
#include <mutex>
#include <variant>

#include "addon/addon.h"
#include "addon/job.h"
#include "ops/collapse/collapse.h"

namespace lp::addon {
namespace {

// Calls on one handle run one after another, whatever threads they come from.
struct Session {
  std::variant<std::unique_ptr<Collapse<float>>, std::unique_ptr<Collapse<double>>> collapse;
  Index classes, dim;
  std::mutex mutex;
};

using Handle = std::shared_ptr<Session>;

Handle handle_argument(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsExternal()) throw Error("LP_INTERNAL", "Expected the handle of collapseBegin.");
  return *info[index].As<Napi::External<Handle>>().Data();
}

template <class T>
Napi::Value begin(const Napi::CallbackInfo& info) {
  const Index classes = size_argument(info, 1), dim = size_argument(info, 2);
  if (classes < 2 || dim < 1) throw Error("LP_SHAPE", "Expected at least two classes and one dimension.");
  const auto values = [&](size_t index, Index size) -> const T* {
    if (info[index].IsUndefined()) return nullptr;
    void* data = nullptr;
    locate(info.Env(), info[index], kArrayType<T>, size, &data);
    return static_cast<const T*>(data);
  };
  const auto object = info[5].As<Napi::Object>();
  CollapseOptions options;
  options.global_mean_of_samples = object.Get("meanOfSamples").ToBoolean();
  options.ddof = static_cast<int>(size_in(object, "ddof"));
  options.cosines = object.Get("cosines").ToBoolean();
  auto session = std::make_shared<Session>();
  session->classes = classes;
  session->dim = dim;
  session->collapse =
      std::make_unique<Collapse<T>>(classes, dim, values(3, classes * dim), values(4, classes), options);
  return Napi::External<Handle>::New(info.Env(), new Handle(session), [](Napi::Env, Handle* handle) { delete handle; });
}

template <class T>
using Sweep = void (Collapse<T>::*)(Matrix<const T>, const int32_t*, const Control&);

template <class T>
Napi::Value sweep(const Napi::CallbackInfo& info, Sweep<T> step) {
  const Handle handle = handle_argument(info, 1);
  if (!std::holds_alternative<std::unique_ptr<Collapse<T>>>(handle->collapse)) {
    throw Error("LP_DTYPE", "The chunk's dtype is not that of the measurement.");
  }
  const Index rows = size_argument(info, 3);
  const Input<T> features(info, 2, rows * handle->dim);
  const Labels labels(info, 4, rows, handle->classes);
  return run(
      info,
      [=](Control& control) {
        std::lock_guard lock(handle->mutex);
        (std::get<std::unique_ptr<Collapse<T>>>(handle->collapse).get()->*step)(features.matrix(rows, handle->dim),
                                                                                labels.get(), control);
      },
      [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace

Napi::Value collapse_begin(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return info[0].ToString().Utf8Value() == "float32" ? begin<float>(info) : begin<double>(info);
  });
}

Napi::Value collapse_sum(const Napi::CallbackInfo& info) {
  return with_float_type(info, 2, [&]<class T>() { return sweep<T>(info, &Collapse<T>::sum); });
}

Napi::Value collapse_measure(const Napi::CallbackInfo& info) {
  return with_float_type(info, 2, [&]<class T>() { return sweep<T>(info, &Collapse<T>::measure); });
}

Napi::Value collapse_center(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Handle handle = handle_argument(info, 1);
    return run(
        info,
        [=](Control& control) {
          std::lock_guard lock(handle->mutex);
          std::visit([&](auto& collapse) { collapse->center(control); }, handle->collapse);
        },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

Napi::Value collapse_result(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Handle handle = handle_argument(info, 1);
    const auto result = std::make_shared<CollapseResult>();
    return run(
        info,
        [=](Control& control) {
          std::lock_guard lock(handle->mutex);
          std::visit([&](auto& collapse) { *result = collapse->result(control); }, handle->collapse);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto measures = Napi::Object::New(env);
          for (const auto& [name, value] : result->measures) measures.Set(name, value);
          auto object = Napi::Object::New(env);
          object.Set("measures", measures);
          const auto set = [&](const char* name, const std::vector<double>& values) {
            const Output<double> array(env, std::ssize(values));
            std::copy(values.begin(), values.end(), array.get());
            object.Set(name, array.value());
          };
          const auto set_pairs = [&](const char* name, const PairCosines& pairs) {
            const Output<double> histogram(env, std::ssize(pairs.histogram));
            std::copy(pairs.histogram.begin(), pairs.histogram.end(), histogram.get());
            auto entry = Napi::Object::New(env);
            entry.Set("smallest", pairs.smallest);
            entry.Set("largest", pairs.largest);
            entry.Set("histogram", histogram.value());
            object.Set(name, entry);
          };
          set_pairs("featurePairs", result->feature_pairs);
          set_pairs("prototypePairs", result->prototype_pairs);
          set_pairs("centeredPrototypePairs", result->centered_prototype_pairs);
          set("spectrum", result->spectrum);
          set("featureCosines", result->feature_cosines);
          set("prototypeCosines", result->prototype_cosines);
          set("classNorms", result->class_norms);
          set("prototypeNorms", result->prototype_norms);
          set("centeredPrototypeNorms", result->centered_prototype_norms);
          set("classMeans", result->class_means);
          return object;
        });
  });
}

}  // namespace lp::addon
