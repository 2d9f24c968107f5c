// margins(mode, features, prototypes, labels, sizes) → [margins (n), [the smallest, ‖W‖² + ‖H‖²]]
// kktCertificate(mode, features, prototypes, labels, sizes, whether multipliers are wanted) → [numbers of a
// Certificate, multipliers (n, C) or none]: see ops/cross_entropy/margins.
#include "ops/cross_entropy/margins.h"

#include <algorithm>
#include <iterator>
#include <memory>

#include "addon/addon.h"
#include "addon/job.h"
#include "addon/wide_state.h"

namespace lp::addon {

Napi::Value margins(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const WideState<T> state(info);
    const Output<double> out(info.Env(), state.samples()), numbers(info.Env(), 2);
    return run(
        info,
        [=](Control& control) {
          state.with([&](const State<const double>& wide) {
            numbers.get()[1] = squares(wide);
            lp::margins(wide, out.get(), control);
            numbers.get()[0] = *std::min_element(out.get(), out.get() + wide.samples());
          });
        },
        [=](Napi::Env env) { return array_of(env, {out.value(), numbers.value()}); });
  });
}

Napi::Value kkt_certificate(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const WideState<T> state(info);
    const bool wanted = info[5].ToBoolean();
    const Output<double> numbers(info.Env(), Certificate::kNumbers);
    const Output<double> multipliers(info.Env(), wanted ? state.samples() * state.classes() : 0);
    return run(
        info,
        [=](Control& control) {
          state.with([&](const State<const double>& wide) {
            const Certificate c = lp::kkt_certificate(wide, wanted ? multipliers.get() : nullptr, control);
            const double found[] = {c.log_loss, c.smallest, c.square, c.alignment, c.apart, c.slack};
            std::copy(std::begin(found), std::end(found), numbers.get());
          });
        },
        [=](Napi::Env env) { return array_of(env, {numbers.value(), multipliers.value()}); });
  });
}

}  // namespace lp::addon
