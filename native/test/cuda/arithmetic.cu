#include "test/cuda/arithmetic.h"

#include "cuda/launch.h"

namespace lp::test {

using namespace lp::cuda;

__global__ void bits_kernel(const uint32_t* a, const uint32_t* b, int count, uint32_t* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  const uint32_t x = a[i], y = b[i];
  uint32_t* const to = out + i * kBits;
  to[0] = static_cast<uint32_t>(__popc(x));
  to[1] = static_cast<uint32_t>(__clz(static_cast<int>(x)));
  to[2] = static_cast<uint32_t>(__ffs(static_cast<int>(x)));
  to[3] = __brev(x);
  to[4] = __umulhi(x, y);
  to[5] = x / (y | 1);
  to[6] = x % 7;
  to[7] = static_cast<uint32_t>(static_cast<int>(x) >> (y & 31));
  to[8] = x << (y & 31) | x >> (-y & 31);
  to[9] = (x & y) ^ (~x & (x | y));
  to[10] = static_cast<uint32_t>(static_cast<int8_t>(x)) + static_cast<uint16_t>(y);
  to[11] = (x >> 5 & 0x7ff) + (x > y ? x - y : y - x);
}
void bits(const uint32_t* a, const uint32_t* b, int count, uint32_t* out, cudaStream_t stream) {
  launch(bits_kernel, dim3((count + 63) / 64), dim3(64), 0, stream, a, b, count, out);
}

__global__ void wide_kernel(const int64_t* a, const int64_t* b, int count, int64_t* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  const int64_t x = a[i], y = b[i];
  int64_t* const to = out + i * kWide;
  to[0] = static_cast<int64_t>(static_cast<uint64_t>(x) * static_cast<uint64_t>(y));
  to[1] = x / (y | 1);
  to[2] = x % (y | 1);
  to[3] = x / 7;
  to[4] = static_cast<int64_t>(static_cast<uint64_t>(x) / 10);
  to[5] = x >> (y & 63);
  to[6] = static_cast<int64_t>(static_cast<uint64_t>(x) << (y & 63));
  to[7] = static_cast<int64_t>(static_cast<double>(x));
  to[8] = static_cast<int64_t>(static_cast<float>(y % 1000000)) + static_cast<int>(x);
  to[9] = x < y ? -x : y;
  to[10] = __popcll(static_cast<unsigned long long>(x ^ y));
  to[11] = static_cast<int64_t>(static_cast<unsigned long long>(static_cast<float>(y & 0xffffff) / 3));
}
void wide(const int64_t* a, const int64_t* b, int count, int64_t* out, cudaStream_t stream) {
  launch(wide_kernel, dim3((count + 63) / 64), dim3(64), 0, stream, a, b, count, out);
}

template <class T>
__global__ void numbers_kernel(const T* x, int count, T* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  const T v = x[i];
  T* const to = out + i * kNumbers;
  to[0] = exp(v);
  to[1] = log(fabs(v));
  to[2] = sqrt(fabs(v));
  to[3] = 1 / v;
  to[4] = tanh(v);
  to[5] = log1p(fabs(v));
  to[6] = expm1(v);
  to[7] = pow(fabs(v), T(1.25));
  to[8] = floor(v) + 4 * ceil(v) + 16 * rint(v) + 64 * trunc(v);
  to[9] = fmin(fmax(v, T(-2)), T(3));
  to[10] = fma(v, v, T(-1));
  to[11] = copysign(T(2), v) + (isfinite(v) ? T(1) : T(0));
  to[12] = rsqrt(fabs(v));
  to[13] = static_cast<T>(static_cast<int>(v * 1000));
}
template <class T>
void numbers(const T* x, int count, T* out, cudaStream_t stream) {
  launch(numbers_kernel<T>, dim3((count + 63) / 64), dim3(64), 0, stream, x, count, out);
}
template void numbers(const float*, int, float*, cudaStream_t);
template void numbers(const double*, int, double*, cudaStream_t);

__global__ void cells_kernel(int64_t rows, int64_t across, int64_t* out) {
  for_cells(rows, across, [&](int64_t i, int64_t j, int64_t at) {
    out[2 * at] += i;
    out[2 * at + 1] += j;
  });
}
void cells(int64_t rows, int64_t across, unsigned blocks, int64_t* out, cudaStream_t stream) {
  launch(cells_kernel, dim3(blocks), dim3(32), 0, stream, rows, across, out);
}

}  // namespace lp::test
