// What every .cu includes: CUDA under nvcc, CUDA's execution model on the CPU in an emulated build. Rules that follow
// from being compiled by both:
//   * a kernel starts through `launch`, since only nvcc reads <<< >>>;
//   * a kernel is neither static nor in an anonymous namespace: its mangled name is the link between the engines;
//   * shared memory is dynamic, `shared_memory<T>()`, laid out in one place; there are no __shared__ variables;
//   * helpers are __forceinline__, so that a kernel's PTX holds all of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cuda/runtime.h"

#if defined(LAYERPEEL_CUDA_EMULATED)

#include "cuda/emulated/kernel.h"

#else

namespace lp::cuda {

// The dynamic shared memory of the block, aligned to 128 bytes; its size is told at the launch.
template <class T>
__device__ __forceinline__ T* shared_memory() {
  extern __shared__ __align__(128) unsigned char lp_shared[];
  return reinterpret_cast<T*>(lp_shared);
}

// kernel<<<grid, block, shared, stream>>>(arguments…), which are converted to the kernel's parameters. What is wrong
// with the launch is found by cudaGetLastError.
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream, A&&... arguments) {
  // clang-format off
  kernel<<<grid, block, shared, stream>>>(static_cast<std::decay_t<P>>(arguments)...);
  // clang-format on
}

// 16 bytes from global to shared memory behind the thread's back, of which the first `filled` are copied and the rest
// are zeros; both addresses are multiples of 16. Copies up to a commit are a group.
__device__ __forceinline__ void copy_async16(void* to, const void* from, int filled = 16) {
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(filled) : "memory");
}
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most kLeft groups of this thread's are on the way; others see the copies after a barrier.
template <int kLeft>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// Rounded to TF32 (10 bits of mantissa), to nearest, ties away from zero.
__device__ __forceinline__ uint32_t to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}
// D (16, 8) += A (16, 8) B (8, 8) of a warp on its tensor core. Lane l, with g = l/4 and t = l%4, holds
//   a: (g, t) (g+8, t) (g, t+4) (g+8, t+4);  b: (t, g) (t+4, g);  d: (g, 2t) (g, 2t+1) (g+8, 2t) (g+8, 2t+1).
__device__ __forceinline__ void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace lp::cuda

#endif

namespace lp::cuda {

constexpr int kWarp = 32;
constexpr uint32_t kFull = 0xffffffff;  // all lanes of a warp

// x of all lanes of a full warp brought together by an operation that commutes; every lane gets the result.
template <class T, class F>
__device__ __forceinline__ T warp_reduce(T x, F join) {
#pragma unroll
  for (int bits = kWarp / 2; bits > 0; bits >>= 1) x = join(x, __shfl_xor_sync(kFull, x, bits));
  return x;
}
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
  return warp_reduce(x, [](T a, T b) { return a + b; });
}
template <class T>
__device__ __forceinline__ T warp_max(T x) {
  return warp_reduce(x, [](T a, T b) { return a > b ? a : b; });
}

}  // namespace lp::cuda
