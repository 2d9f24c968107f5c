// products(mode, state, { gamma }, out?) → { features, prototypes, biases }: see ops/linear/products.
#include "ops/linear/products.h"

#include "addon/call.h"

namespace lp::addon {
namespace {

Napi::Value products(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const double gamma = call[2]["gamma"].number();
    const StateOutput<T> out(call, state.sizes, true, call[3]);
    return call.run_placed(
        [=](Control& control) { lp::products(state.get(), gamma, out.get(state.labels.get()), control); },
        [=](cuda::Job& job) { cuda::products(job, state.get(), gamma, out.get(state.labels.get())); },
        [=](Napi::Env env) { return named(env, out.entries()); });
  });
}
LP_EXPORT("products(mode, state, plan, out)", products)

}  // namespace
}  // namespace lp::addon
