// What accelerators the binary can use. native/cuda and native/no_cuda define the same symbols; CMake picks one.
#pragma once

#include <string>

namespace lp {

// Whether the CUDA backend can be used here, and a sentence that says why or why not.
bool cuda_usable();
std::string cuda_state();

}  // namespace lp
