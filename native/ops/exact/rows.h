// Kernels of ops/exact/trajectory that run over samples.
#pragma once

#include "core/array.h"
#include "core/dispatch.h"
#include "ops/loss/row.h"

namespace lp {

// Products of samples of one class with modal rows, of which logits are made:
// z_c = rest (a_c x_c + b_c y_c) + of_class[c], plus rest between[size_of[c]] where there are several sizes.
struct LogitRows {
  const double *x, *y;  // (count, C), rows `stride` apart
  Index stride;
  Index classes, sizes;
  double rest;
  const double *a, *b;     // (C)
  const double* between;   // (count, K) or null
  const Index* size_of;    // (C)
  const double* of_class;  // (C)
};

}  // namespace lp

// out_i = rest (scale h_i) + shift_{y_i}: (count, p), shift (C, p).
LP_DECLARE(template <class T> void blend_rows(const T* h, const int32_t* labels, Index count, Index p, double scale,
                                              double rest, const double* shift, T* out);)
// How each sample is decided, out (count), and its logits z (C) each, `z_stride` apart: 0 where nobody wants them, so
// that a row stays where it is read again.
LP_DECLARE(void decide_samples(const LogitRows& rows, Index label, Index count, double* z, Index z_stride,
                               Decision* out);)
