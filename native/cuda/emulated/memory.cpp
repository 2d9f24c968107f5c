#include "cuda/emulated/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

#include "cuda/emulated/fiber.h"

namespace emu {
namespace {

constexpr std::size_t kUnit = 256;       // of addresses, as cudaMalloc has it
constexpr std::size_t kGap = 2 * kUnit;  // behind every allocation
constexpr std::size_t kFilled =
    64 << 20;  // how much of an allocation is made NaN; the rest is fresh pages or old numbers
constexpr std::size_t kReserved = std::size_t{64} << 30;  // of addresses

std::size_t rounded(std::size_t bytes) { return (std::max<std::size_t>(bytes, 1) + kUnit - 1) / kUnit * kUnit; }

}  // namespace

void Memory::protect(bool open) {
  if (used_ > 0) mprotect(base_, used_, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}
Memory::Open::Open(Memory& memory) : memory_(memory) {
  if (memory_.open_++ == 0) memory_.protect(true);
}
Memory::Open::~Open() {
  if (--memory_.open_ == 0) memory_.protect(false);
}

void* Memory::allocate(std::size_t bytes, std::size_t limit) {
  if (bytes > limit || rounded(bytes) > limit - std::min(limit, bytes_)) return nullptr;
  if (!base_) {
    for (reserved_ = kReserved; !base_ && reserved_ >= limit; reserved_ /= 2) {
      void* const range = mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (range != MAP_FAILED) {
        base_ = static_cast<char*>(range);
        break;
      }
    }
    if (!base_) return nullptr;
  }
  const std::size_t with_gap = rounded(bytes) + kGap;
  std::size_t at = used_;
  const auto hole = std::find_if(free_.begin(), free_.end(), [&](const auto& one) { return one.second >= with_gap; });
  if (hole != free_.end()) {
    at = hole->first;
    const std::size_t left = hole->second - with_gap;
    free_.erase(hole);
    if (left > 0) free_[at + with_gap] = left;
  } else {
    if (reserved_ - used_ < with_gap) return nullptr;
    if (open_ > 0) mprotect(base_ + used_, with_gap, PROT_READ | PROT_WRITE);
    used_ += with_gap;
    poison(base_ + at, with_gap);
  }
  allocated_[at] = bytes;
  bytes_ += rounded(bytes);
  const Open open(*this);
  unpoison(base_ + at, bytes);
  std::memset(base_ + at, 0xff, std::min(bytes, kFilled));
  return base_ + at;
}

bool Memory::free(void* address) {
  if (!owns(address)) return false;
  auto at = static_cast<std::size_t>(static_cast<char*>(address) - base_);
  const auto found = allocated_.find(at);
  if (found == allocated_.end()) return false;
  std::size_t size = rounded(found->second) + kGap;
  bytes_ -= rounded(found->second);
  last_bytes_ = 0;
  {
    const Open open(*this);
    std::memset(address, 0xff, std::min(found->second, kFilled));  // for those who still read
    if (size > kFilled) madvise(base_ + (at + 4095) / 4096 * 4096, size - 8192, MADV_DONTNEED);
  }
  poison(address, size);
  allocated_.erase(found);
  const auto after = free_.find(at + size);
  if (after != free_.end()) {
    size += after->second;
    free_.erase(after);
  }
  const auto next = free_.lower_bound(at);
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == at) {
      at = before->first;
      size += before->second;
      free_.erase(before);
    }
  }
  free_[at] = size;
  return true;
}

bool Memory::holds(const void* address, std::size_t bytes) const {
  if (!owns(address)) return false;
  const auto at = static_cast<std::size_t>(static_cast<const char*>(address) - base_);
  if (at >= last_begin_ && at - last_begin_ < last_bytes_) return last_bytes_ - (at - last_begin_) >= bytes;
  auto next = allocated_.upper_bound(at);
  if (next == allocated_.begin()) return false;
  const auto& [begin, size] = *std::prev(next);
  last_begin_ = begin;
  last_bytes_ = size;
  return at - begin <= size && size - (at - begin) >= bytes;
}

bool Memory::owns(const void* address) const {
  const auto at = reinterpret_cast<std::uintptr_t>(address), base = reinterpret_cast<std::uintptr_t>(base_);
  return base_ && at >= base && at - base < reserved_;
}

}  // namespace emu
