// CUDA's execution model on the CPU, as kernels see it. Every CUDA thread is a fiber, every block runs by itself, and
// a thread runs until it waits; with a seed, whose turn it is is drawn anew between waits. What is wrong by CUDA's
// rules ends the kernel, with the place: a barrier that not all threads reach, a shuffle from a lane outside its
// mask, asynchronous copies that nobody waited for. A block's shared memory starts as NaN.
//
// AddressSanitizer finds accesses out of bounds in global and in shared memory. To ThreadSanitizer every CUDA thread
// is a thread: barriers and __syncwarp order what comes before and after; an atomic does with a __threadfence before
// it (release) and after it (acquire), on the same address; shuffles and atomics alone order nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>

#include "cuda/emulated/runtime.h"

namespace emu {

using Where = std::source_location;

// ---- what runs kernels ----------------------------------------------------------------------------------------------

struct Launch {
  dim3 grid, block;
  std::size_t shared = 0;
};

// A rule that was broken; without a sentence, none was.
struct Misuse {
  cudaError_t error = cudaSuccess;
  std::string sentence;
};

// Runs `thread` in every thread of the launch. One call at a time, on any thread of the operating system. When a rule
// is broken, all threads are abandoned where they are. With a seed, their order is another for each number of kernels
// that came before.
Misuse run(const Launch& launch, const std::function<void()>& thread, unsigned seed, std::size_t before);
std::size_t switches();

// ---- what kernels call ----------------------------------------------------------------------------------------------

struct Self {
  uint3 thread, block;
  dim3 threads, blocks;
  int lane, warp;
};
const Self& self();
char* shared_base();
std::size_t shared_bytes();
// Whether the bytes are of one allocation of the device's memory; whether the address is of the thread's own stack.
bool is_allocated(const void* address, std::size_t bytes);
bool is_local(const void* address);
// A number from −1 to 1 drawn for `of`: the same whenever it is asked for, another with another seed; 0 without one.
double chance(uint64_t of);

// Ends the kernel; outside of one, the process.
[[noreturn]] void fail(const Where& where, const std::string& what, cudaError_t error = cudaErrorLaunchFailure);
[[noreturn]] void fail(const char* file, unsigned line, const std::string& what, cudaError_t error);

// Waits for all threads of the block; how many came with a predicate that holds.
int barrier(bool predicate, const Where& where);
// Waits for the lanes of the mask.
void warp_barrier(uint32_t mask, const Where& where);

// What the lanes of a warp give each other. The mask's lanes wait for each other, then `take` sees what all gave.
enum class Exchange { barrier, shuffle, vote, reduce, matrix };
struct alignas(32) Given {
  unsigned char bytes[32];
};
void exchange(Exchange kind, uint32_t mask, const Given& given,
              void (*take)(void* out, const Given* all, uint32_t mask), void* out, const Where& where);

// Called before every atomic and every fence.
void atomic(const void* address);
void fence();

void copy_async(void* to, const void* from, std::size_t bytes, std::size_t filled, const Where& where);
void copy_commit();
void copy_wait(int groups_left);

}  // namespace emu
