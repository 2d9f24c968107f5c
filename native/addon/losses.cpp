// lossAndGradient(mode, state, loss, out?) → { value, accuracy, minMargin, features, prototypes, biases }, the last
// three the gradients; measureLoss(mode, state, loss) → the numbers alone: see ops/loss/losses.
#include "ops/loss/losses.h"

#include "addon/call.h"
#include "addon/device.h"
#include "addon/loss_plan.h"

namespace lp::addon {
namespace {

std::vector<Entry> measures_of(const LossSummary& summary) {
  return {{"value", summary.value}, {"accuracy", summary.accuracy}, {"minMargin", summary.min_margin}};
}

Napi::Value measure_loss(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const Loss loss = loss_in(call[2], state.sizes.samples, state.sizes.classes);
    const cuda::Precision precision = precision_in(call[2]);
    const auto summary = std::make_shared<LossSummary>();
    return call.run_placed(
        [=](Control& control) { *summary = lp::loss_and_gradient<T>(loss, state.get(), State<T>{}, true, control); },
        [=](cuda::Job& job) {
          *summary = cuda::loss_and_gradient<T>(job, precision, loss, state.get(), State<T>{}, true);
        },
        [=](Napi::Env env) { return named(env, measures_of(*summary)); });
  });
}
LP_EXPORT("measureLoss(mode, state, loss)", measure_loss)

Napi::Value loss_and_gradient(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const Loss loss = loss_in(call[2], state.sizes.samples, state.sizes.classes);
    const cuda::Precision precision = precision_in(call[2]);
    const StateOutput<T> gradient(call, state.sizes, true, call[3]);
    const auto summary = std::make_shared<LossSummary>();
    return call.run_placed(
        [=](Control& control) {
          *summary = lp::loss_and_gradient<T>(loss, state.get(), gradient.get(), true, control);
        },
        [=](cuda::Job& job) {
          *summary = cuda::loss_and_gradient<T>(job, precision, loss, state.get(), gradient.get(), true);
        },
        [=](Napi::Env env) {
          std::vector<Entry> entries = measures_of(*summary);
          for (const Entry& gradient : gradient.entries()) entries.push_back(gradient);
          return named(env, entries);
        });
  });
}
LP_EXPORT("lossAndGradient(mode, state, loss, out)", loss_and_gradient)

}  // namespace
}  // namespace lp::addon
