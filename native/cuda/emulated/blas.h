// cuBLAS on the emulated device.
#pragma once

#include "cuda/blas.h"

namespace emu {

// Products are done late, as all work is. Factors are rounded to the type that is asked for; sums are in float32, or
// in float64 of float64. As in cuBLAS, taking a stream forgets the workspace, and without one nothing can be
// captured, since cuBLAS would allocate.
lp::cuda::BlasFunctions blas_functions();

}  // namespace emu
