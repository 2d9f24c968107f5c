// Small kernels, each right but for one planted fault, and what to expect of it: a test of what tests can find.
#pragma once

#include "cuda/runtime.h"

namespace lp::test {

enum class Fault {
  none,
  missing_barrier,   // partial results are read that other warps may not have written
  missing_syncwarp,  // … that other lanes may not have written
  missing_fence,     // the last block reads what others may not have made visible
  missing_wait,      // an asynchronous copy is read on its way
  beyond_global,     // an element beyond the end of an array
  beyond_shared,     // … of shared memory
  misaligned,        // a vector of 16 bytes at an odd element
  racing_blocks,     // all blocks write one number
};

// out[0] = Σ x of 1024 numbers, by 4 blocks of 64 threads; parts (4), arrived (1, zero).
void faulty_sum(Fault fault, const float* x, float* parts, unsigned* arrived, float* out, cudaStream_t stream);

}  // namespace lp::test
