// The functions of src/dynamics/kernel.ts; see ops/kernel_flow. All but kernelMeasure are double.
#include "ops/kernel_flow/kernel_flow.h"

#include <algorithm>

#include "addon/followed.h"
#include "ops/kernel_flow/measure.h"

namespace lp::addon {
namespace {

// Of a state under a kernel of order `rows`: samples, or samples · dim.
struct Layout : Sizes {
  Layout(const Argument& sizes, const Argument& given) : Sizes(sizes), rows(given.size()) {
    if (rows != samples && rows != samples * dim) {
      given.fail("LP_SHAPE", "is " + std::to_string(rows) + ", which is not the order of a kernel of these features");
    }
  }
  Index modes() const { return classes * (rows / samples); }
  Index columns() const { return samples * dim / rows; }

  Index rows;
};

// kernelCheck(mode, { kernel, rows, tolerance })
Napi::Value kernel_check(Call& call) {
  const Argument plan = call[1];
  const Index rows = plan["rows"].size();
  const Input<double> kernel(call, plan["kernel"], rows * rows);
  const double tolerance = plan["tolerance"].number();
  return call.run([=](Control& control) { check_kernel(kernel.matrix(rows, rows), tolerance, control); });
}
LP_EXPORT("kernelCheck(mode, plan)", kernel_check)

// kernelModes(mode, state, { kernel, rows, gamma }) → { reach, vectors, values, prototypeParts, featureParts }
Napi::Value kernel_modes(Call& call) {
  const Argument plan = call[2];
  const Layout layout(call[1], plan["rows"]);
  const Index m = layout.modes(), q = layout.columns(), rows = layout.rows;
  const StateInput<double> state(call, call[1]);
  const Input<double> kernel(call, plan["kernel"], rows * rows);
  const double gamma = plan["gamma"].number();
  const Output<double> reach(call, rows * m), vectors(call, m * m), values(call, m);
  const Output<double> prototype_parts(call, m * q), feature_parts(call, m * q);
  return call.run(
      [=](Control& control) {
        lp::kernel_modes(kernel.matrix(rows, rows), state.get(), gamma,
                         {reach.matrix(rows, m), vectors.matrix(m, m), values.get(), prototype_parts.matrix(m, q),
                          feature_parts.matrix(m, q)},
                         control);
      },
      [=](Napi::Env env) {
        return named(env, {{"reach", reach},
                           {"vectors", vectors},
                           {"values", values},
                           {"prototypeParts", prototype_parts},
                           {"featureParts", feature_parts}});
      });
}
LP_EXPORT("kernelModes(mode, state, plan)", kernel_modes)

// kernelCombine(mode, modes, { features, rows, samples, classes, dim, initial, grow, rise, lift }) → { features,
// prototypes }
Napi::Value kernel_combine(Call& call) {
  const Argument given = call[1], plan = call[2];
  const Layout layout(plan, plan["rows"]);
  const Index m = layout.modes(), q = layout.columns(), rows = layout.rows;
  const Input<double> reach(call, given["reach"], rows * m), vectors(call, given["vectors"], m * m);
  const Input<double> values(call, given["values"], m), prototype_parts(call, given["prototypeParts"], m * q);
  const Input<double> feature_parts(call, given["featureParts"], m * q), features(call, plan["features"], rows * q);
  const double initial = plan["initial"].number();
  const auto factors = [&](const char* key) {  // of each mode
    if (plan[key].length() != m) plan[key].fail("LP_SHAPE", "has a length other than " + std::to_string(m));
    return plan[key].numbers();
  };
  const auto grow = factors("grow"), rise = factors("rise"), lift = factors("lift");
  const Output<double> out_features(call, rows * q), out_prototypes(call, m * q);
  return call.run(
      [=](Control& control) {
        // The operation only reads the modes.
        const auto matrix = [](const Input<double>& part, Index rows, Index cols) {
          return Matrix<double>{const_cast<double*>(part.get()), rows, cols};
        };
        const KernelModes modes{matrix(reach, rows, m), matrix(vectors, m, m), matrix(values, m, 1).data,
                                matrix(prototype_parts, m, q), matrix(feature_parts, m, q)};
        lp::kernel_combine(features.matrix(rows, q), modes, {initial, grow.data(), rise.data(), lift.data()},
                           out_features.matrix(rows, q), out_prototypes.matrix(m, q), control);
      },
      [=](Napi::Env env) { return named(env, {{"features", out_features}, {"prototypes", out_prototypes}}); });
}
LP_EXPORT("kernelCombine(mode, modes, plan)", kernel_combine)

// kernelMse(mode, { z, labels, samples, classes, dim }, { kernel, rows, biased, from, to, step, tolerance, maxSteps })
// → { z, time, step, error, atRest, rate }
Napi::Value kernel_mse(Call& call) {
  const Argument state = call[1], plan = call[2];
  const Layout layout(state, plan["rows"]);
  const bool biased = plan["biased"].flag();
  const Index size = (layout.samples + layout.classes) * layout.dim + (biased ? layout.classes : 0);
  const Input<double> kernel(call, plan["kernel"], layout.rows * layout.rows), start(call, state["z"], size);
  const Labels labels(call, state["labels"], layout.samples, layout.classes);
  const Output<double> z(call, size);
  const double from = plan["from"].number(), to = plan["to"].number(), step = plan["step"].number();
  const double tolerance = plan["tolerance"].number();
  const Index max_steps = plan["maxSteps"].size();
  const auto outcome = std::make_shared<Integrator::Outcome>();
  return call.run(
      [=](Control& control) {
        std::copy_n(start.get(), size, z.get());
        *outcome = lp::kernel_mse(kernel.matrix(layout.rows, layout.rows), labels.get(), layout.samples, layout.classes,
                                  layout.dim, biased, z.get(), from, to, step, tolerance, max_steps, control);
      },
      [=](Napi::Env env) { return outcome_of(env, z, *outcome); });
}
LP_EXPORT("kernelMse(mode, state, plan)", kernel_mse)

// kernelMeasure(mode, state, { toward? }) → the numbers of ops/kernel_flow/measure by name; `toward` is a direction
// { features, prototypes } of unit norm, without which there is no distance
Napi::Value kernel_measure(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const auto [n, classes, p] = state.sizes;
    const Argument toward = call[2]["toward"];
    Input<T> features, prototypes;
    if (toward.given()) {
      features = Input<T>(call, toward["features"], n * p);
      prototypes = Input<T>(call, toward["prototypes"], classes * p);
    }
    const auto found = std::make_shared<KernelMeasures>();
    return call.run(
        [=](Control& control) {
          *found = lp::measure(state.get(), DirectionRef<T>{features.get(), prototypes.get()}, control);
        },
        [=](Napi::Env env) {
          std::vector<Entry> entries{{"meanOwn", found->mean_own},         {"meanTotal", found->mean_total},
                                     {"meanSquare", found->mean_square},   {"accuracy", found->accuracy},
                                     {"minMargin", found->min_margin},     {"meanMargin", found->mean_margin},
                                     {"featureNorm", found->feature_norm}, {"prototypeNorm", found->prototype_norm}};
          if (features) entries.emplace_back("distance", found->distance);
          return named(env, entries);
        });
  });
}
LP_EXPORT("kernelMeasure(mode, state, plan)", kernel_measure)

}  // namespace
}  // namespace lp::addon
