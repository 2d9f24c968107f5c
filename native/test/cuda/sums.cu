#include "test/cuda/sums.h"

#include "cuda/kernel.h"

namespace lp::test {

using namespace lp::cuda;

constexpr int kSumThreads = 256, kSumWarps = kSumThreads / kWarp;

// x of all threads of the block; scratch (kWarps).
template <int kWarps>
__device__ __forceinline__ double block_sum(double x, double* scratch) {
  x = warp_sum(x);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  double all = 0;
#pragma unroll
  for (int w = 0; w < kWarps; w++) all += scratch[w];
  __syncthreads();
  return all;
}

template <class T>
__global__ void __launch_bounds__(kSumThreads)
    sum_kernel(const T* x, int64_t n, double* parts, unsigned* arrived, double* out) {
  double* const scratch = shared_memory<double>();
  int* const last = reinterpret_cast<int*>(scratch + kSumWarps);
  double own = 0;
  for (int64_t i = int64_t{blockIdx.x} * kSumThreads + threadIdx.x; i < n; i += int64_t{gridDim.x} * kSumThreads)
    own += x[i];
  own = block_sum<kSumWarps>(own, scratch);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = own;
    __threadfence();
    *last = atomicAdd(arrived, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!*last) return;
  own = 0;
  for (unsigned i = threadIdx.x; i < gridDim.x; i += kSumThreads) own += parts[i];
  own = block_sum<kSumWarps>(own, scratch);
  if (threadIdx.x == 0) {
    *out = own;
    atomicExch(arrived, 0u);
  }
}

template <class T>
void sum(const T* x, int64_t n, double* parts, unsigned* arrived, double* out, cudaStream_t stream) {
  const int64_t blocks = (n + kSumThreads - 1) / kSumThreads;
  launch(sum_kernel<T>,
         dim3(static_cast<unsigned>(blocks < 1    ? 1
                                    : blocks < 64 ? blocks
                                                  : 64)),
         dim3(kSumThreads), kSumWarps * sizeof(double) + sizeof(int), stream, x, n, parts, arrived, out);
}
template void sum(const float*, int64_t, double*, unsigned*, double*, cudaStream_t);
template void sum(const double*, int64_t, double*, unsigned*, double*, cudaStream_t);

// ---- rows -----------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float quick_exp(float x) { return __expf(x); }
__device__ __forceinline__ double quick_exp(double x) { return exp(x); }

// Of some logits: the largest, and Σ exp(z − largest).
template <class T>
struct Lead {
  T top, sum;
};
template <class T>
__device__ __forceinline__ Lead<T> join(const Lead<T>& a, const Lead<T>& b) {
  const T top = a.top > b.top ? a.top : b.top;
  return {top, a.sum * quick_exp(a.top - top) + b.sum * quick_exp(b.top - top)};
}

// A block a row.
template <class T, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarp)
    cross_entropy_kernel(T* rows, int64_t stride, const int32_t* labels, int classes, T* values) {
  constexpr int kVector = 16 / sizeof(T), kThreads = kWarps * kWarp;
  struct alignas(16) Pack {
    T x[kVector];
  };
  Lead<T>* const of_warps = shared_memory<Lead<T>>();
  const int label = labels[blockIdx.x], me = static_cast<int>(threadIdx.x);
  T* const z = rows + int64_t{blockIdx.x} * stride;
  const int whole = classes / kVector * kVector;

  Lead<T> own{sizeof(T) == 4 ? T(-3e38f) : T(-1e308), 0};
  const auto see = [&](T x) {
    const T top = x > own.top ? x : own.top;
    own = {top, own.sum * quick_exp(own.top - top) + quick_exp(x - top)};
  };
  for (int j = me * kVector; j < whole; j += kThreads * kVector) {
    const Pack pack = *reinterpret_cast<const Pack*>(z + j);
#pragma unroll
    for (int k = 0; k < kVector; k++) see(pack.x[k]);
  }
  for (int j = whole + me; j < classes; j += kThreads) see(z[j]);
  const T of_label = z[label];
#pragma unroll
  for (int bits = kWarp / 2; bits > 0; bits >>= 1) {
    own = join(own, Lead<T>{__shfl_xor_sync(kFull, own.top, bits), __shfl_xor_sync(kFull, own.sum, bits)});
  }
  if (me % kWarp == 0) of_warps[me / kWarp] = own;
  __syncthreads();  // nobody needs z as it was any more, either
  Lead<T> all = of_warps[0];
#pragma unroll
  for (int w = 1; w < kWarps; w++) all = join(all, of_warps[w]);

  const T inverse = 1 / all.sum;
  const auto turn = [&](T x, int j) { return inverse * quick_exp(x - all.top) - (j == label ? T(1) : T(0)); };
  for (int j = me * kVector; j < whole; j += kThreads * kVector) {
    Pack pack = *reinterpret_cast<const Pack*>(z + j);
#pragma unroll
    for (int k = 0; k < kVector; k++) pack.x[k] = turn(pack.x[k], j + k);
    *reinterpret_cast<Pack*>(z + j) = pack;
  }
  for (int j = whole + me; j < classes; j += kThreads) z[j] = turn(z[j], j);
  if (me == 0) values[blockIdx.x] = log(all.sum) - (of_label - all.top);
}

template <class T>
void cross_entropy(T* z, int64_t stride, const int32_t* labels, int count, int classes, T* values,
                   cudaStream_t stream) {
  const auto go = [&](auto kernel, int warps) {
    launch(kernel, dim3(count), dim3(warps * kWarp), warps * sizeof(Lead<T>), stream, z, stride, labels, classes,
           values);
  };
  classes <= 512 ? go(cross_entropy_kernel<T, 1>, 1) : go(cross_entropy_kernel<T, 8>, 8);
}
template void cross_entropy(float*, int64_t, const int32_t*, int, int, float*, cudaStream_t);
template void cross_entropy(double*, int64_t, const int32_t*, int, int, double*, cudaStream_t);

// ---- tiles ----------------------------------------------------------------------------------------------------------

// Tiles of 64 × 64 fed by asynchronous copies, two stages deep; rows padded by 16 bytes, so that no two of 8 share
// banks.
constexpr int kTile = 64, kDepth = 32, kRow = kDepth + 4;

__global__ void __launch_bounds__(128)
    matmul_tf32_kernel(const float* a, const float* b, float* c, int m, int n, int k) {
  float* const stages = shared_memory<float>();  // 2 × (A 64 × 36, B 64 × 36)
  const int first_row = static_cast<int>(blockIdx.y) * kTile, first_column = static_cast<int>(blockIdx.x) * kTile;
  const int me = static_cast<int>(threadIdx.x), warp = me / kWarp, lane = me % kWarp, group = lane / 4,
            place = lane % 4;
  const int rows = warp / 2 * 32, columns = warp % 2 * 32;  // this warp's 32 × 32 of the tile

  const auto fetch = [&](int stage, int depth) {
    for (int t = me; t < 2 * kTile * (kDepth / 4); t += 128) {
      const int which = t / (kTile * (kDepth / 4)), row = t / (kDepth / 4) % kTile, at = t % (kDepth / 4) * 4;
      const int i = (which ? first_column : first_row) + row, limit = which ? n : m, left = k - depth - at;
      const bool inside = i < limit && left > 0;
      const float* from = (which ? b : a) + (inside ? int64_t{i} * k + depth + at : 0);
      copy_async16(stages + ((stage * 2 + which) * kTile + row) * kRow + at, from, inside ? 16 : 0);
    }
    copy_commit();
  };

  float sums[2][4][4] = {};
  const int steps = (k + kDepth - 1) / kDepth;
  fetch(0, 0);
  for (int s = 0; s < steps; s++) {
    if (s + 1 < steps) {
      fetch((s + 1) % 2, (s + 1) * kDepth);
      copy_wait<1>();
    } else {
      copy_wait<0>();
    }
    __syncthreads();
    const float* const x = stages + s % 2 * 2 * kTile * kRow;
    const float* const y = x + kTile * kRow;
#pragma unroll
    for (int d = 0; d < kDepth; d += 8) {
      uint32_t of_a[2][4], of_b[4][2];
#pragma unroll
      for (int u = 0; u < 2; u++)
#pragma unroll
        for (int e = 0; e < 4; e++)
          of_a[u][e] = to_tf32(x[(rows + u * 16 + group + e % 2 * 8) * kRow + d + place + e / 2 * 4]);
#pragma unroll
      for (int v = 0; v < 4; v++)
#pragma unroll
        for (int e = 0; e < 2; e++) of_b[v][e] = to_tf32(y[(columns + v * 8 + group) * kRow + d + place + e * 4]);
#pragma unroll
      for (int u = 0; u < 2; u++)
#pragma unroll
        for (int v = 0; v < 4; v++) mma_tf32(sums[u][v], of_a[u], of_b[v]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int u = 0; u < 2; u++)
#pragma unroll
    for (int v = 0; v < 4; v++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int i = first_row + rows + u * 16 + group + e / 2 * 8;
        const int j = first_column + columns + v * 8 + place * 2 + e % 2;
        if (i < m && j < n) c[int64_t{i} * n + j] = sums[u][v][e];
      }
}

void matmul_tf32(const float* a, const float* b, float* c, int m, int n, int k, cudaStream_t stream) {
  launch(matmul_tf32_kernel, dim3((n + kTile - 1) / kTile, (m + kTile - 1) / kTile), dim3(128),
         2 * 2 * kTile * kRow * sizeof(float), stream, a, b, c, m, n, k);
}

}  // namespace lp::test
