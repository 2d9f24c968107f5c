// faults NAME: runs the kernel with that fault, as a program of its own since a sanitizer may end it. Prints "right",
// "wrong", or what became of the device; cuda_tests.cmake says what is expected of whom.
#include "test/cuda/faults.h"

#include <cstring>

#include "cuda/emulated/emulator.h"
#include "test/cuda/device.h"

using namespace lp::test;

int main(int, char** arguments) {
  constexpr const char* kNames[] = {"none",          "missing_barrier", "missing_syncwarp",
                                    "missing_fence", "missing_wait",    "beyond_global",
                                    "beyond_shared", "misaligned",      "racing_blocks"};
  std::vector<float> x(1024);
  for (int i = 0; i < 1024; i++) x[i] = static_cast<float>(i % 7);
  float exact = 0;
  for (const float value : x) exact += value;
  const OnDevice<float> given(x), parts(4), out(1);
  const OnDevice<unsigned> arrived(std::vector<unsigned>{0});
  if (std::strcmp(arguments[1], "host_reads") == 0) return static_cast<int>(*given.get());  // as no host may
  for (int which = 0; which < static_cast<int>(std::size(kNames)); which++) {
    if (std::strcmp(arguments[1], kNames[which]) != 0) continue;
    faulty_sum(static_cast<Fault>(which), given.get(), parts.get(), arrived.get(), out.get(), nullptr);
    float got = -1;
    const cudaError_t error = cudaMemcpy(&got, out.get(), sizeof got, cudaMemcpyDeviceToHost);
    if (error != cudaSuccess) {
      std::printf("%s\n", emu::misuse().c_str());
    } else {
      std::printf(got == exact ? "right\n" : "wrong: %g, not %g\n", got, exact);
    }
    return 0;
  }
  return 2;
}
