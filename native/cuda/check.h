// What CUDA answers, as errors with a code.
#pragma once

#include "core/error.h"
#include "cuda/runtime.h"

namespace lp::cuda {

// LP_DEVICE, or LP_MEMORY, with the call and CUDA's words for what it answered.
struct Failure : Error {
  Failure(cudaError_t error, const char* call);
  cudaError_t error;
};

// Throws a Failure unless a call succeeded.
void check(cudaError_t error, const char* call);

}  // namespace lp::cuda
