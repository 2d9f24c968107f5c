// How a body for the device starts its kernels, and the shapes that they take.
#pragma once

#include "core/device.h"
#include "cuda/check.h"
#include "cuda/kernel.h"

namespace lp::cuda {

inline cudaStream_t stream_of(const Job& job) { return static_cast<cudaStream_t>(job.stream()); }

// Puts a kernel on the job's stream. Nothing is done for a grid without blocks.
template <class... P, class... A>
void launch(const Job& job, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, A&&... arguments) {
  if (grid.x == 0 || grid.y == 0) return;
  launch(kernel, grid, block, shared, stream_of(job), std::forward<A>(arguments)...);
  check(cudaGetLastError(), "a launch");
}

// Lets a kernel have so much dynamic shared memory, where that is more than any may have unasked.
template <class... P>
void allow_shared(void (*kernel)(P...), std::size_t bytes) {
  if (bytes > 48 * 1024) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
          "cudaFuncSetAttribute");
  }
}

// Blocks that cover `size` elements of `unit` each. Throws LP_SHAPE beyond what a grid may have.
inline unsigned blocks_for(Index size, Index unit) {
  const Index blocks = divide_up(size, unit);
  if (blocks > 2147483647) throw Error("LP_SHAPE", "The arrays are too large for one call on a device.");
  return static_cast<unsigned>(blocks);
}

// Calls body(i, j, at) in every thread for its cells, at = i `across` + j, of so many rows; a grid of blocks in one
// dimension strides over them. Threads are fewer than 2³¹, so all divisions are of 32 bits, and none is in the loop:
// those of 64 bits are calls, around which registers are spilled.
template <class F>
__device__ __forceinline__ void for_cells(Index rows, Index across, F body) {
  const unsigned first = blockIdx.x * blockDim.x + threadIdx.x, stride = gridDim.x * blockDim.x;
  const unsigned width = across < 0x7fffffff ? static_cast<unsigned>(across) : 0x7fffffffu;
  const unsigned step_rows = stride / width, step = stride % width;
  Index j = first % width;
  for (Index i = first / width, at = first; i < rows; i += step_rows, at += stride) {
    body(i, j, at);
    j += step;
    if (j >= across) j -= across, i++;
  }
}

// Elements that lie side by side, read and written at once.
template <class T, int kVector>
struct alignas(sizeof(T) * kVector) Columns {
  static constexpr int kSize = kVector;
  T x[kVector];
};
// So many as 16 bytes hold.
template <class T>
using Pack = Columns<T, 16 / sizeof(T)>;

// Whether rows of p elements from `data` on can be read as packs.
template <class T>
bool packs(const T* data, Index p) {
  return p % Pack<T>::kSize == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

}  // namespace lp::cuda
