// softmaxRows(mode, logits, labels?, beta, sizes) → [predicted, numbers]; see ops/loss/softmax.
#include "ops/loss/softmax.h"

#include <memory>

#include "addon/addon.h"
#include "addon/job.h"

namespace lp::addon {

Napi::Value softmax_rows(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const auto sizes = info[4].As<Napi::Object>();
    const Index n = size_in(sizes, "samples"), classes = size_in(sizes, "classes");
    const double beta = number_argument(info, 3);
    if (classes < 2) throw Error("LP_SHAPE", "Expected at least two classes.");
    if (!(beta >= 0)) throw Error("LP_OPTION", "Expected an inverse temperature of at least 0.");
    const Input<T> logits(info, 1, n * classes);
    const auto labels = info[2].IsTypedArray() ? std::make_shared<Labels>(info, 2, n, classes) : nullptr;
    const Output<int32_t> predicted(info.Env(), n);
    const Output<double> numbers(info.Env(), n * SoftmaxRows::kNumbers);
    return run(
        info,
        [=](Control& control) {
          const SoftmaxRows out(predicted.get(), numbers.get(), n);
          lp::softmax_rows(logits.matrix(n, classes), labels ? labels->get() : nullptr, beta, out, control);
        },
        [=](Napi::Env env) { return array_of(env, {predicted.value(), numbers.value()}); });
  });
}

}  // namespace lp::addon
