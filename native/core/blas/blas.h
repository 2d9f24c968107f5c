// Dense products and factorizations: the BLAS and LAPACK found by the build, or reference kernels in their place.
// All matrices are row-major. Every call runs on the calling thread alone; operations tile and parallelize.
#pragma once

#include <string>

#include "core/array.h"

namespace lp::blas {

// c (m, n) = alpha op(a) op(b) + beta c, where op transposes if told; ld is the distance between rows.
// beta = 0 overwrites c, whatever it holds.
template <class T>
void gemm(bool transpose_a, bool transpose_b, Index m, Index n, Index k, T alpha, const T* a, Index lda, const T* b,
          Index ldb, T beta, T* c, Index ldc);

// Lower triangle of c (n, n) = alpha aᵀa + beta c, a (k, n): a Gram matrix of columns.
template <class T>
void syrk(Index n, Index k, T alpha, const T* a, Index lda, T beta, T* c, Index ldc);

// Eigen-decomposition of the symmetric a (n, n), of which the lower triangle is read: eigenvalues ascending, a
// overwritten by eigenvectors, one a row.
void eigh(Index n, double* a, double* eigenvalues);

// Singular value decomposition a (n, n) = u diag(s) vt, s descending; a is overwritten.
void svd(Index n, double* a, double* u, double* s, double* vt);

// What serves the calls, in words: "OpenBLAS of the system (…)", and its own description if it has one.
std::string source();
std::string description();

}  // namespace lp::blas
