// networkLoss(mode, state, loss) → { value, features, prototypes, biases }, the last three the gradients: see
// torch/losses. What the tests hold to the native engine's.
#include "torch/addon/plan.h"

namespace lp::addon {
namespace {

Napi::Value network_loss(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const auto [n, classes, p] = state.sizes;
    const NetworkLoss loss = network_loss_in(call[2], n, classes);
    const auto value = std::make_shared<double>();
    const StateOutput<T> gradient(call, state.sizes, true);
    return call.run(
        [=](Control&) {
          const auto [n, classes, p] = state.sizes;
          const at::ScalarType type = c10::CppTypeToScalarType<T>::value;
          const auto leaf = [&](const T* data, at::IntArrayRef shape) {
            return at::from_blob(const_cast<T*>(data), shape, type).clone().requires_grad_();
          };
          const auto h = leaf(state.features.get(), {n, p}), w = leaf(state.prototypes.get(), {classes, p});
          const auto b = state.biases ? leaf(state.biases.get(), {classes}) : at::Tensor();
          Targets targets;
          targets.labels = at::from_blob(const_cast<int32_t*>(state.labels.get()), {n}, at::kInt).to(at::kLong);
          if (!loss.base.soft_labels.empty()) {
            targets.soft = torch::tensor(loss.base.soft_labels, at::kDouble).view({n, classes}).to(type);
          }
          const auto result = lp::network_loss(loss, h, w, b, targets, 0);
          result.backward();
          *value = result.template item<double>();
          const auto give = [&](const at::Tensor& leaf, T* out) {
            if (leaf.defined() && leaf.grad().defined()) at::from_blob(out, leaf.sizes(), type).copy_(leaf.grad());
          };
          give(h, gradient.features.get());
          give(w, gradient.prototypes.get());
          give(b, gradient.biases.get());
        },
        [=](Napi::Env env) {
          std::vector<Entry> entries = gradient.entries();
          entries.emplace_back("value", *value);
          return named(env, entries);
        });
  });
}
LP_EXPORT("networkLoss(mode, state, loss)", network_loss)

}  // namespace
}  // namespace lp::addon
