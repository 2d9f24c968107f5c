// CUDA's runtime API: that of the toolkit, or in a build with LAYERPEEL_CUDA=emulated the part of it that is emulated
// on the CPU. What declares or calls the host side of a kernel includes this; what holds kernels includes kernel.h.
#pragma once

#if defined(LAYERPEEL_CUDA_EMULATED)
#include "cuda/emulated/runtime.h"
#else
#include <cuda_runtime.h>
#endif
