// crossEntropyFlow(mode, { z, labels, samples, classes, dim }, { loss, biased, from, to, step, tolerance, maxSteps })
// → { z, time, step, error, atRest, rate }: see ops/cross_entropy/flow.
#include "ops/cross_entropy/flow.h"

#include <algorithm>

#include "addon/followed.h"
#include "addon/loss_plan.h"

namespace lp::addon {
namespace {

Napi::Value cross_entropy_flow(Call& call) {
  const Argument state = call[1], plan = call[2];
  const Sizes sizes(state);
  const auto [n, classes, p] = sizes;
  const Loss loss = loss_in(plan["loss"], n, classes);
  const bool biased = plan["biased"].flag();
  const double from = plan["from"].number(), to = plan["to"].number(), step = plan["step"].number();
  const double tolerance = plan["tolerance"].number();
  const Index max_steps = plan["maxSteps"].size();
  if (!(from >= 0 && to >= from && to <= 700 && tolerance > 0)) {
    plan.fail("LP_OPTION", "has other than log times 0 ≤ from ≤ to ≤ 700 and a tolerance above 0");
  }
  const Index size = (n + classes) * p + (biased ? classes : 0);
  const Input<double> start(call, state["z"], size);
  const Labels labels(call, state["labels"], n, classes);
  const Output<double> z(call, size);
  const auto outcome = std::make_shared<Integrator::Outcome>();
  return call.run(
      [=](Control& control) {
        std::copy_n(start.get(), size, z.get());
        *outcome = lp::cross_entropy_flow(loss, labels.get(), sizes.samples, sizes.classes, sizes.dim, biased, z.get(),
                                          from, to, step, tolerance, max_steps, control);
      },
      [=](Napi::Env env) { return outcome_of(env, z, *outcome); });
}
LP_EXPORT("crossEntropyFlow(mode, state, plan)", cross_entropy_flow)

}  // namespace
}  // namespace lp::addon
