// tangentCurvature(mode, features, prototypes, labels, sizes, { sum, tolerance, steps, seed }) → [L or its mean,
// the numbers of a Curvature after its log_loss; features and prototypes of the gradient and of the eigenvector]: see
// ops/cross_entropy/curvature.
#include "ops/cross_entropy/curvature.h"

#include <cmath>
#include <iterator>

#include "addon/addon.h"
#include "addon/job.h"
#include "addon/wide_state.h"

namespace lp::addon {

Napi::Value tangent_curvature(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const WideState<T> state(info);
    const Index n = state.samples(), classes = state.classes(), p = state.dim();
    const auto plan = info[5].As<Napi::Object>();
    const double tolerance = number_in(plan, "tolerance"), steps = number_in(plan, "steps");
    const bool sum = plan.Get("sum").ToBoolean();
    const double seed = number_in(plan, "seed");
    if (!(tolerance > 0 && steps >= 1 && steps <= 1e9 && seed >= 0 && seed <= 9007199254740991.0)) {
      throw Error("LP_OPTION", "Expected a tolerance above 0, 1 to 10⁹ steps and a seed from 0 to 2⁵³ − 1.");
    }
    const CurvatureSearch search{tolerance, static_cast<Index>(steps), static_cast<uint64_t>(seed)};
    const Output<double> numbers(info.Env(), Curvature::kNumbers);
    const Output<double> gh(info.Env(), n * p), gw(info.Env(), classes * p);
    const Output<double> vh(info.Env(), n * p), vw(info.Env(), classes * p);
    return run(
        info,
        [=](Control& control) {
          state.with([&](const State<const double>& wide) {
            const Curvature c =
                lp::tangent_curvature(wide, search, {gh.matrix(n, p), gw.matrix(classes, p), nullptr, nullptr},
                                      {vh.matrix(n, p), vw.matrix(classes, p), nullptr, nullptr}, control);
            const double loss = std::exp(c.log_loss) / (sum ? 1.0 : static_cast<double>(n));
            for (Index i = 0; i < n * p; i++) gh.get()[i] *= loss;
            for (Index i = 0; i < classes * p; i++) gw.get()[i] *= loss;
            const double found[] = {loss, c.multiplier, c.tangent, c.eigenvalue, c.residual, c.scale, c.steps};
            std::copy(std::begin(found), std::end(found), numbers.get());
          });
        },
        [=](Napi::Env env) {
          return array_of(env, {numbers.value(), gh.value(), gw.value(), vh.value(), vw.value()});
        });
  });
}

}  // namespace lp::addon
