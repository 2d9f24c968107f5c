// networkLoss(mode, features, prototypes, biases?, labels, sizes, plan) → [value, gradients of features, prototypes and
// biases]: see torch/losses. What the tests hold to the native engine's.
#include "torch/addon/addon.h"
#include "torch/addon/plan.h"

namespace lp::addon {

Napi::Value network_loss(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const auto sizes = info[5].As<Napi::Object>();
    const Index n = size_in(sizes, "samples"), classes = size_in(sizes, "classes"), p = size_in(sizes, "dim");
    const NetworkLoss loss = network_loss_in(info[6].As<Napi::Object>(), n, classes);
    const Input<T> features(info, 1, n * p), prototypes(info, 2, classes * p);
    const auto biases = info[3].IsTypedArray() ? std::make_shared<Input<T>>(info, 3, classes) : nullptr;
    const Labels labels(info, 4, n, classes);
    const Output<double> value(info.Env(), 1);
    const Output<T> dh(info.Env(), n * p), dw(info.Env(), classes * p), db(info.Env(), classes);
    return run(
        info,
        [=](Control&) {
          const at::ScalarType type = c10::CppTypeToScalarType<T>::value;
          const auto leaf = [&](const T* data, at::IntArrayRef shape) {
            return at::from_blob(const_cast<T*>(data), shape, type).clone().requires_grad_();
          };
          const auto h = leaf(features.get(), {n, p}), w = leaf(prototypes.get(), {classes, p});
          const auto b = biases ? leaf(biases->get(), {classes}) : at::Tensor();
          Targets targets;
          targets.labels = at::from_blob(const_cast<int32_t*>(labels.get()), {n}, at::kInt).to(at::kLong);
          if (!loss.base.soft_labels.empty()) {
            targets.soft = torch::tensor(loss.base.soft_labels, at::kDouble).view({n, classes}).to(type);
          }
          const auto result = lp::network_loss(loss, h, w, b, targets, 0);
          result.backward();
          *value.get() = result.template item<double>();
          const auto give = [&](const at::Tensor& leaf, T* out) {
            if (leaf.defined() && leaf.grad().defined()) at::from_blob(out, leaf.sizes(), type).copy_(leaf.grad());
          };
          give(h, dh.get());
          give(w, dw.get());
          give(b, db.get());
        },
        [=](Napi::Env env) -> Napi::Value {
          return array_of(env, {value.value(), dh.value(), dw.value(), db.value()});
        });
  });
}

}  // namespace lp::addon
