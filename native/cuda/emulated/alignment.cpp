// What GCC and clang call where -fsanitize=alignment,null finds an access that is not aligned to its type, or through
// null. Kernels are compiled with it, since the device faults there and this processor does not always; so that the
// process goes on, the kernel is ended like after any other broken rule.
#include <cstdio>
#include <cstdlib>

#include "cuda/emulated/engine.h"

namespace {
struct Location {
  const char* file;
  std::uint32_t line, column;
};
struct Mismatch {
  Location location;
  const void* type;
  unsigned char log_alignment, kind;
};
}  // namespace

extern "C" void __ubsan_handle_type_mismatch_v1(const Mismatch* what, std::uintptr_t address) {
  char sentence[200];
  std::snprintf(sentence, sizeof sentence,
                address == 0 ? "an access through null" : "an access at 0x%zx that is not aligned to %d bytes",
                static_cast<std::size_t>(address), 1 << what->log_alignment);
  emu::fail(what->location.file, what->location.line, sentence,
            address == 0 ? cudaErrorIllegalAddress : cudaErrorMisalignedAddress);
}
