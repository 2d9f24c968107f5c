#include "ops/cross_entropy/flow.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/finite.h"
#include "core/integrator.h"

namespace lp {
namespace {

constexpr Index kMostRejections = 100;

}  // namespace

FlowOutcome cross_entropy_flow(const Loss& loss, const int32_t* labels, Index samples, Index classes, Index dim,
                               bool biased, double* z, double from, double to, double step, double tolerance,
                               const Control& control) {
  const Index features = samples * dim, prototypes = classes * dim, size = features + prototypes + biased * classes;
  const auto state = [&]<class T>(T* at) {
    return State<T>{
        {at, samples, dim}, {at + features, classes, dim}, biased ? at + features + prototypes : nullptr, labels};
  };
  check_finite<double>(state(z).features, "features");
  check_finite<double>(state(z).prototypes, "prototypes");
  if (biased) check_finite<double>({z + features + prototypes, classes, 1}, "biases");

  LossPass<double> pass(loss, samples, classes, dim);
  const auto slope = [&](double s, const double* at, double* out) {
    const State<double> gradient = state(out);
    pass.run(
        state(at), nullptr, samples, gradient.prototypes, gradient.biases,
        [&](Index begin, Index end, const double* rows) {
          std::copy_n(rows, (end - begin) * dim, gradient.features.row(begin));
        },
        false, control);
    const double factor = -std::exp(s);
    for (Index k = 0; k < size; k++) out[k] *= factor;
  };
  Integrator flow(slope, size, z, from, tolerance, control);
  const double first = flow.slope_norm();
  if (!std::isfinite(first)) throw Error("LP_OVERFLOW", "The flow leaves the range of doubles from the start.");
  if (step <= 0) step = first > 0 ? 0.01 * std::max(flow.state_norm(), 1e-3) / first : to - from;

  double error_sum = 0;
  Index rejections = 0;
  while (flow.time() < to) {
    control.poll();
    const double left = to - flow.time();
    const bool last = step >= left * (1 - 1e-12);
    const double length = last ? left : step;
    const double error = flow.attempt(length);
    if (!(error <= 1)) {
      if (++rejections > kMostRejections) throw Error("LP_OVERFLOW", "The flow leaves the range of doubles.");
      step = length * std::min(Integrator::growth(error), 0.9);
      continue;
    }
    rejections = 0;
    error_sum += error * tolerance;
    step = std::max(last ? step : 0.0, length * Integrator::growth(error));
    control.progress((flow.time() - from) / (to - from));
    if (last) break;
  }
  return {step, error_sum};
}

}  // namespace lp
