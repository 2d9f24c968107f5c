// Factorizations put together again: random matrices, repeated and zero rows, all zeros, and those of unequal classes.
#include "core/blas/blas.h"

#include <algorithm>
#include <vector>

#include "check.h"

using namespace lp;
using namespace lp::test;

std::vector<double> matrix(Index n, int kind, Random& random) {
  std::vector<double> a(n * n);
  for (double& x : a) x = random.uniform();
  if (kind == 1) std::fill_n(a.begin(), n, 0.0);
  if (kind == 2 && n > 1) std::transform(a.begin(), a.begin() + n, a.begin() + n, [](double x) { return 2 * x; });
  if (kind == 3) std::fill(a.begin(), a.end(), 0.0);
  if (kind == 4) {  // diag(√count) ((1+γ) I − γ 11ᵀ): a class may be empty, γ may make it singular
    const double gamma = static_cast<double>(random.below(6)) / 2.5;
    for (Index r = 0; r < n; r++) {
      const double root = std::sqrt(static_cast<double>(random.below(6)));
      for (Index s = 0; s < n; s++) a[r * n + s] = root * ((r == s ? 1 + gamma : 0) - gamma);
    }
  }
  return a;
}

// Entry (i, j) of left diag(values) right.
double product(Index n, const double* left, const double* values, const double* right, Index i, Index j) {
  double sum = 0;
  for (Index k = 0; k < n; k++) sum += left[i * n + k] * (values ? values[k] : 1) * right[k * n + j];
  return sum;
}

std::vector<double> transposed(Index n, const std::vector<double>& a) {
  std::vector<double> out(n * n);
  for (Index i = 0; i < n; i++)
    for (Index j = 0; j < n; j++) out[j * n + i] = a[i * n + j];
  return out;
}

void check_orthogonal(Index n, const std::vector<double>& q, const std::string& what) {
  const std::vector<double> other = transposed(n, q);
  for (Index i = 0; i < n; i++)
    for (Index j = 0; j < n; j++) check_close(product(n, q.data(), nullptr, other.data(), i, j), i == j, 1e-12, what);
}

void check_svd(Index n, std::vector<double> a, const std::string& what) {
  const std::vector<double> given = a;
  std::vector<double> u(n * n), s(n), vt(n * n);
  blas::svd(n, a.data(), u.data(), s.data(), vt.data());
  for (Index i = 0; i < n; i++)
    for (Index j = 0; j < n; j++)
      check_close(product(n, u.data(), s.data(), vt.data(), i, j), given[i * n + j], 1e-12, "svd" + what);
  check(std::is_sorted(s.rbegin(), s.rend()) && s.back() >= 0, "order of the singular values" + what);
  check_orthogonal(n, u, "left vectors" + what);
  check_orthogonal(n, vt, "right vectors" + what);
}

void check_eigh(Index n, std::vector<double> a, const std::string& what) {
  for (Index i = 0; i < n; i++)
    for (Index j = 0; j < i; j++) a[j * n + i] = a[i * n + j];
  const std::vector<double> given = a;
  std::vector<double> values(n);
  blas::eigh(n, a.data(), values.data());
  const std::vector<double> columns = transposed(n, a);
  for (Index i = 0; i < n; i++)
    for (Index j = 0; j < n; j++)
      check_close(product(n, columns.data(), values.data(), a.data(), i, j), given[i * n + j], 1e-12, "eigh" + what);
  check(std::is_sorted(values.begin(), values.end()), "order of the eigenvalues" + what);
  check_orthogonal(n, a, "eigenvectors" + what);
}

int main() {
  Random random(1);
  for (int round = 0; round < 40; round++) {
    for (Index n = 1; n <= 9; n++) {
      for (int kind = 0; kind <= 4; kind++) {
        const std::string what = ", n = " + std::to_string(n) + ", kind " + std::to_string(kind);
        check_svd(n, matrix(n, kind, random), what);
        check_eigh(n, matrix(n, kind, random), what);
      }
    }
  }
  return failures();
}
