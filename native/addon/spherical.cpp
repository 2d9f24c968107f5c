// The functions of src/dynamics/spherical.ts; see ops/spherical. Angles are Float64Arrays of 3 n: cosines, sines,
// norms.
#include "ops/spherical/spherical.h"

#include <algorithm>
#include <memory>

#include "addon/addon.h"
#include "addon/job.h"

namespace lp::addon {
namespace {

struct Sizes {
  Index samples, classes, dim;
};

Sizes read_sizes(Napi::Value value) {
  const auto object = value.As<Napi::Object>();
  return {size_in(object, "samples"), size_in(object, "classes"), size_in(object, "dim")};
}

// Native code only reads what it is given as `now` or `start`.
Sphere sphere_of(const Input<double>& angles, Index n) { return Sphere::over(const_cast<double*>(angles.get()), n); }

template <class T>
struct StateInput {
  Input<T> features, prototypes;
  Labels labels;
  Sizes sizes;

  // Of the arguments `first` (features), prototypes, labels.
  StateInput(const Napi::CallbackInfo& info, size_t first, Sizes sizes)
      : features(info, first, sizes.samples * sizes.dim),
        prototypes(info, first + 1, sizes.classes * sizes.dim),
        labels(info, first + 2, sizes.samples, sizes.classes),
        sizes(sizes) {}

  State<const T> state() const {
    return {features.matrix(sizes.samples, sizes.dim), prototypes.matrix(sizes.classes, sizes.dim), nullptr,
            labels.get()};
  }
};

}  // namespace

// sphericalStart(mode, features, prototypes, labels, sizes, gamma) → { angles, pull, targets }
Napi::Value spherical_start(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const Sizes sizes = read_sizes(info[4]);
    const StateInput<T> input(info, 1, sizes);
    const double gamma = number_argument(info, 5);
    const Output<double> angles(info.Env(), 3 * sizes.samples), pull(info.Env(), sizes.samples);
    const Output<double> targets(info.Env(), sizes.classes * sizes.dim);
    return run(
        info,
        [=](Control& control) {
          lp::spherical_start(input.state(), gamma, Sphere::over(angles.get(), sizes.samples), pull.get(),
                              targets.matrix(sizes.classes, sizes.dim), control);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto result = Napi::Object::New(env);
          result.Set("angles", angles.value());
          result.Set("pull", pull.value());
          result.Set("targets", targets.value());
          return result;
        });
  });
}

// sphericalAdvance(mode, angles, pull, rates, samples, rescaled) → angles
Napi::Value spherical_advance(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Index n = size_argument(info, 4);
    const Input<double> start(info, 1, 3 * n), pull(info, 2, n);
    const auto rates = numbers_argument(info, 3);
    const bool rescaled = info[5].ToBoolean();
    const Output<double> angles(info.Env(), 3 * n);
    return run(
        info,
        [=](Control& control) {
          std::copy(start.get(), start.get() + 3 * n, angles.get());
          lp::spherical_advance(Sphere::over(angles.get(), n), pull.get(), rates, rescaled, control);
        },
        [=](Napi::Env) { return angles.value(); });
  });
}

// sphericalFeatures(mode, features, prototypes, labels, sizes, targets, start, now, scale) → features
Napi::Value spherical_features(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const Sizes sizes = read_sizes(info[4]);
    const StateInput<T> input(info, 1, sizes);
    const Input<double> targets(info, 5, sizes.classes * sizes.dim);
    const Input<double> start(info, 6, 3 * sizes.samples), now(info, 7, 3 * sizes.samples);
    const double scale = number_argument(info, 8);
    const Output<T> out(info.Env(), sizes.samples * sizes.dim);
    return run(
        info,
        [=](Control& control) {
          lp::spherical_features(input.state(), targets.matrix(sizes.classes, sizes.dim),
                                 sphere_of(start, sizes.samples), sphere_of(now, sizes.samples), scale,
                                 out.matrix(sizes.samples, sizes.dim), control);
        },
        [=](Napi::Env) { return out.value(); });
  });
}

// sphericalLogits(mode, features, prototypes, labels, sizes, targets, start) → { ahead, aside }
Napi::Value spherical_logits(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const Sizes sizes = read_sizes(info[4]);
    const StateInput<T> input(info, 1, sizes);
    const Input<double> targets(info, 5, sizes.classes * sizes.dim), start(info, 6, 3 * sizes.samples);
    const Output<double> ahead(info.Env(), sizes.classes * sizes.classes);
    const Output<double> aside(info.Env(), sizes.samples * sizes.classes);
    return run(
        info,
        [=](Control& control) {
          lp::spherical_logits(input.state(), targets.matrix(sizes.classes, sizes.dim), sphere_of(start, sizes.samples),
                               ahead.matrix(sizes.classes, sizes.classes), aside.matrix(sizes.samples, sizes.classes),
                               control);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto result = Napi::Object::New(env);
          result.Set("ahead", ahead.value());
          result.Set("aside", aside.value());
          return result;
        });
  });
}

// sphericalMeasure(mode, angles, pull, rates, wanted, samples, rescaled, scale, classes, ahead, aside, biases, labels)
// → { measures, angles }, the angles of the last wanted step. Without logits `classes` is 0 and the last four are left
// out.
Napi::Value spherical_measure(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Index n = size_argument(info, 5), classes = size_argument(info, 8);
    const Input<double> start(info, 1, 3 * n), pull(info, 2, n);
    const auto rates = numbers_argument(info, 3), wanted = numbers_argument(info, 4);
    for (size_t i = 0; i < wanted.size(); i++) {
      if (!(wanted[i] >= (i == 0 ? 0 : wanted[i - 1]) && wanted[i] <= static_cast<double>(rates.size()))) {
        throw Error("LP_OPTION", "The wanted steps must ascend, and rates must reach the last.");
      }
    }
    const bool rescaled = info[6].ToBoolean();
    const double scale = number_argument(info, 7);
    struct Logits {
      Input<double> ahead, aside, biases;
      Labels labels;
    };
    std::shared_ptr<Logits> logits;
    if (classes > 0) {
      logits = std::make_shared<Logits>(
          Logits{{info, 9, classes * classes}, {info, 10, n * classes}, {info, 11, classes}, {info, 12, n, classes}});
    }
    const Index rows = static_cast<Index>(wanted.size());
    const Output<double> out(info.Env(), rows * kSphereMeasures), angles(info.Env(), 3 * n);
    return run(
        info,
        [=](Control& control) {
          std::copy(start.get(), start.get() + 3 * n, angles.get());
          SphereLogits tables{};
          if (logits) {
            tables = {logits->ahead.matrix(classes, classes), logits->aside.matrix(n, classes), logits->biases.get(),
                      logits->labels.get()};
          }
          lp::spherical_measure(Sphere::over(angles.get(), n), pull.get(), rates, rescaled, wanted, scale, tables,
                                out.matrix(rows, kSphereMeasures), control);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto result = Napi::Object::New(env);
          result.Set("measures", out.value());
          result.Set("angles", angles.value());
          return result;
        });
  });
}

}  // namespace lp::addon
