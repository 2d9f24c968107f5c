// A measurement of collapse, in steps: see ops/collapse.
//   collapseBegin({ dtype, classes, dim, prototypes?, biases?, means?, counts?, meanOfSamples, ddof, cosines })
//   → handle
//   collapseSum(mode, handle, { features, labels, rows })       the first sweep, chunk by chunk; not with means
//   collapseCenter(mode, handle)
//   collapseMeasure(mode, handle, { features, labels, rows })   the second sweep, over the same rows, or none
//   collapseResult(mode, handle) → { measures, spectrum, … }    the last step
#include <atomic>
#include <variant>

#include "addon/handle.h"
#include "ops/collapse/collapse.h"

namespace lp::addon {
namespace {

enum class Stage { begun, summed, centered, done };

struct Measurement {
  static constexpr Kind kKind = Kind::collapse;

  std::variant<std::unique_ptr<Collapse<float>>, std::unique_ptr<Collapse<double>>> collapse;
  Index classes, dim;
  Turns turns;
  Stage stage = Stage::begun;
  std::atomic<int64_t> size = 0;

  int64_t bytes() const { return size; }

  // After a step that may have changed it.
  void weigh() {
    size = std::visit([](const auto& one) { return static_cast<int64_t>(one->bytes()); }, collapse);
  }

  // Goes on to a stage, from one of two.
  void enter(Stage next, Stage from, Stage or_from) {
    if (stage != from && stage != or_from) {
      throw Error("LP_OPTION",
                  "The steps of a measurement are collapseSum, collapseCenter, collapseMeasure and collapseResult, in "
                  "this order.");
    }
    stage = next;
  }
};

template <class T>
std::shared_ptr<Measurement> begin(const Argument& given) {
  const Index classes = given["classes"].size(), dim = given["dim"].size(), ddof = given["ddof"].size();
  if (classes < 2 || dim < 1) given.fail("LP_SHAPE", "has less than two classes or one dimension");
  // More than any machine has, before a part of it is asked for.
  if (static_cast<double>(classes) * static_cast<double>(dim) > 1e13) throw std::bad_alloc();
  CollapseOptions options;
  options.global_mean_of_samples = given["meanOfSamples"].flag();
  options.ddof = static_cast<int>(ddof);
  options.cosines = given["cosines"].flag();
  const Argument prototypes = given["prototypes"], biases = given["biases"];
  const auto memory = [](const Argument& array, Index size) {
    return array.given() ? static_cast<const T*>(locate(array, kArrayType<T>, size)) : nullptr;
  };
  auto measurement = std::make_shared<Measurement>();
  measurement->classes = classes;
  measurement->dim = dim;
  measurement->collapse =
      std::make_unique<Collapse<T>>(classes, dim, memory(prototypes, classes * dim), memory(biases, classes), options);
  if (const Argument means = given["means"]; means.given()) {
    const auto* counts = static_cast<const int32_t*>(locate(given["counts"], kArrayType<int32_t>, classes));
    const auto* data = static_cast<const double*>(locate(means, kArrayType<double>, classes * dim));
    std::get<std::unique_ptr<Collapse<T>>>(measurement->collapse)->refer({data, classes, dim}, counts);
    measurement->stage = Stage::summed;
  }
  measurement->weigh();
  return measurement;
}

Napi::Value collapse_begin(Call& call) {
  const auto make =
      call[0]["dtype"].choice<decltype(&begin<float>)>({{"float32", begin<float>}, {"float64", begin<double>}});
  return Handle<Measurement>::wrap(call.env(), make(call[0]));
}
LP_EXPORT("collapseBegin(plan)", collapse_begin)

template <class T>
using Sweep = void (Collapse<T>::*)(Matrix<const T>, const int32_t*, const Control&);

template <class T>
Napi::Value sweep(Call& call, Sweep<T> step, Stage next, Stage from) {
  const Handle<Measurement> measurement(call, call[1]);
  const Argument chunk = call[2];
  if (!std::holds_alternative<std::unique_ptr<Collapse<T>>>(measurement->collapse)) {
    chunk["features"].fail("LP_DTYPE", "is not of the dtype of the measurement");
  }
  const Index rows = chunk["rows"].size();
  const Input<T> features(call, chunk["features"], rows * measurement->dim);
  const Labels labels(call, chunk["labels"], rows, measurement->classes);
  return call.run([=, wait = call.async()](Control& control) {
    const auto turn = measurement->turns.take(wait);
    measurement->enter(next, from, next);
    auto& collapse = std::get<std::unique_ptr<Collapse<T>>>(measurement->collapse);
    (collapse.get()->*step)(features.matrix(rows, measurement->dim), labels.get(), control);
    measurement->weigh();
  });
}

Napi::Value collapse_sum(Call& call) {
  return with_float_type(call[2]["features"],
                         [&]<class T>() { return sweep<T>(call, &Collapse<T>::sum, Stage::summed, Stage::begun); });
}
LP_EXPORT("collapseSum(mode, handle, chunk)", collapse_sum)

Napi::Value collapse_measure(Call& call) {
  return with_float_type(call[2]["features"], [&]<class T>() {
    return sweep<T>(call, &Collapse<T>::measure, Stage::centered, Stage::centered);
  });
}
LP_EXPORT("collapseMeasure(mode, handle, chunk)", collapse_measure)

Napi::Value collapse_center(Call& call) {
  const Handle<Measurement> measurement(call, call[1]);
  return call.run([=, wait = call.async()](Control& control) {
    const auto turn = measurement->turns.take(wait);
    measurement->enter(Stage::centered, Stage::summed, Stage::summed);
    std::visit([&](auto& collapse) { collapse->center(control); }, measurement->collapse);
    measurement->weigh();
  });
}
LP_EXPORT("collapseCenter(mode, handle)", collapse_center)

Napi::Object pairs_of(Napi::Env env, const PairCosines& pairs) {
  return named(
      env, {{"smallest", pairs.smallest}, {"largest", pairs.largest}, {"histogram", array_of(env, pairs.histogram)}});
}

Napi::Value collapse_result(Call& call) {
  const Handle<Measurement> measurement(call, call[1]);
  const auto result = std::make_shared<CollapseResult>();
  return call.run(
      [=, wait = call.async()](Control& control) {
        const auto turn = measurement->turns.take(wait);
        measurement->enter(Stage::done, Stage::centered, Stage::centered);
        std::visit([&](auto& collapse) { *result = collapse->result(control); }, measurement->collapse);
      },
      [=](Napi::Env env) {
        std::vector<Entry> measures;
        for (const auto& [name, value] : result->measures) measures.emplace_back(name.c_str(), value);
        return named(env, {{"measures", named(env, measures)},
                           {"featurePairs", pairs_of(env, result->feature_pairs)},
                           {"prototypePairs", pairs_of(env, result->prototype_pairs)},
                           {"centeredPrototypePairs", pairs_of(env, result->centered_prototype_pairs)},
                           {"spectrum", array_of(env, result->spectrum)},
                           {"featureCosines", array_of(env, result->feature_cosines)},
                           {"prototypeCosines", array_of(env, result->prototype_cosines)},
                           {"classNorms", array_of(env, result->class_norms)},
                           {"prototypeNorms", array_of(env, result->prototype_norms)},
                           {"centeredPrototypeNorms", array_of(env, result->centered_prototype_norms)},
                           {"classMeans", array_of(env, result->class_means)}});
      });
}
LP_EXPORT("collapseResult(mode, handle)", collapse_result)

}  // namespace
}  // namespace lp::addon
