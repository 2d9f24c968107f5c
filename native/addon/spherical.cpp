// The functions of src/dynamics/spherical.ts; see ops/spherical. Angles are Float64Arrays of 3 n: cosines, sines,
// norms.
#include "ops/spherical/spherical.h"

#include <algorithm>

#include "addon/call.h"

namespace lp::addon {
namespace {

// Native code only reads what it is given as `now` or `start`.
Sphere sphere_of(const Input<double>& angles, Index n) { return Sphere::over(const_cast<double*>(angles.get()), n); }

// sphericalStart(mode, state, { gamma }) → { angles, pull, targets }
Napi::Value spherical_start(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const Sizes sizes = state.sizes;
    const double gamma = call[2]["gamma"].number();
    const Output<double> angles(call, 3 * sizes.samples), pull(call, sizes.samples);
    const Output<double> targets(call, sizes.classes * sizes.dim);
    return call.run(
        [=](Control& control) {
          lp::spherical_start(state.get(), gamma, Sphere::over(angles.get(), sizes.samples), pull.get(),
                              targets.matrix(sizes.classes, sizes.dim), control);
        },
        [=](Napi::Env env) { return named(env, {{"angles", angles}, {"pull", pull}, {"targets", targets}}); });
  });
}
LP_EXPORT("sphericalStart(mode, state, plan)", spherical_start)

// sphericalAdvance(mode, { angles, pull, samples }, { rates, rescaled }) → { angles }
Napi::Value spherical_advance(Call& call) {
  const Argument position = call[1], plan = call[2];
  const Index n = position["samples"].size();
  const Input<double> start(call, position["angles"], 3 * n), pull(call, position["pull"], n);
  const auto rates = plan["rates"].numbers();
  const bool rescaled = plan["rescaled"].flag();
  const Output<double> angles(call, 3 * n);
  return call.run(
      [=](Control& control) {
        std::copy_n(start.get(), 3 * n, angles.get());
        lp::spherical_advance(Sphere::over(angles.get(), n), pull.get(), rates, rescaled, control);
      },
      [=](Napi::Env env) { return named(env, {{"angles", angles}}); });
}
LP_EXPORT("sphericalAdvance(mode, position, plan)", spherical_advance)

// sphericalFeatures(mode, state, { targets, start, now, scale }) → { features }
Napi::Value spherical_features(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const Argument plan = call[2];
    const Sizes sizes = state.sizes;
    const Input<double> targets(call, plan["targets"], sizes.classes * sizes.dim);
    const Input<double> start(call, plan["start"], 3 * sizes.samples), now(call, plan["now"], 3 * sizes.samples);
    const double scale = plan["scale"].number();
    const Output<T> features(call, sizes.samples * sizes.dim);
    return call.run(
        [=](Control& control) {
          lp::spherical_features(state.get(), targets.matrix(sizes.classes, sizes.dim), sphere_of(start, sizes.samples),
                                 sphere_of(now, sizes.samples), scale, features.matrix(sizes.samples, sizes.dim),
                                 control);
        },
        [=](Napi::Env env) { return named(env, {{"features", features}}); });
  });
}
LP_EXPORT("sphericalFeatures(mode, state, plan)", spherical_features)

// sphericalLogits(mode, state, { targets, start }) → { ahead, aside }
Napi::Value spherical_logits(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const Argument plan = call[2];
    const Sizes sizes = state.sizes;
    const Input<double> targets(call, plan["targets"], sizes.classes * sizes.dim);
    const Input<double> start(call, plan["start"], 3 * sizes.samples);
    const Output<double> ahead(call, sizes.classes * sizes.classes), aside(call, sizes.samples * sizes.classes);
    return call.run(
        [=](Control& control) {
          lp::spherical_logits(state.get(), targets.matrix(sizes.classes, sizes.dim), sphere_of(start, sizes.samples),
                               ahead.matrix(sizes.classes, sizes.classes), aside.matrix(sizes.samples, sizes.classes),
                               control);
        },
        [=](Napi::Env env) { return named(env, {{"ahead", ahead}, {"aside", aside}}); });
  });
}
LP_EXPORT("sphericalLogits(mode, state, plan)", spherical_logits)

// sphericalMeasure(mode, { angles, pull, samples }, { rates, wanted, rescaled, scale, logits? })
// → { pulled, squaredDistance, squaredNorm, angles }, with `logits` { ahead, aside, biases, labels, classes } also
// { correct, marginSum, minMargin }: the measures at the wanted steps, and the angles at the last of them
Napi::Value spherical_measure(Call& call) {
  const Argument position = call[1], plan = call[2];
  const Index n = position["samples"].size();
  const Input<double> start(call, position["angles"], 3 * n), pull(call, position["pull"], n);
  const auto rates = plan["rates"].numbers(), wanted = plan["wanted"].numbers();
  for (size_t i = 0; i < wanted.size(); i++) {
    if (!(wanted[i] >= (i == 0 ? 0 : wanted[i - 1]) && wanted[i] <= static_cast<double>(rates.size()))) {
      throw Error("LP_OPTION", "The wanted steps must ascend, and rates must reach the last.");
    }
  }
  const bool rescaled = plan["rescaled"].flag();
  const double scale = plan["scale"].number();
  struct Logits {
    Logits(Call& call, const Argument& given, Index n)
        : classes(given["classes"].size()),
          ahead(call, given["ahead"], classes * classes),
          aside(call, given["aside"], n * classes),
          biases(call, given["biases"], classes),
          labels(call, given["labels"], n, classes) {
      if (classes < 2) given.fail("LP_SHAPE", "has less than two classes");
    }
    Index classes;
    Input<double> ahead, aside, biases;
    Labels labels;
  };
  std::shared_ptr<const Logits> logits;
  if (const Argument given = plan["logits"]; given.given()) logits = std::make_shared<const Logits>(call, given, n);
  const Index rows = std::ssize(wanted);
  std::vector<Output<double>> columns;
  for (Index k = 0; k < (logits ? kSphereMeasures : kCorrect); k++) columns.emplace_back(call, rows);
  const Output<double> angles(call, 3 * n);
  return call.run(
      [=](Control& control) {
        std::copy_n(start.get(), 3 * n, angles.get());
        SphereLogits tables{};
        if (logits) {
          const Index classes = logits->classes;
          tables = {logits->ahead.matrix(classes, classes), logits->aside.matrix(n, classes), logits->biases.get(),
                    logits->labels.get()};
        }
        const Buffer<double> measures(rows * kSphereMeasures);
        lp::spherical_measure(Sphere::over(angles.get(), n), pull.get(), rates, rescaled, wanted, scale, tables,
                              {measures.get(), rows, kSphereMeasures}, control);
        for (size_t k = 0; k < columns.size(); k++) {
          for (Index i = 0; i < rows; i++) columns[k].get()[i] = measures[i * kSphereMeasures + static_cast<Index>(k)];
        }
      },
      [=](Napi::Env env) {
        static constexpr const char* kNames[] = {"pulled",  "squaredDistance", "squaredNorm",
                                                 "correct", "marginSum",       "minMargin"};
        std::vector<Entry> entries{{"angles", angles}};
        for (size_t k = 0; k < columns.size(); k++) entries.emplace_back(kNames[k], columns[k]);
        return named(env, entries);
      });
}
LP_EXPORT("sphericalMeasure(mode, position, plan)", spherical_measure)

}  // namespace
}  // namespace lp::addon
