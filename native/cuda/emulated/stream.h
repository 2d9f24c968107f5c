// Work of other kinds than the runtime's own, for its streams.
#pragma once

#include <cstddef>
#include <functional>

#include "cuda/emulated/runtime.h"

namespace emu {

// Done when the stream comes to it; it calls nothing of the runtime.
cudaError_t give(cudaStream_t stream, std::function<void()> work);
// What loses the device with this sentence when the stream comes to it.
cudaError_t give_illegal(cudaStream_t stream, const char* sentence);
// Whether one allocation holds these bytes.
bool on_device(const void* address, std::size_t bytes);

}  // namespace emu
