#include "torch/memory/memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <mutex>

#include "core/arena.h"

namespace lp {
namespace {

// Smaller tensors are malloc's, which keeps their memory by itself.
constexpr size_t kLarge = 1 << 18;

Arena& arena() {
  static Arena* const arena = new Arena;  // tensors may outlive the process's static objects
  return *arena;
}

void release(void* block) {
  if (!arena().give(block)) c10::free_cpu(block);
}

struct Allocator : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* block = bytes < kLarge ? nullptr : arena().take(bytes);
    if (!block) block = c10::alloc_cpu(bytes);  // says what is wrong where there is no memory
    return {block, block, release, at::kCPU};
  }
  at::DeleterFnPtr raw_deleter() const override { return release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};

}  // namespace

void keep_tensor_memory() {
  static std::once_flag once;
  std::call_once(once, [] { c10::SetCPUAllocator(new Allocator); });
}

void trim_tensor_memory() { arena().trim(); }

}  // namespace lp
