#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/blas/blas.h"
#include "core/error.h"
#include "core/finite.h"
#include "core/thread_pool.h"
#include "ops/kernel_flow/kernel_flow.h"
#include "ops/linear/class_sums.h"
#include "ops/linear/products.h"

namespace lp {
namespace {

constexpr Index kTile = 64;

// Whether `a` has a Cholesky factor, which takes the place of its lower triangle.
bool positive_definite(Matrix<double> a, const Control& control) {
  const Index n = a.rows;
  const auto eliminate = [&](Index i, Index j, Index from) {
    double value = a(i, j);
    for (Index t = from; t < j; t++) value -= a(i, t) * a(j, t);
    return value;
  };
  for (Index k = 0; k < n; k += kTile) {
    const Index end = std::min(n, k + kTile);
    for (Index j = k; j < end; j++) {
      const double pivot = eliminate(j, j, k);
      if (!(pivot > 0)) return false;
      a(j, j) = std::sqrt(pivot);
      for (Index i = j + 1; i < end; i++) a(i, j) = eliminate(i, j, k) / a(j, j);
    }
    parallel_for(n - end, 16, control, [&](Index first, Index last) {
      for (Index i = end + first; i < end + last; i++) {
        for (Index j = k; j < end; j++) a(i, j) = eliminate(i, j, k) / a(j, j);
      }
    });
    parallel_for(n - end, kTile, control, [&](Index first, Index last) {
      blas::gemm(false, true, last - first, last, end - k, -1.0, &a(end + first, k), n, &a(end, k), n, 1.0,
                 &a(end + first, end), n);
    });
  }
  return true;
}

void copy(Matrix<const double> from, Matrix<double> to) { std::copy(from.data, from.data + from.size(), to.data); }

// Aᵀ x = M (sums of x over samples), x (n, ·) → (C, ·)
void contrast_of(Matrix<const double> x, const ByClass& samples, double gamma, Matrix<double> out,
                 const Control& control) {
  Buffer<double> sums(out.size());
  class_sums(x, samples, Matrix<double>{sums.get(), out.rows, out.cols}, control);
  contrast(Matrix<const double>{sums.get(), out.rows, out.cols}, gamma, x.rows, out);
}

void transpose(Matrix<const double> from, Matrix<double> to) {
  for (Index i = 0; i < from.rows; i++) {
    for (Index j = 0; j < from.cols; j++) to(j, i) = from(i, j);
  }
}

// out = a b, row tiles of out in parallel
void multiply(Matrix<const double> a, Matrix<const double> b, Matrix<double> out, const Control& control) {
  parallel_for(out.rows, kTile, control, [&](Index begin, Index end) {
    blas::gemm(false, false, end - begin, b.cols, a.cols, 1.0, a.row(begin), a.cols, b.data, b.cols, 0.0,
               out.row(begin), out.cols);
  });
}

}  // namespace

void check_kernel(Matrix<const double> kernel, double tolerance, const Control& control) {
  const Index n = kernel.rows;
  double largest = 0;
  for (Index i = 0; i < n; i++) largest = std::max(largest, std::abs(kernel(i, i)));
  const double slack = tolerance * largest;
  parallel_for(n, kTile, control, [&](Index begin, Index end) {
    for (Index i = begin; i < end; i++) {
      check_finite(Matrix<const double>{kernel.row(i), 1, n}, "kernel", i);
      for (Index j = 0; j < i; j++) {
        if (std::abs(kernel(i, j) - kernel(j, i)) <= slack) continue;
        const auto place = [](Index a, Index b) { return "[" + std::to_string(a) + ", " + std::to_string(b) + "]"; };
        throw Error("LP_OPTION", "kernel" + place(i, j) + " is " + std::to_string(kernel(i, j)) + " but kernel" +
                                     place(j, i) + " is " + std::to_string(kernel(j, i)) +
                                     "; expected a symmetric kernel.");
      }
    }
  });
  Buffer<double> memory(n * n), values(n);
  const Matrix<double> work{memory.get(), n, n};
  copy(kernel, work);
  for (Index i = 0; i < n; i++) work(i, i) += slack + std::numeric_limits<double>::min();
  if (positive_definite(work, control)) return;
  copy(kernel, work);
  blas::eigh(n, work.data, values.get());
  if (values[0] >= -slack) return;
  const Index negative = std::count_if(values.begin(), values.end(), [&](double value) { return value < -slack; });
  throw Error("LP_OPTION", "kernel has " + std::to_string(negative) + " negative of " + std::to_string(n) +
                               " eigenvalues, the smallest " + std::to_string(values[0]) + ", the largest " +
                               std::to_string(values[n - 1]) +
                               "; expected a positive semidefinite kernel, as ∇H ∇Hᵀ is.");
}

void kernel_modes(Matrix<const double> kernel, const State<const double>& state, double gamma, const KernelModes& out,
                  const Control& control) {
  check_finite(state.features, "features");
  check_finite(state.prototypes, "prototypes");
  if (state.biases) check_finite(Matrix<const double>{state.biases, state.classes(), 1}, "biases");

  // (N, N) K and m modes: N = n, m = C, q = p where K acts on every coordinate alike; else N = np, m = Cp, q = 1. Of a
  // sample K has `inner` = N/n rows, which lie one after the other.
  const Index n = state.samples(), rows = kernel.rows, m = out.vectors.rows, q = out.prototype_parts.cols;
  const Index inner = rows / n;
  const ByClass samples(state.labels, n, state.classes());
  Buffer<double> memory(m * rows);
  // (m, N) Aᵀ K, the contrast of its samples (n, inner N); K is symmetric, so that its transpose is K A (N, m).
  contrast_of({kernel.data, n, inner * rows}, samples, gamma, {memory.get(), state.classes(), inner * rows}, control);
  transpose({memory.get(), m, rows}, out.reach);
  // (m, m) G = Aᵀ K A, in whose place its eigenvectors come.
  contrast_of({out.reach.data, n, inner * m}, samples, gamma, {out.vectors.data, state.classes(), inner * m}, control);
  control.poll();
  for (Index k = 0; k < m * m; k++) {
    if (!std::isfinite(out.vectors.data[k])) {
      throw Error("LP_OVERFLOW",
                  "The squares of gamma and of the kernel leave the range of a double; scale them down.");
    }
  }
  blas::eigh(m, out.vectors.data, out.values);
  // What rounding leaves of a zero would grow exponentially in long times.
  const double rounding = 16 * std::numeric_limits<double>::epsilon() * static_cast<double>(m) * out.values[m - 1];
  for (Index k = 0; k < m; k++) {
    if (!(out.values[k] > rounding)) out.values[k] = 0;
  }

  // (m, q) the parts w = V W0 and h = V Aᵀ H0.
  Buffer<double> pulled(m * q);
  contrast_of(state.features, samples, gamma, {pulled.get(), state.classes(), state.dim()}, control);
  multiply(out.vectors, {state.prototypes.data, m, q}, out.prototype_parts, control);
  multiply(out.vectors, {pulled.get(), m, q}, out.feature_parts, control);
}

void kernel_combine(Matrix<const double> features, const KernelModes& modes, const KernelCoefficients& coefficients,
                    Matrix<double> out_features, Matrix<double> out_prototypes, const Control& control) {
  const Index m = modes.vectors.rows, q = modes.prototype_parts.cols;
  // (m, q) both: what V goes to work on, and what K A does.
  Buffer<double> weights(m * q), pulls(m * q);
  const Matrix<double> mixed{weights.get(), m, q}, pulled{pulls.get(), m, q};
  // out = Vᵀ (a ∘ w + b ∘ h)
  const auto synthesize = [&](const double* a, const double* b, Matrix<double> out) {
    for (Index k = 0; k < m; k++) {
      for (Index j = 0; j < q; j++) {
        mixed(k, j) = a[k] * modes.prototype_parts(k, j) + b[k] * modes.feature_parts(k, j);
      }
    }
    parallel_for(m, kTile, control, [&](Index begin, Index end) {
      blas::gemm(true, false, end - begin, q, m, 1.0, modes.vectors.data + begin, m, mixed.data, q, 0.0, out.row(begin),
                 q);
    });
  };
  synthesize(coefficients.grow, coefficients.rise, out_prototypes);
  synthesize(coefficients.rise, coefficients.lift, pulled);
  // (N, q) H = initial H0 + K A (Vᵀ (rise ∘ w + lift ∘ h)).
  parallel_for(features.rows, kTile, control, [&](Index begin, Index end) {
    double* out = out_features.row(begin);
    const double* initial = features.row(begin);
    for (Index j = 0; j < (end - begin) * q; j++) out[j] = coefficients.initial * initial[j];
    blas::gemm(false, false, end - begin, q, m, 1.0, modes.reach.row(begin), m, pulled.data, q, 1.0, out, q);
  });
}

}  // namespace lp
