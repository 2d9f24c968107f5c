// Dense products and factorizations in plain loops, for machines where no BLAS is to be had, and the oracle in tests.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/blas/blas.h"
#include "core/error.h"

namespace lp::blas {

template <class T>
void gemm(bool transpose_a, bool transpose_b, Index m, Index n, Index k, T alpha, const T* a, Index lda, const T* b,
          Index ldb, T beta, T* c, Index ldc) {
  std::vector<T> column(transpose_b ? k * n : 0);
  if (transpose_b) {  // rows of op(b) must be contiguous for the inner loop
    for (Index j = 0; j < n; j++)
      for (Index l = 0; l < k; l++) column[l * n + j] = b[j * ldb + l];
    b = column.data();
    ldb = n;
  }
  for (Index i = 0; i < m; i++) {
    T* out = c + i * ldc;
    for (Index j = 0; j < n; j++) out[j] = beta == T(0) ? T(0) : beta * out[j];
    for (Index l = 0; l < k; l++) {
      const T factor = alpha * (transpose_a ? a[l * lda + i] : a[i * lda + l]);
      const T* row = b + l * ldb;
      for (Index j = 0; j < n; j++) out[j] += factor * row[j];
    }
  }
}

template <class T>
void syrk(Index n, Index k, T alpha, const T* a, Index lda, T beta, T* c, Index ldc) {
  for (Index i = 0; i < n; i++) {
    for (Index j = 0; j <= i; j++) {
      T sum = 0;
      for (Index l = 0; l < k; l++) sum += a[l * lda + i] * a[l * lda + j];
      T& out = c[i * ldc + j];
      out = alpha * sum + (beta == T(0) ? T(0) : beta * out);
    }
  }
}

template void gemm(bool, bool, Index, Index, Index, float, const float*, Index, const float*, Index, float, float*,
                   Index);
template void gemm(bool, bool, Index, Index, Index, double, const double*, Index, const double*, Index, double, double*,
                   Index);
template void syrk(Index, Index, float, const float*, Index, float, float*, Index);
template void syrk(Index, Index, double, const double*, Index, double, double*, Index);

// One-sided Jacobi (Hestenes): rotates pairs of rows of a until all are orthogonal; their lengths are then the
// singular values. Rows within rounding of zero against the whole are left alone: their directions are rounding.
void svd(Index n, double* a, double* u, double* s, double* vt) {
  std::vector<double> rotation(n * n, 0.0);
  for (Index i = 0; i < n; i++) rotation[i * n + i] = 1;
  auto rotate = [n](double* x, double* y, double c, double t) {
    for (Index j = 0; j < n; j++) {
      const double xj = x[j], yj = y[j];
      x[j] = c * xj - t * yj;
      y[j] = t * xj + c * yj;
    }
  };
  auto dot = [n](const double* x, const double* y) { return std::inner_product(x, x + n, y, 0.0); };
  const double epsilon = std::numeric_limits<double>::epsilon();
  const double negligible = epsilon * epsilon * std::inner_product(a, a + n * n, a, 0.0);
  const double tolerance = epsilon * std::max(4.0, static_cast<double>(n));
  bool rotated = true;
  for (int sweep = 0; rotated; sweep++) {
    if (sweep == 60) throw Error("LP_INTERNAL", "The singular value decomposition did not converge.");
    rotated = false;
    for (Index i = 0; i < n; i++) {
      for (Index j = i + 1; j < n; j++) {
        double *x = a + i * n, *y = a + j * n;
        const double xx = dot(x, x), yy = dot(y, y), xy = dot(x, y);
        if (std::min(xx, yy) <= negligible || std::abs(xy) <= tolerance * std::sqrt(xx) * std::sqrt(yy)) continue;
        rotated = true;
        const double z = (yy - xx) / (2 * xy), t = std::copysign(1, z) / (std::abs(z) + std::hypot(1, z));
        const double c = 1 / std::hypot(1, t);
        rotate(x, y, c, c * t);
        rotate(&rotation[i * n], &rotation[j * n], c, c * t);
      }
    }
  }
  // rotation · a₀ = diag(s) vt, hence a₀ = rotationᵀ diag(s) vt.
  std::vector<Index> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::vector<double> length(n);
  for (Index i = 0; i < n; i++) length[i] = std::sqrt(dot(a + i * n, a + i * n));
  std::stable_sort(order.begin(), order.end(), [&](Index i, Index j) { return length[i] > length[j]; });
  for (Index k = 0; k < n; k++) {
    const Index i = order[k];
    s[k] = length[i];
    for (Index j = 0; j < n; j++) u[j * n + k] = rotation[i * n + j];
    for (Index j = 0; j < n; j++) vt[k * n + j] = length[i] > 0 ? a[i * n + j] / length[i] : 0;
  }
  // Rows for zero singular values: any completion to an orthonormal basis.
  for (Index k = 0; k < n; k++) {
    double* v = vt + k * n;
    if (s[k] > 1e-300 && s[k] > 1e-14 * s[0]) continue;
    for (Index axis = 0; axis < n; axis++) {
      std::fill(v, v + n, 0.0);
      v[axis] = 1;
      for (int twice = 0; twice < 2; twice++)
        for (Index l = 0; l < k; l++) {
          const double along = dot(v, vt + l * n);
          for (Index j = 0; j < n; j++) v[j] -= along * vt[l * n + j];
        }
      const double rest = std::sqrt(dot(v, v));
      for (Index j = 0; j < n; j++) v[j] /= rest;
      if (rest > 0.5 / std::sqrt(static_cast<double>(n))) break;
    }
  }
}

// Cyclic Jacobi: rotates each off-diagonal entry away in turn.
void eigh(Index n, double* a, double* eigenvalues) {
  std::vector<double> vectors(n * n, 0.0);
  for (Index i = 0; i < n; i++) vectors[i * n + i] = 1;
  for (Index i = 0; i < n; i++)
    for (Index j = 0; j < i; j++) a[j * n + i] = a[i * n + j];
  for (int sweep = 0;; sweep++) {
    if (sweep == 60) throw Error("LP_INTERNAL", "The symmetric eigensolver did not converge.");
    double off = 0, all = 0;
    for (Index i = 0; i < n; i++)
      for (Index j = 0; j < n; j++) (i == j ? all : off) += a[i * n + j] * a[i * n + j];
    if (off <= 1e-30 * (all + off)) break;
    for (Index p = 0; p < n; p++) {
      for (Index q = p + 1; q < n; q++) {
        const double apq = a[p * n + q];
        if (apq == 0) continue;
        const double z = (a[q * n + q] - a[p * n + p]) / (2 * apq),
                     t = std::copysign(1, z) / (std::abs(z) + std::hypot(1, z));
        const double c = 1 / std::hypot(1, t), s = c * t;
        for (Index k = 0; k < n; k++) {
          const double x = a[k * n + p], y = a[k * n + q];
          a[k * n + p] = c * x - s * y;
          a[k * n + q] = s * x + c * y;
        }
        for (Index k = 0; k < n; k++) {
          const double x = a[p * n + k], y = a[q * n + k];
          a[p * n + k] = c * x - s * y;
          a[q * n + k] = s * x + c * y;
        }
        for (Index k = 0; k < n; k++) {
          const double x = vectors[p * n + k], y = vectors[q * n + k];
          vectors[p * n + k] = c * x - s * y;
          vectors[q * n + k] = s * x + c * y;
        }
      }
    }
  }
  std::vector<Index> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](Index i, Index j) { return a[i * n + i] < a[j * n + j]; });
  for (Index k = 0; k < n; k++) eigenvalues[k] = a[order[k] * n + order[k]];
  for (Index k = 0; k < n; k++) std::copy_n(&vectors[order[k] * n], n, a + k * n);
}

std::string source() { return LAYERPEEL_BLAS_SOURCE; }
std::string description() { return ""; }

}  // namespace lp::blas
