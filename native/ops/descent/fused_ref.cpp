#include <vector>

#include "ops/descent/fused.h"
#include "ops/linear/class_sums.h"

namespace lp {

template <class T>
void fused_descent_ref(const State<T>& state, const FusedDescentPlan& plan) {
  const Index n = state.samples(), classes = state.classes(), p = state.dim();
  const double gamma = plan.gamma, samples = static_cast<double>(n);
  std::vector<double> memory(classes * p), counts(classes);
  const Matrix<double> sums{memory.data(), classes, p};
  for (Index i = 0; i < n; i++) counts[state.labels[i]]++;
  std::vector<double> features_velocity(n * p), prototypes_velocity(classes * p), biases_velocity(classes);

  for (Index k = 0; k < plan.steps; k++) {
    const auto move = [&](T& x, double& v, double gradient, double rate, double decay) {
      const double d = decay * x + gradient;
      v = plan.momentum * v + d;
      x = static_cast<T>(x - rate * (plan.nesterov ? d + plan.momentum * v : v));
    };
    const double eta1 = plan.rates_features[k], eta2 = plan.rates_prototypes[k];
    class_sums_ref<T>(state.features, state.labels, sums);
    for (Index j = 0; j < p; j++) {
      double all_features = 0, all_prototypes = 0;
      for (Index c = 0; c < classes; c++) all_features += sums(c, j), all_prototypes += state.prototypes(c, j);
      for (Index i = 0; i < n; i++) {
        const double w = state.prototypes(state.labels[i], j);
        move(state.features(i, j), features_velocity[i * p + j], -((1 + gamma) * w - gamma * all_prototypes) / samples,
             eta1, plan.decay_features);
      }
      for (Index c = 0; c < classes; c++) {
        move(state.prototypes(c, j), prototypes_velocity[c * p + j],
             -((1 + gamma) * sums(c, j) - gamma * all_features) / samples, eta2, plan.decay_prototypes);
      }
    }
    for (Index c = 0; c < classes && state.biases; c++) {
      move(state.biases[c], biases_velocity[c], -((1 + gamma) * counts[c] - gamma * samples) / samples, eta2,
           plan.decay_prototypes);
    }
  }
}

template void fused_descent_ref(const State<float>&, const FusedDescentPlan&);
template void fused_descent_ref(const State<double>&, const FusedDescentPlan&);

}  // namespace lp
