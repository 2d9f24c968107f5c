// margins(mode, state) → { margins [n], smallest, square, exponent }, the square ‖W‖² + ‖H‖²; all of them 4^−exponent
// times what they are;
// kktCertificate(mode, state, { multipliers }) → { logLoss, smallest, square, alignment, apart, slack, multipliers? [n,
// C] } where they are wanted: see ops/cross_entropy/margins.
#include "ops/cross_entropy/margins.h"

#include <algorithm>

#include "addon/call.h"
#include "addon/wide_state.h"

namespace lp::addon {
namespace {

Napi::Value margins(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const Output<double> out(call, state.sizes.samples);
    const auto square = std::make_shared<double>(), smallest = std::make_shared<double>();
    const auto exponent = std::make_shared<int>();
    return call.run(
        [=](Control& control) {
          *exponent = with_wide_scaled(state, [&](const State<const double>& wide) {
            *square = squares(wide);
            lp::margins(wide, out.get(), control);
            *smallest = *std::min_element(out.get(), out.get() + wide.samples());
          });
        },
        [=](Napi::Env env) {
          return named(env, {{"margins", out},
                             {"smallest", *smallest},
                             {"square", *square},
                             {"exponent", static_cast<double>(*exponent)}});
        });
  });
}
LP_EXPORT("margins(mode, state)", margins)

Napi::Value kkt_certificate(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    Output<double> multipliers;
    if (call[2]["multipliers"].flag()) multipliers = Output<double>(call, state.sizes.samples * state.sizes.classes);
    const auto found = std::make_shared<Certificate>();
    return call.run(
        [=](Control& control) {
          with_wide(state, [&](const State<const double>& wide) {
            *found = lp::kkt_certificate(wide, multipliers.get(), control);
          });
        },
        [=](Napi::Env env) {
          return named(env, {{"logLoss", found->log_loss},
                             {"smallest", found->smallest},
                             {"square", found->square},
                             {"alignment", found->alignment},
                             {"apart", found->apart},
                             {"slack", found->slack},
                             {"multipliers", multipliers}});
        });
  });
}
LP_EXPORT("kktCertificate(mode, state, plan)", kkt_certificate)

}  // namespace
}  // namespace lp::addon
