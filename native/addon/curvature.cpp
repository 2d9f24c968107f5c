// tangentCurvature(mode, state, { sum, tolerance, steps, seed })
// → { loss, multiplier, tangent, eigenvalue, residual, scale, steps, gradient, direction }: L or its mean, and of the
// last two features and prototypes each; see ops/cross_entropy/curvature.
#include "ops/cross_entropy/curvature.h"

#include <cmath>

#include "addon/call.h"
#include "addon/wide_state.h"

namespace lp::addon {
namespace {

Napi::Value tangent_curvature(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const Argument plan = call[2];
    const double tolerance = plan["tolerance"].number();
    const Index steps = plan["steps"].size(), seed = plan["seed"].count();
    const bool sum = plan["sum"].flag();
    if (!(tolerance > 0) || steps < 1) throw Error("LP_OPTION", "Expected a tolerance above 0 and at least one step.");
    const CurvatureSearch search{tolerance, steps, static_cast<uint64_t>(seed)};
    const StateOutput<double> gradient(call, state.sizes, false), direction(call, state.sizes, false);
    const auto found = std::make_shared<Curvature>();
    const auto loss = std::make_shared<double>();
    return call.run(
        [=](Control& control) {
          with_wide(state, [&](const State<const double>& wide) {
            const State<double> g = gradient.get();
            *found = lp::tangent_curvature(wide, search, g, direction.get(), control);
            *loss = std::exp(found->log_loss) / (sum ? 1.0 : static_cast<double>(wide.samples()));
            for (Index i = 0; i < g.features.size(); i++) g.features.data[i] *= *loss;
            for (Index i = 0; i < g.prototypes.size(); i++) g.prototypes.data[i] *= *loss;
          });
        },
        [=](Napi::Env env) {
          return named(env, {{"loss", *loss},
                             {"multiplier", found->multiplier},
                             {"tangent", found->tangent},
                             {"eigenvalue", found->eigenvalue},
                             {"residual", found->residual},
                             {"scale", found->scale},
                             {"steps", found->steps},
                             {"gradient", named(env, gradient.entries())},
                             {"direction", named(env, direction.entries())}});
        });
  });
}
LP_EXPORT("tangentCurvature(mode, state, plan)", tangent_curvature)

}  // namespace
}  // namespace lp::addon
