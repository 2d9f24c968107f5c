// What the kernels of a loss need to know, and the kernels: see losses.h, core/dispatch.h.
#pragma once

#include "core/array.h"
#include "core/dispatch.h"
#include "ops/loss/row.h"

namespace lp {

// A loss that couples all classes, as one row of logits sees it.
struct RowLoss {
  enum Kind { cross_entropy, mse, hinge } kind;
  double smoothing, margin;
};

// What is found of one row.
struct RowResult {
  double value;  // ℓ
  Decision decision;
};

}  // namespace lp

// Turns logits z (classes) − without their biases (null: none) − into `weight` ∂ℓ/∂z. `soft` are soft labels (classes)
// or null.
LP_DECLARE(template <class T> RowResult transform_row(const RowLoss& loss, T* z, Index classes, Index label,
                                                      const T* biases, const double* soft, double weight);)

// out = a x + b y; and, if sum is not null, sum += c x in double.
LP_DECLARE(template <class T>
           void combine_row(const T* x, const T* y, Index p, double a, double b, T* out, double c, double* sum);)

// sum (classes) += the column sums of rows (count, classes).
LP_DECLARE(template <class T> void add_rows(const T* rows, Index count, Index classes, double* sum);)
