#include "test/cuda/faults.h"

#include "cuda/kernel.h"

namespace lp::test {

using namespace lp::cuda;

constexpr int kThreads = 64, kBlocks = 4, kEach = 4;

template <Fault kFault>
__global__ void __launch_bounds__(kThreads)
    faulty_sum_kernel(const float* x, float* parts, unsigned* arrived, float* out) {
  float* const staged = shared_memory<float>();       // (64, 4)
  float* const of_lanes = staged + kThreads * kEach;  // (64)
  float* const of_warps = of_lanes + kThreads;        // (2)
  int* const last = reinterpret_cast<int*>(of_warps + 2);
  const int me = static_cast<int>(threadIdx.x), lane = me % kWarp;

  const float* from = x + (static_cast<int>(blockIdx.x) * kThreads + me) * kEach;
  copy_async16(staged + me * kEach, from);
  copy_commit();
  if constexpr (kFault != Fault::missing_wait) copy_wait<0>();
  float own = 0;
  for (int k = 0; k < kEach; k++) own += staged[me * kEach + k];
  if constexpr (kFault == Fault::missing_wait) copy_wait<0>();
  if constexpr (kFault == Fault::misaligned) {
    const float4 pack = *reinterpret_cast<const float4*>(from - 1 + 2 * (me % 2));
    own += pack.x + pack.y + pack.z + pack.w > 1e30f ? 1 : 0;
  }
  if constexpr (kFault == Fault::beyond_global) own += x[kBlocks * kThreads * kEach + me] > 1e30f ? 1 : 0;
  if constexpr (kFault == Fault::beyond_shared) own += staged[kThreads * (kEach + 1) + 4 + me] > 1e30f ? 1 : 0;

  of_lanes[me] = own;
  if constexpr (kFault != Fault::missing_syncwarp) __syncwarp();
  if (lane == 0) {
    float sum = 0;
    for (int l = 0; l < kWarp; l++) sum += of_lanes[me + l];
    of_warps[me / kWarp] = sum;
  }
  if constexpr (kFault != Fault::missing_barrier) __syncthreads();
  if (me == 0) {
    parts[blockIdx.x] = of_warps[0] + of_warps[1];
    if constexpr (kFault == Fault::racing_blocks) *out = of_warps[0];
    if constexpr (kFault != Fault::missing_fence) __threadfence();
    *last = atomicAdd(arrived, 1u) == kBlocks - 1;
    if constexpr (kFault != Fault::missing_fence) __threadfence();
  }
  __syncthreads();
  if (!*last || me > 0) return;
  float sum = 0;
  for (int b = 0; b < kBlocks; b++) sum += parts[b];
  *out = sum;
}

void faulty_sum(Fault fault, const float* x, float* parts, unsigned* arrived, float* out, cudaStream_t stream) {
  const auto go = [&](auto kernel) {
    launch(kernel, dim3(kBlocks), dim3(kThreads), (kThreads * (kEach + 1) + 3) * sizeof(float), stream, x, parts,
           arrived, out);
  };
  switch (fault) {
    case Fault::none:
      return go(faulty_sum_kernel<Fault::none>);
    case Fault::missing_barrier:
      return go(faulty_sum_kernel<Fault::missing_barrier>);
    case Fault::missing_syncwarp:
      return go(faulty_sum_kernel<Fault::missing_syncwarp>);
    case Fault::missing_fence:
      return go(faulty_sum_kernel<Fault::missing_fence>);
    case Fault::missing_wait:
      return go(faulty_sum_kernel<Fault::missing_wait>);
    case Fault::beyond_global:
      return go(faulty_sum_kernel<Fault::beyond_global>);
    case Fault::beyond_shared:
      return go(faulty_sum_kernel<Fault::beyond_shared>);
    case Fault::misaligned:
      return go(faulty_sum_kernel<Fault::misaligned>);
    case Fault::racing_blocks:
      return go(faulty_sum_kernel<Fault::racing_blocks>);
  }
}

}  // namespace lp::test
