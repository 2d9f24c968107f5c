// Kernels of ops/exact/trajectory that run over samples.
#pragma once

#include "core/array.h"
#include "core/dispatch.h"
#include "ops/loss/row.h"

namespace lp {

// Products of consecutive samples with modal rows, of which logits are made:
// z_c = a_c x_c + b_c y_c + of_class[label][c], plus between[size_of[c]] where there are several sizes.
struct LogitRows {
  const double *x, *y;  // (count, C), rows `stride` apart
  Index stride;
  Index classes, sizes;
  const double *a, *b;     // (C)
  const double* between;   // (count, K) or null
  const Index* size_of;    // (C)
  const double* of_class;  // (C, C)
  double* scratch;         // (C)
};

}  // namespace lp

// out_i = rest h_i + shift_{y_i}: (count, p), shift (C, p).
LP_DECLARE(template <class T> void blend_rows(const T* h, const int32_t* labels, Index count, Index p, double rest,
                                              const double* shift, T* out);)
// How each sample is decided, out (count).
LP_DECLARE(void decide_samples(const LogitRows& rows, const int32_t* labels, Index count, Decision* out);)
