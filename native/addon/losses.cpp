// lossAndGradient(mode, features, prototypes, biases?, labels, sizes, loss) → [numbers of a LossSummary, gradients of
// features, prototypes and biases]
// measureLoss(…) → the numbers alone: see ops/loss/losses.
#include "ops/loss/losses.h"

#include <iterator>
#include <memory>

#include "addon/addon.h"
#include "addon/job.h"
#include "addon/loss_plan.h"

namespace lp::addon {

namespace {

Napi::Value loss_of(const Napi::CallbackInfo& info, bool differentiated) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const auto sizes = info[5].As<Napi::Object>();
    const Index n = size_in(sizes, "samples"), classes = size_in(sizes, "classes"), p = size_in(sizes, "dim");
    const Loss loss = loss_in(info[6].As<Napi::Object>(), n, classes);
    const Input<T> features(info, 1, n * p), prototypes(info, 2, classes * p);
    const auto biases = info[3].IsTypedArray() ? std::make_shared<Input<T>>(info, 3, classes) : nullptr;
    const Labels labels(info, 4, n, classes);
    const Output<double> numbers(info.Env(), 4);
    const auto output = [&](Index size) { return Output<T>(info.Env(), differentiated ? size : 0); };
    const Output<T> h = output(n * p), w = output(classes * p), b = output(classes);
    return run(
        info,
        [=](Control& control) {
          const State<const T> state{features.matrix(n, p), prototypes.matrix(classes, p),
                                     biases ? biases->get() : nullptr, labels.get()};
          State<T> gradient{};
          if (differentiated) gradient = {h.matrix(n, p), w.matrix(classes, p), b.get(), nullptr};
          const auto summary = lp::loss_and_gradient<T>(loss, state, gradient, true, control);
          const double found[] = {summary.value, summary.accuracy, summary.min_margin, summary.regularizer};
          std::copy(std::begin(found), std::end(found), numbers.get());
        },
        [=](Napi::Env env) -> Napi::Value {
          if (!differentiated) return numbers.value();
          return array_of(env, {numbers.value(), h.value(), w.value(), b.value()});
        });
  });
}

}  // namespace

Napi::Value loss_and_gradient(const Napi::CallbackInfo& info) { return loss_of(info, true); }

Napi::Value measure_loss(const Napi::CallbackInfo& info) { return loss_of(info, false); }

}  // namespace lp::addon
