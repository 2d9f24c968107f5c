// Small kernels of the tests' own: steps of a stream, and what breaks CUDA's rules.
#pragma once

#include <string>

#include "cuda/runtime.h"

namespace lp::test {

// x[i] += *by for i < n, and *by += 1.
void add(float* x, const float* by, int n, cudaStream_t stream);
void increment(float* by, cudaStream_t stream);
// As many threads, blocks and bytes of shared memory as told, that do nothing.
void nothing(dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream);
void allow_nothing_shared(int bytes);
// Threads of block b write 1000 b + their rank, after a tour through shared memory and a shuffle.
void ranks(int* out, int blocks, int threads, cudaStream_t stream);
// Counts of the block: of odd threads, whether any is the last, whether all are below the block's size; one int each.
void counts(int* out, int threads, cudaStream_t stream);

// Each breaks the rule of its name; `out` holds 1024 numbers.
enum class Misused {
  divergent_barrier,
  two_barriers,
  barrier_after_end,
  absent_lane,
  lane_outside_mask,
  own_lane_outside_mask,
  different_masks,
  lanes_that_the_block_lacks,
  copy_not_waited_for,
  copy_misaligned,
  copy_beyond_shared,
  trap,
};
void misuse(Misused which, int* out, cudaStream_t stream);
// out[i] = what shared memory holds at the start.
void unwritten(float* out, cudaStream_t stream);

}  // namespace lp::test
