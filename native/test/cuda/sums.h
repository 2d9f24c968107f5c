// Kernels of the tests' own, of the kinds that operations are made of: reductions over blocks, a row in one visit,
// tiles on tensor cores.
#pragma once

#include <cstdint>

#include "cuda/runtime.h"

namespace lp::test {

// out = Σ x of n numbers by the block that comes last, in an order that does not depend on which that is.
// parts (blocks ≤ 64) and arrived (1, zero; it is zero again) are the kernel's.
template <class T>
void sum(const T* x, int64_t n, double* parts, unsigned* arrived, double* out, cudaStream_t stream);

// Rows z (count, stride) of logits become softmax(z) − onehot(label), and values their cross-entropies. Rows are
// aligned to 16 bytes.
template <class T>
void cross_entropy(T* z, int64_t stride, const int32_t* labels, int count, int classes, T* values, cudaStream_t stream);

// c (m, n) = a (m, k) bᵀ (n, k) in TF32; k a multiple of 4, a and b aligned to 16 bytes.
void matmul_tf32(const float* a, const float* b, float* c, int m, int n, int k, cudaStream_t stream);

}  // namespace lp::test
