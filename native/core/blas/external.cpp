// BLAS and LAPACK through their Fortran interface, which every implementation has. Fortran stores columns: a row-major
// matrix is its transpose there, so gemm swaps its operands and eigenvectors come out as rows.
#include <algorithm>
#include <mutex>
#include <vector>

#include "core/blas/blas.h"
#include "core/error.h"

#define LP_JOIN_(a, b) a##b
#define LP_JOIN(a, b) LP_JOIN_(a, b)
#define LP_SYMBOL(name) LP_JOIN(LAYERPEEL_BLAS_PREFIX, name)

extern "C" {
void LP_SYMBOL(sgemm_)(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                       const int*, const float*, const int*, const float*, float*, const int*);
void LP_SYMBOL(dgemm_)(const char*, const char*, const int*, const int*, const int*, const double*, const double*,
                       const int*, const double*, const int*, const double*, double*, const int*);
void LP_SYMBOL(ssyrk_)(const char*, const char*, const int*, const int*, const float*, const float*, const int*,
                       const float*, float*, const int*);
void LP_SYMBOL(dsyrk_)(const char*, const char*, const int*, const int*, const double*, const double*, const int*,
                       const double*, double*, const int*);
void LP_SYMBOL(dsyevd_)(const char*, const char*, const int*, double*, const int*, double*, double*, const int*, int*,
                        const int*, int*);
void LP_SYMBOL(dgesdd_)(const char*, const int*, const int*, double*, const int*, double*, double*, const int*, double*,
                        const int*, double*, const int*, int*, int*);
#ifndef __APPLE__
// Weak: a BLAS that is not OpenBLAS under its name lacks them.
__attribute__((weak)) void LP_SYMBOL(openblas_set_num_threads)(int);
__attribute__((weak)) char* LP_SYMBOL(openblas_get_config)(void);
#endif
}

namespace lp::blas {
namespace {

int narrow(Index value) {
  if (value > 0x7fffffff) throw Error("LP_SHAPE", "A dimension exceeds what the BLAS can address (2³¹ − 1).");
  return static_cast<int>(value);
}

// The pool is the only source of threads: a BLAS that starts its own would compete with it.
void single_threaded() {
#ifndef __APPLE__
  static std::once_flag once;
  std::call_once(once, [] {
    if (LP_SYMBOL(openblas_set_num_threads)) LP_SYMBOL(openblas_set_num_threads)(1);
  });
#endif
}

void check(int info, const char* routine) {
  if (info != 0)
    throw Error("LP_INTERNAL", std::string(routine) + " did not converge (info " + std::to_string(info) + ").");
}

template <class Gemm, class T>
void call_gemm(Gemm* routine, bool transpose_a, bool transpose_b, Index m, Index n, Index k, T alpha, const T* a,
               Index lda, const T* b, Index ldb, T beta, T* c, Index ldc) {
  single_threaded();
  const int rows = narrow(n), cols = narrow(m), inner = narrow(k);
  const int left = narrow(std::max<Index>(ldb, 1)), right = narrow(std::max<Index>(lda, 1)),
            out = narrow(std::max<Index>(ldc, 1));
  routine(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &rows, &cols, &inner, &alpha, b, &left, a, &right, &beta, c,
          &out);
}

template <class Syrk, class T>
void call_syrk(Syrk* routine, Index n, Index k, T alpha, const T* a, Index lda, T beta, T* c, Index ldc) {
  single_threaded();
  const int order = narrow(n), inner = narrow(k), stride = narrow(lda), out = narrow(ldc);
  routine("U", "N", &order, &inner, &alpha, a, &stride, &beta, c, &out);
}

}  // namespace

template <>
void gemm(bool ta, bool tb, Index m, Index n, Index k, float alpha, const float* a, Index lda, const float* b,
          Index ldb, float beta, float* c, Index ldc) {
  call_gemm(LP_SYMBOL(sgemm_), ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

template <>
void gemm(bool ta, bool tb, Index m, Index n, Index k, double alpha, const double* a, Index lda, const double* b,
          Index ldb, double beta, double* c, Index ldc) {
  call_gemm(LP_SYMBOL(dgemm_), ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

template <>
void syrk(Index n, Index k, float alpha, const float* a, Index lda, float beta, float* c, Index ldc) {
  call_syrk(LP_SYMBOL(ssyrk_), n, k, alpha, a, lda, beta, c, ldc);
}

template <>
void syrk(Index n, Index k, double alpha, const double* a, Index lda, double beta, double* c, Index ldc) {
  call_syrk(LP_SYMBOL(dsyrk_), n, k, alpha, a, lda, beta, c, ldc);
}

void eigh(Index n, double* a, double* eigenvalues) {
  single_threaded();
  const int order = narrow(n), query = -1;
  int info = 0, integer_size = 0;
  double size = 0;
  LP_SYMBOL(dsyevd_)("V", "U", &order, a, &order, eigenvalues, &size, &query, &integer_size, &query, &info);
  std::vector<double> work(static_cast<size_t>(size));
  std::vector<int> integers(integer_size);
  const int work_size = narrow(work.size());
  LP_SYMBOL(dsyevd_)("V", "U", &order, a, &order, eigenvalues, work.data(), &work_size, integers.data(), &integer_size,
                     &info);
  check(info, "The symmetric eigensolver");
}

void svd(Index n, double* a, double* u, double* s, double* vt) {
  single_threaded();
  const int order = narrow(n), query = -1;
  int info = 0;
  double size = 0;
  std::vector<int> integers(8 * n);
  // aᵀ = v diag(s) uᵀ in columns: LAPACK's left vectors are our right ones, and both come out transposed as wanted.
  LP_SYMBOL(dgesdd_)("A", &order, &order, a, &order, s, vt, &order, u, &order, &size, &query, integers.data(), &info);
  std::vector<double> work(static_cast<size_t>(size));
  const int work_size = narrow(work.size());
  LP_SYMBOL(dgesdd_)("A", &order, &order, a, &order, s, vt, &order, u, &order, work.data(), &work_size, integers.data(),
                     &info);
  check(info, "The singular value decomposition");
}

std::string source() { return LAYERPEEL_BLAS_SOURCE; }

std::string description() {
#ifndef __APPLE__
  if (LP_SYMBOL(openblas_get_config)) return LP_SYMBOL(openblas_get_config)();
#endif
  return "";
}

}  // namespace lp::blas
