// Kernels that use what nvcc turns into instructions of their own: bits, wide integers, conversions, functions.
#pragma once

#include <cstdint>

#include "cuda/runtime.h"

namespace lp::test {

constexpr int kBits = 12, kWide = 12, kNumbers = 14;

// out (count, kBits) of a, b (count).
void bits(const uint32_t* a, const uint32_t* b, int count, uint32_t* out, cudaStream_t stream);
// out (count, kWide) of a, b (count).
void wide(const int64_t* a, const int64_t* b, int count, int64_t* out, cudaStream_t stream);
// out (count, kNumbers) of x (count).
template <class T>
void numbers(const T* x, int count, T* out, cudaStream_t stream);

// out (rows, across, 2): i and j of every cell, added to what is there, by so many blocks of 32 threads.
void cells(int64_t rows, int64_t across, unsigned blocks, int64_t* out, cudaStream_t stream);

}  // namespace lp::test
