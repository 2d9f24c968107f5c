// Kernels of collapse: see collapse.h, core/dispatch.h.
#include "core/array.h"

namespace lp::LP_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kTileCols = 6;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kTileCols = 3;
#else
constexpr int kVectorBytes = 16, kTileCols = 3;
#endif
constexpr int kTileRows = 4;  // kTileRows × kTileCols sums, and what they are made of, fit the registers

template <class T, int Bytes>
struct Vector {
  typedef T Type __attribute__((vector_size(Bytes)));
};

// The sum of a vector's elements, by halves.
template <class T, int Bytes>
static inline T add_up(typename Vector<T, Bytes>::Type x) {
  if constexpr (Bytes <= 16) {
    T sum = x[0];
    for (int i = 1; i < static_cast<int>(Bytes / sizeof(T)); i++) sum += x[i];
    return sum;
  } else {
    typename Vector<T, Bytes / 2>::Type half[2];
    __builtin_memcpy(half, &x, Bytes);
    return add_up<T, Bytes / 2>(half[0] + half[1]);
  }
}

// out (kTileRows, Cols) = x fᵀ of rows of length `depth`, a multiple of the vector.
template <int Cols, class T>
static inline void multiply_tile(const T* x, const T* f, Index depth, T* out, Index ld) {
  using V = typename Vector<T, kVectorBytes>::Type;
  V sums[kTileRows][Cols] = {};
  for (Index j = 0; j < depth; j += kVectorBytes / sizeof(T)) {
    V left[kTileRows];
#pragma GCC unroll 8
    for (int i = 0; i < kTileRows; i++) __builtin_memcpy(&left[i], x + i * depth + j, kVectorBytes);
#pragma GCC unroll 8
    for (int k = 0; k < Cols; k++) {
      V right;
      __builtin_memcpy(&right, f + k * depth + j, kVectorBytes);
#pragma GCC unroll 8
      for (int i = 0; i < kTileRows; i++) sums[i][k] += left[i] * right;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; i++) {
#pragma GCC unroll 8
    for (int k = 0; k < Cols; k++) out[i * ld + k] = add_up<T, kVectorBytes>(sums[i][k]);
  }
}

// out (rows, cols) = x fᵀ of x (rows, depth), f (cols, depth): few columns, long rows. `rows` is a multiple of 4 and
// `depth` one of 64 bytes. Meanwhile `ahead` bytes from `next` on are fetched from memory, which would idle otherwise.
template <class T>
void multiply(const T* x, Index rows, const T* f, Index cols, Index depth, T* out, Index ld, const T* next,
              Index ahead) {
  const Index tiles = (cols + kTileCols - 1) / kTileCols * (rows / kTileRows);
  const Index share = tiles > 0 ? (ahead + tiles - 1) / tiles : 0;
  const char *fetched = reinterpret_cast<const char*>(next), *end = fetched + ahead;
  for (Index k = 0; k < cols; k += kTileCols) {
    for (Index i = 0; i < rows; i += kTileRows) {
      for (const char* stop = fetched + share; fetched < stop && fetched < end; fetched += 64)
        __builtin_prefetch(fetched);
      const T *left = x + i * depth, *right = f + k * depth;
      T* to = out + i * ld + k;
      switch (cols - k) {
        case 1:
          multiply_tile<1>(left, right, depth, to, ld);
          break;
        case 2:
          multiply_tile<2>(left, right, depth, to, ld);
          break;
#if defined(__AVX512F__)
        case 3:
          multiply_tile<3>(left, right, depth, to, ld);
          break;
        case 4:
          multiply_tile<4>(left, right, depth, to, ld);
          break;
        case 5:
          multiply_tile<5>(left, right, depth, to, ld);
          break;
#endif
        default:
          multiply_tile<kTileCols>(left, right, depth, to, ld);
      }
    }
  }
}

// out = x − mean, subtracted in double; returns ‖x − mean‖².
template <class T>
double subtract(const T* x, const double* mean, Index size, T* out) {
  double square = 0;
#pragma omp simd reduction(+ : square)
  for (Index j = 0; j < size; j++) {
    const double rest = static_cast<double>(x[j]) - mean[j];
    square += rest * rest;
    out[j] = static_cast<T>(rest);
  }
  return square;
}

// Σ x².
template <class T>
double squares(const T* x, Index size) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < size; j++) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  return sum;
}

// max over c ≠ skip of values[c] + offsets[c].
template <class T>
double best_other(const T* values, const double* offsets, Index size, Index skip) {
  double best = -__builtin_inf();
#pragma omp simd reduction(max : best)
  for (Index c = 0; c < size; c++) {
    const double value = c == skip ? -__builtin_inf() : values[c] + offsets[c];
    best = value > best ? value : best;
  }
  return best;
}

template void multiply(const float*, Index, const float*, Index, Index, float*, Index, const float*, Index);
template void multiply(const double*, Index, const double*, Index, Index, double*, Index, const double*, Index);
template double subtract(const float*, const double*, Index, float*);
template double subtract(const double*, const double*, Index, double*);
template double squares(const float*, Index);
template double squares(const double*, Index);
template double best_other(const float*, const double*, Index, Index);
template double best_other(const double*, const double*, Index, Index);

}  // namespace lp::LP_ISA
