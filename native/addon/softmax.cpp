// softmaxRows(mode, { logits, labels?, samples, classes }, { beta })
// → { predicted, largest, confidence, logOdds, mean, variance, ties }, with labels { nll, brier, missed } too, arrays
// by samples: see ops/loss/softmax.
#include "ops/loss/softmax.h"

#include "addon/call.h"

namespace lp::addon {
namespace {

Napi::Value softmax_rows(Call& call) {
  const Argument rows = call[1];
  return with_float_type(rows["logits"], [&]<class T>() {
    const Index n = rows["samples"].size(), classes = rows["classes"].size();
    const double beta = call[2]["beta"].number();
    if (classes < 2) throw Error("LP_SHAPE", "Expected at least two classes.");
    if (!(beta >= 0)) throw Error("LP_OPTION", "Expected an inverse temperature of at least 0.");
    const Input<T> logits(call, rows["logits"], n * classes);
    const Argument given = rows["labels"];
    const Labels labels = given.given() ? Labels(call, given, n, classes) : Labels();
    const Output<int32_t> predicted(call, n);
    const Output<double> largest(call, n), confidence(call, n), log_odds(call, n), mean(call, n), variance(call, n);
    const Output<double> ties(call, n);
    Output<double> nll, brier, missed;
    for (auto* one : {&nll, &brier, &missed}) {
      if (given.given()) *one = Output<double>(call, n);
    }
    return call.run(
        [=](Control& control) {
          const SoftmaxRows out{predicted.get(), largest.get(), confidence.get(), log_odds.get(), mean.get(),
                                variance.get(),  ties.get(),    nll.get(),        brier.get(),    missed.get()};
          lp::softmax_rows(logits.matrix(n, classes), labels.get(), beta, out, control);
        },
        [=](Napi::Env env) {
          return named(env, {{"predicted", predicted},
                             {"largest", largest},
                             {"confidence", confidence},
                             {"logOdds", log_odds},
                             {"mean", mean},
                             {"variance", variance},
                             {"ties", ties},
                             {"nll", nll},
                             {"brier", brier},
                             {"missed", missed}});
        });
  });
}
LP_EXPORT("softmaxRows(mode, rows, plan)", softmax_rows)

}  // namespace
}  // namespace lp::addon
