#include <cmath>
#include <vector>

#include "ops/linear/class_sums.h"
#include "ops/linear/projections.h"

namespace lp {

template <class T>
void projections_ref(const State<const T>& state, const Projections<T>& out) {
  const Index n = state.samples(), classes = state.classes(), p = state.dim();
  const double per_class = static_cast<double>(n) / classes, root = std::sqrt(per_class);
  std::vector<double> memory(classes * p);
  const Matrix<double> sums{memory.data(), classes, p};
  class_sums_ref(state.features, state.labels, sums);
  for (Index j = 0; j < p; j++) {
    for (int sign = 0; sign < 2; sign++) {
      const double e = sign == 0 ? 1 : -1;
      double q = 0;
      for (Index c = 0; c < classes; c++) q += (e * sums(c, j) / root + state.prototypes(c, j)) / (2 * classes);
      for (Index c = 0; c < classes; c++) {
        const double part = (e * sums(c, j) / root + state.prototypes(c, j)) / 2 - q;
        out.prototypes[sign][c * p + j] = static_cast<T>(part);
        out.prototypes[2 + sign][c * p + j] = static_cast<T>(q);
        for (Index i = 0; i < n; i++)
          if (state.labels[i] == c) out.features[sign][i * p + j] = static_cast<T>(e * part / root);
      }
      for (Index i = 0; i < n; i++) out.features[2 + sign][i * p + j] = static_cast<T>(e * q / root);
    }
    for (Index c = 0; c < classes; c++) out.prototypes[4][c * p + j] = 0;
    for (Index i = 0; i < n; i++)
      out.features[4][i * p + j] = static_cast<T>(state.features(i, j) - sums(state.labels[i], j) / per_class);
  }
}

template void projections_ref(const State<const float>&, const Projections<float>&);
template void projections_ref(const State<const double>&, const Projections<double>&);

}  // namespace lp
