// Matrix product with batches:  out = alpha op(a) op(b) + beta out,  op transposes the last two dimensions if told.
// Shapes: op(a) (.., m, k), op(b) (.., k, n), out (.., m, n); batch dimensions broadcast.
#pragma once

#include <vector>

#include "core/array.h"
#include "core/control.h"

namespace lp {

// One batch dimension: how far apart, in elements, neighbours lie. A broadcast operand has stride 0.
struct BatchDim {
  Index size, a_stride, b_stride;
};

struct MatmulPlan {
  Index m, n, k;
  bool transpose_a = false, transpose_b = false;
  double alpha = 1, beta = 0;
  std::vector<BatchDim> batch;  // outermost first; out is contiguous
};

template <class T>
void matmul(const MatmulPlan& plan, const T* a, const T* b, T* out, const Control& control);

// Plain loops: the oracle.
template <class T>
void matmul_ref(const MatmulPlan& plan, const T* a, const T* b, T* out);

}  // namespace lp
