#include "ops/linear/matmul.h"

namespace lp {

template <class T>
void matmul_ref(const MatmulPlan& plan, const T* a, const T* b, T* out) {
  const Index m = plan.m, n = plan.n, k = plan.k;
  Index batches = 1;
  for (const BatchDim& dim : plan.batch) batches *= dim.size;
  for (Index batch = 0; batch < batches; batch++) {
    const T *left = a, *right = b;
    Index rest = batch;
    for (Index d = static_cast<Index>(plan.batch.size()) - 1; d >= 0; d--) {
      left += rest % plan.batch[d].size * plan.batch[d].a_stride;
      right += rest % plan.batch[d].size * plan.batch[d].b_stride;
      rest /= plan.batch[d].size;
    }
    for (Index i = 0; i < m; i++) {
      for (Index j = 0; j < n; j++) {
        double sum = 0;
        for (Index l = 0; l < k; l++) {
          sum += static_cast<double>(left[plan.transpose_a ? l * m + i : i * k + l]) *
                 right[plan.transpose_b ? j * k + l : l * n + j];
        }
        T& c = out[(batch * m + i) * n + j];
        c = static_cast<T>(plan.alpha * sum + (plan.beta == 0 ? 0 : plan.beta * c));
      }
    }
  }
}

template void matmul_ref(const MatmulPlan&, const float*, const float*, float*);
template void matmul_ref(const MatmulPlan&, const double*, const double*, double*);

}  // namespace lp
