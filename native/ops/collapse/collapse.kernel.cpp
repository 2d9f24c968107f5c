// Kernels of collapse: see collapse.h, core/dispatch.h.
#include "ops/collapse/collapse.h"

#include "core/vector.h"

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

// The largest |x_j|; NaN counts as none.
template <class T>
double largest_of(const T* x, Index size) {
  T most = 0;
#pragma omp simd reduction(max : most)
  for (Index j = 0; j < size; j++) {
    const T value = x[j] < 0 ? -x[j] : x[j];
    most = value > most ? value : most;
  }
  return static_cast<double>(most);
}

// out = scale x − mean, the mean given as high + low, each rounded to T: the first difference is exact where x is close
// to the mean, as `scale` is a power of two. Returns ‖out‖².
template <class T>
double subtract(const T* x, T scale, const T* high, const T* low, Index size, T* out) {
  constexpr Index kLanes = 4 * kVectorBytes / sizeof(T), kStrip = 8 * kLanes;
  double square = 0;
  Index j = 0;
  while (j + kLanes <= size) {  // few squares are added in T, then these sums in double
    T sums[kLanes] = {};
    const Index stop = j + kStrip <= size ? j + kStrip : size;
    for (; j + kLanes <= stop; j += kLanes) {
#pragma omp simd
      for (Index lane = 0; lane < kLanes; lane++) {
        const T rest = (scale * x[j + lane] - high[j + lane]) - low[j + lane];
        out[j + lane] = rest;
        sums[lane] += rest * rest;
      }
    }
#pragma omp simd reduction(+ : square)
    for (Index lane = 0; lane < kLanes; lane++) square += static_cast<double>(sums[lane]);
  }
  for (; j < size; j++) {
    out[j] = (scale * x[j] - high[j]) - low[j];
    square += static_cast<double>(out[j]) * static_cast<double>(out[j]);
  }
  // Where squares come near to vanishing in T they are added up again, in double.
  return sizeof(T) == 8 || square > 1e-24 * static_cast<double>(size) ? square : squared_norm(out, size);
}

// The largest of values[c] + offsets[c] over c ≠ own, and the first c where it stands. `size` is a multiple of 8.
template <class T>
Best best_other(const T* values, const double* offsets, Index size, Index own) {
  typedef T Values __attribute__((vector_size(8 * sizeof(T))));
  typedef double Sums __attribute__((vector_size(64)));
  typedef int64_t Classes __attribute__((vector_size(64)));
  Classes at = {0, 1, 2, 3, 4, 5, 6, 7}, where = at;
  Sums best = Sums{} - __builtin_inf();
  for (Index c = 0; c < size; c += 8, at += 8) {
    Values value;
    Sums sum;
    __builtin_memcpy(&value, values + c, sizeof value);
    __builtin_memcpy(&sum, offsets + c, sizeof sum);
    sum += __builtin_convertvector(value, Sums);
    const Classes better = (sum > best) & (at != own);
    best = better ? sum : best;
    where = better ? at : where;
  }
  const auto fold = [&]<int half>() {
#define LP_SWAP(v) \
  __builtin_shufflevector(v, v, 0 ^ half, 1 ^ half, 2 ^ half, 3 ^ half, 4 ^ half, 5 ^ half, 6 ^ half, 7 ^ half)
    const Sums other = LP_SWAP(best);
    const Classes there = LP_SWAP(where);
#undef LP_SWAP
    const Classes better = (other > best) | ((other == best) & (there < where));
    best = better ? other : best;
    where = better ? there : where;
  };
  fold.template operator()<4>();
  fold.template operator()<2>();
  fold.template operator()<1>();
  return {best[0], static_cast<Index>(where[0])};
}

template void multiply(const float*, Index, const float*, Index, Index, float*, Index, const float*, Index);
template void multiply(const double*, Index, const double*, Index, Index, double*, Index, const double*, Index);
template double largest_of(const float*, Index);
template double largest_of(const double*, Index);
template double subtract(const float*, float, const float*, const float*, Index, float*);
template double subtract(const double*, double, const double*, const double*, Index, double*);
template Best best_other(const float*, const double*, Index, Index);
template Best best_other(const double*, const double*, Index, Index);

}  // namespace lp::LP_ISA
