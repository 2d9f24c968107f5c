// crossEntropyFlow(mode, z, labels, sizes, loss, { biased, from, to, step, tolerance, maxSteps })
// → { z, time, step, error, atRest, rate }: see ops/cross_entropy/flow.
#include "ops/cross_entropy/flow.h"

#include <memory>

#include "addon/addon.h"
#include "addon/job.h"
#include "addon/loss_plan.h"

namespace lp::addon {

Napi::Value cross_entropy_flow(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto sizes = info[3].As<Napi::Object>();
    const Index n = size_in(sizes, "samples"), classes = size_in(sizes, "classes"), p = size_in(sizes, "dim");
    const Loss loss = loss_in(info[4].As<Napi::Object>(), n, classes);
    const auto plan = info[5].As<Napi::Object>();
    const bool biased = plan.Get("biased").ToBoolean();
    const double from = number_in(plan, "from"), to = number_in(plan, "to"), step = number_in(plan, "step");
    const double tolerance = number_in(plan, "tolerance");
    const Index max_steps = size_in(plan, "maxSteps");
    if (!(from >= 0 && to >= from && to <= 700 && tolerance > 0)) {
      throw Error("LP_OPTION", "Expected log times 0 ≤ from ≤ to ≤ 700 and a tolerance above 0.");
    }
    const Labels labels(info, 2, n, classes);
    const Output<double> z(info, 1, (n + classes) * p + (biased ? classes : 0));
    const auto outcome = std::make_shared<Integrator::Outcome>();
    return run(
        info,
        [=](Control& control) {
          *outcome = lp::cross_entropy_flow(loss, labels.get(), n, classes, p, biased, z.get(), from, to, step,
                                            tolerance, max_steps, control);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto result = Napi::Object::New(env);
          result.Set("z", z.value());
          result.Set("time", outcome->time);
          result.Set("step", outcome->step);
          result.Set("error", outcome->error);
          result.Set("atRest", outcome->at_rest);
          result.Set("rate", outcome->rate);
          return result;
        });
  });
}

}  // namespace lp::addon
