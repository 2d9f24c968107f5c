// The functions of src/dynamics/kernel.ts; see ops/kernel_flow. Everything is double.
#include "ops/kernel_flow/kernel_flow.h"

#include <algorithm>

#include "addon/addon.h"
#include "addon/job.h"

namespace lp::addon {
namespace {

// `rows` is the order of the kernel, samples or samples · dim.
struct Layout {
  Index samples, classes, dim, rows;

  Layout(Napi::Value value) {
    const auto object = value.As<Napi::Object>();
    samples = size_in(object, "samples");
    classes = size_in(object, "classes");
    dim = size_in(object, "dim");
    rows = size_in(object, "rows");
    if (samples < 1 || classes < 1 || dim < 1 || (rows != samples && rows != samples * dim)) {
      throw Error("LP_SHAPE", "The kernel does not fit the features.");
    }
  }
  Index modes() const { return classes * (rows / samples); }
  Index columns() const { return samples * dim / rows; }
};

}  // namespace

// kernelCheck(mode, kernel, rows, tolerance)
Napi::Value kernel_check(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Index rows = size_argument(info, 2);
    const Input<double> kernel(info, 1, rows * rows);
    const double tolerance = number_argument(info, 3);
    return run(
        info, [=](Control& control) { check_kernel(kernel.matrix(rows, rows), tolerance, control); },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

// kernelModes(mode, kernel, features, prototypes, biases?, labels, layout, gamma)
// → { reach, vectors, values, prototypeParts, featureParts }
Napi::Value kernel_modes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Layout layout(info[6]);
    const Index m = layout.modes(), q = layout.columns(), rows = layout.rows;
    const Input<double> kernel(info, 1, rows * rows), features(info, 2, layout.samples * layout.dim);
    const Input<double> prototypes(info, 3, layout.classes * layout.dim);
    const Labels labels(info, 5, layout.samples, layout.classes);
    const double gamma = number_argument(info, 7);
    const bool biased = info[4].IsTypedArray();
    const Input<double> biases(info, biased ? 4 : 3, biased ? layout.classes : layout.classes * layout.dim);
    const Output<double> reach(info.Env(), rows * m), vectors(info.Env(), m * m), values(info.Env(), m);
    const Output<double> prototype_parts(info.Env(), m * q), feature_parts(info.Env(), m * q);
    return run(
        info,
        [=](Control& control) {
          const State<const double> state{features.matrix(layout.samples, layout.dim),
                                          prototypes.matrix(layout.classes, layout.dim),
                                          biased ? biases.get() : nullptr, labels.get()};
          lp::kernel_modes(kernel.matrix(rows, rows), state, gamma,
                           {reach.matrix(rows, m), vectors.matrix(m, m), values.get(), prototype_parts.matrix(m, q),
                            feature_parts.matrix(m, q)},
                           control);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto result = Napi::Object::New(env);
          result.Set("reach", reach.value());
          result.Set("vectors", vectors.value());
          result.Set("values", values.value());
          result.Set("prototypeParts", prototype_parts.value());
          result.Set("featureParts", feature_parts.value());
          return result;
        });
  });
}

// kernelCombine(mode, layout, features, modes, initial, coefficients) → { features, prototypes }
Napi::Value kernel_combine(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Layout layout(info[1]);
    const Index m = layout.modes(), q = layout.columns(), rows = layout.rows;
    const auto object = info[3].As<Napi::Object>();
    const auto part = [&](const char* key, Index size) {
      void* data = nullptr;
      const bool shared = locate(info.Env(), object.Get(key), napi_float64_array, size, &data);
      if (!shared && is_async(info)) throw Error("LP_INTERNAL", "Modes must lie in shared memory.");
      return static_cast<double*>(data);
    };
    const KernelModes modes{{part("reach", rows * m), rows, m},
                            {part("vectors", m * m), m, m},
                            part("values", m),
                            {part("prototypeParts", m * q), m, q},
                            {part("featureParts", m * q), m, q}};
    const auto keep = std::make_shared<Napi::ObjectReference>(Napi::Persistent(object));
    const Input<double> features(info, 2, rows * q);
    const double initial = number_argument(info, 4);
    const auto coefficients = numbers_argument(info, 5);  // grow, rise, lift
    if (static_cast<Index>(coefficients.size()) != 3 * m)
      throw Error("LP_SHAPE", "Expected three coefficients a mode.");
    const Output<double> out_features(info.Env(), rows * q), out_prototypes(info.Env(), m * q);
    return run(
        info,
        [=](Control& control) {
          const double* c = coefficients.data();
          lp::kernel_combine(features.matrix(rows, q), modes, {initial, c, c + m, c + 2 * m},
                             out_features.matrix(rows, q), out_prototypes.matrix(m, q), control);
        },
        [=, keep = keep](Napi::Env env) -> Napi::Value {
          auto result = Napi::Object::New(env);
          result.Set("features", out_features.value());
          result.Set("prototypes", out_prototypes.value());
          return result;
        });
  });
}

// kernelMse(mode, kernel, z, labels, layout, { biased, from, to, step, tolerance, maxSteps })
// → { z, time, step, error, atRest, rate }
Napi::Value kernel_mse(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Layout layout(info[4]);
    const auto object = info[5].As<Napi::Object>();
    const bool biased = object.Get("biased").ToBoolean();
    const Index size = (layout.samples + layout.classes) * layout.dim + (biased ? layout.classes : 0);
    const Input<double> kernel(info, 1, layout.rows * layout.rows);
    const Labels labels(info, 3, layout.samples, layout.classes);
    const Output<double> z(info, 2, size);
    const double from = number_in(object, "from"), to = number_in(object, "to"), step = number_in(object, "step");
    const double tolerance = number_in(object, "tolerance");
    const Index max_steps = size_in(object, "maxSteps");
    const auto outcome = std::make_shared<Integrator::Outcome>();
    return run(
        info,
        [=](Control& control) {
          *outcome =
              lp::kernel_mse(kernel.matrix(layout.rows, layout.rows), labels.get(), layout.samples, layout.classes,
                             layout.dim, biased, z.get(), from, to, step, tolerance, max_steps, control);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto result = Napi::Object::New(env);
          result.Set("z", z.value());
          result.Set("time", outcome->time);
          result.Set("step", outcome->step);
          result.Set("error", outcome->error);
          result.Set("atRest", outcome->at_rest);
          result.Set("rate", outcome->rate);
          return result;
        });
  });
}

}  // namespace lp::addon
