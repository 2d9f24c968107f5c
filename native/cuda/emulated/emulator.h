// A CUDA device on the CPU, for tests: kernels run as fibers (engine.h), and the runtime (runtime.h) does its work
// late, when somebody waits for it. So whoever forgets to wait, or to let one stream wait for another, sees memory
// that is not ready. Device memory starts as NaN. What breaks CUDA's rules is told on stderr with its place, and
// loses the device, as on a real one: every call returns the error from then on.
//
// This is what tests ask of the device. At the start it is read from the environment:
//   LAYERPEEL_EMULATED_SEED=s          another order of threads and of blocks (0: their own order)
//   LAYERPEEL_EMULATED_PTX=90          run nvcc's PTX of this architecture (ptx2cpp.py), not what the C++ compiler made
//   LAYERPEEL_EMULATED_FAIL_MALLOC=k   the k-th allocation of device or pinned memory fails, 1 being the next
//   LAYERPEEL_EMULATED_MEMORY=bytes    how much device memory there is (8 GiB)
//   LAYERPEEL_EMULATED_DRIVER=none | old | no-device   what a machine without a usable device answers
//   LAYERPEEL_EMULATED_LOSE=k          the k-th piece of work (a kernel, a copy, …) ends in an illegal address
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda/emulated/runtime.h"

namespace emu {

enum class Driver { good, none, old, no_device };

struct Settings {
  unsigned seed = 0;
  int ptx = 0;                  // 0: what the C++ compiler made of the kernels
  std::size_t fail_malloc = 0;  // 0: none
  std::size_t memory = std::size_t{8} << 30;
  Driver driver = Driver::good;
  std::size_t lose = 0;  // 0: never
};
// What is in force, the counts of fail_malloc and lose being those left. Any thread.
Settings settings();
void set(const Settings& settings);

// Which rule was broken first since the device was last whole, with its place; "" if none.
std::string misuse();
// What is held: allocations of device and of pinned memory, streams, events, graphs and their instances.
struct Held {
  std::size_t bytes = 0, allocations = 0, pinned = 0, streams = 0, events = 0, graphs = 0;
};
Held held();
// How much has been done since the start: pieces of work, kernels among them, their blocks, and switches between
// threads.
struct Done {
  std::size_t work = 0, kernels = 0, blocks = 0, switches = 0;
};
Done done();
// The device is lost with this error, as after an illegal address.
void lose(cudaError_t error);
// A whole device again: drops work that waits, forgets the error. What was allocated stays. For tests of what loses
// it.
void revive();

}  // namespace emu
