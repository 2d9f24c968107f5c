#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/kernel_flow/measure.h"

namespace lp {

template <class T>
KernelMeasures measure_ref(const State<const T>& state, const DirectionRef<T>& direction) {
  const Index n = state.samples(), p = state.dim(), classes = state.classes();
  KernelMeasures result{};
  result.min_margin = std::numeric_limits<double>::infinity();
  std::vector<double> z(classes);
  for (Index i = 0; i < n; i++) {
    for (Index j = 0; j < classes; j++) {
      z[j] = state.biases ? state.biases[j] : 0;
      for (Index d = 0; d < p; d++) z[j] += static_cast<double>(state.prototypes(j, d)) * state.features(i, d);
    }
    const Index label = state.labels[i];
    const Index top = std::max_element(z.begin(), z.end()) - z.begin();
    double rival = -std::numeric_limits<double>::infinity();
    for (Index j = 0; j < classes; j++) {
      if (j != label) rival = std::max(rival, z[j]);
      result.mean_total += z[j] / n;
      result.mean_square += (z[j] - (j == label)) * (z[j] - (j == label)) / n;
    }
    result.mean_own += z[label] / n;
    result.accuracy += (top == label) / static_cast<double>(n);
    result.mean_margin += (z[label] - rival) / n;
    result.min_margin = std::min(result.min_margin, z[label] - rival);
  }
  const auto norm = [](const T* x, Index size) {
    double sum = 0;
    for (Index j = 0; j < size; j++) sum += static_cast<double>(x[j]) * x[j];
    return std::sqrt(sum);
  };
  result.feature_norm = norm(state.features.data, n * p);
  result.prototype_norm = norm(state.prototypes.data, classes * p);
  if (!direction.features) return result;
  const double joint = std::hypot(result.feature_norm, result.prototype_norm);
  double square = 0;
  for (Index j = 0; j < n * p; j++) square += std::pow(state.features.data[j] / joint - direction.features[j], 2);
  for (Index j = 0; j < classes * p; j++) {
    square += std::pow(state.prototypes.data[j] / joint - direction.prototypes[j], 2);
  }
  result.distance = std::sqrt(square);
  return result;
}

template KernelMeasures measure_ref(const State<const float>&, const DirectionRef<float>&);
template KernelMeasures measure_ref(const State<const double>&, const DirectionRef<double>&);

}  // namespace lp
