#include "ops/cross_entropy/flow.h"

#include <algorithm>
#include <cmath>

#include "core/finite.h"

namespace lp {

Integrator::Outcome cross_entropy_flow(const Loss& loss, const int32_t* labels, Index samples, Index classes, Index dim,
                                       bool biased, double* z, double from, double to, double step, double tolerance,
                                       Index max_steps, const Control& control) {
  const Index features = samples * dim, prototypes = classes * dim, size = features + prototypes + biased * classes;
  const auto state = [&]<class T>(T* at) {
    return State<T>{
        {at, samples, dim}, {at + features, classes, dim}, biased ? at + features + prototypes : nullptr, labels};
  };
  check_finite<double>(state(z).features, "features");
  check_finite<double>(state(z).prototypes, "prototypes");
  if (biased) check_finite<double>({z + features + prototypes, classes, 1}, "biases");

  LossPass<double> pass(loss, classes, dim);
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
  return flow.follow(Integrator::Clock::logarithmic, to, step, max_steps);
}

}  // namespace lp
