#include "test/cuda/small.h"

#include "cuda/kernel.h"

namespace lp::test {

using namespace lp::cuda;

__global__ void add_kernel(float* x, const float* by, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) x[i] += *by;
}
void add(float* x, const float* by, int n, cudaStream_t stream) {
  launch(add_kernel, dim3((n + 31) / 32), dim3(32), 0, stream, x, by, n);
}

__global__ void increment_kernel(float* by) { *by += 1; }
void increment(float* by, cudaStream_t stream) { launch(increment_kernel, dim3(1), dim3(1), 0, stream, by); }

__global__ void nothing_kernel() {}
void nothing(dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream) {
  launch(nothing_kernel, grid, block, shared, stream);
}
void allow_nothing_shared(int bytes) {
  cudaFuncSetAttribute(nothing_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

__global__ void ranks_kernel(int* out) {
  int* const all = shared_memory<int>();
  const int me = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  all[me] = me;
  __syncthreads();
  const int other = all[threads - 1 - me];
  const int back = __shfl_xor_sync(kFull, __shfl_xor_sync(kFull, other, 1), 1);
  out[static_cast<int>(blockIdx.x) * threads + me] = 1000 * static_cast<int>(blockIdx.x) + threads - 1 - back;
}
void ranks(int* out, int blocks, int threads, cudaStream_t stream) {
  launch(ranks_kernel, dim3(blocks), dim3(threads), threads * sizeof(int), stream, out);
}

__global__ void counts_kernel(int* out) {
  const int me = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int odd = __syncthreads_count(me % 2);
  const int last = __syncthreads_or(me == threads - 1);
  const int below = __syncthreads_and(me < threads);
  if (me == 0) out[0] = odd, out[1] = last, out[2] = below;
}
void counts(int* out, int threads, cudaStream_t stream) {
  launch(counts_kernel, dim3(1), dim3(threads), 0, stream, out);
}

__global__ void divergent_barrier_kernel(int* out) {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    out[threadIdx.x] = 1;
  }
}
__global__ void two_barriers_kernel(int* out) {
  if (threadIdx.x < 32) {
    out[threadIdx.x] = 1;
    __syncthreads();
  } else {
    out[threadIdx.x] = 2;
    __syncthreads();
  }
}
__global__ void barrier_after_end_kernel(int* out) {
  if (threadIdx.x == 0) return;
  out[threadIdx.x] = 1;
  __syncthreads();
}
__global__ void absent_lane_kernel(int* out) {
  if (threadIdx.x != 5) out[threadIdx.x] = __shfl_xor_sync(kFull, 1, 1);
}
__global__ void lane_outside_mask_kernel(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffff, 1, 20);
}
__global__ void own_lane_outside_mask_kernel(int* out) { out[threadIdx.x] = __shfl_sync(0xffff, 1, 0); }
__global__ void different_masks_kernel(int* out) {
  out[threadIdx.x] = __shfl_sync(threadIdx.x < 16 ? 0xffff : kFull, 1, 0);
}
__global__ void lanes_that_the_block_lacks_kernel(int* out) { out[threadIdx.x] = __shfl_xor_sync(kFull, 1, 1); }
__global__ void copy_not_waited_for_kernel(int* out) {
  copy_async16(shared_memory<int>() + 4 * threadIdx.x, out + 4 * threadIdx.x);
  copy_commit();
}
__global__ void copy_misaligned_kernel(int* out) {
  copy_async16(shared_memory<int>(), out + 1);
  copy_commit();
  copy_wait<0>();
}
__global__ void copy_beyond_shared_kernel(int* out) {
  copy_async16(shared_memory<int>() + 128, out);
  copy_commit();
  copy_wait<0>();
}
__global__ void trap_kernel(int* out) {
  if (out) __trap();
}

void misuse(Misused which, int* out, cudaStream_t stream) {
  const auto go = [&](void (*kernel)(int*), unsigned threads) {
    launch(kernel, dim3(1), dim3(threads), 512, stream, out);
  };
  switch (which) {
    case Misused::divergent_barrier:
      return go(divergent_barrier_kernel, 64);
    case Misused::two_barriers:
      return go(two_barriers_kernel, 64);
    case Misused::barrier_after_end:
      return go(barrier_after_end_kernel, 64);
    case Misused::absent_lane:
      return go(absent_lane_kernel, 32);
    case Misused::lane_outside_mask:
      return go(lane_outside_mask_kernel, 32);
    case Misused::own_lane_outside_mask:
      return go(own_lane_outside_mask_kernel, 32);
    case Misused::different_masks:
      return go(different_masks_kernel, 32);
    case Misused::lanes_that_the_block_lacks:
      return go(lanes_that_the_block_lacks_kernel, 16);
    case Misused::copy_not_waited_for:
      return go(copy_not_waited_for_kernel, 32);
    case Misused::copy_misaligned:
      return go(copy_misaligned_kernel, 1);
    case Misused::copy_beyond_shared:
      return go(copy_beyond_shared_kernel, 1);
    case Misused::trap:
      return go(trap_kernel, 1);
  }
}

__global__ void unwritten_kernel(float* out) { out[threadIdx.x] = shared_memory<float>()[threadIdx.x]; }
void unwritten(float* out, cudaStream_t stream) {
  launch(unwritten_kernel, dim3(1), dim3(32), 32 * sizeof(float), stream, out);
}

}  // namespace lp::test
