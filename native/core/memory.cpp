#include "core/memory.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <limits>
#include <new>

#include "core/arena.h"

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace lp {
namespace {

constexpr std::align_val_t kCacheLine{64};

// Blocks of this size and more come from the arena, which gives back what lies idle beyond the other.
constexpr std::size_t kLarge = 1 << 20, kMostIdle = 256 << 20;

std::atomic<std::size_t> used = 0, most_used = 0;  // of the arena; the most since it was trimmed

Arena& arena() {
  static Arena* const arena = new Arena;  // operations may outlive the process's static objects
  return *arena;
}

std::atomic<double> most_memory = std::numeric_limits<double>::infinity(), before = 0;

// What this process has of the machine's memory; 0 where nobody says.
double resident() {
#ifdef __linux__
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    double pages = 0;
    const int read = std::fscanf(file, "%*f %lf", &pages);
    std::fclose(file);
    if (read == 1) return pages * static_cast<double>(sysconf(_SC_PAGESIZE));
  }
#endif
  return 0;
}

}  // namespace

void limit_memory(double bytes) {
  most_memory = bytes;
  before = resident();
}

bool has_room(double bytes) {
  if (most_memory == std::numeric_limits<double>::infinity()) return true;
  return std::max(resident(), before + static_cast<double>(used)) + bytes <= most_memory;
}

void* take_memory(std::size_t bytes) {
  if (bytes < kLarge) return ::operator new(bytes, kCacheLine);
  if (!has_room(static_cast<double>(bytes))) throw std::bad_alloc();
  void* data = arena().take(bytes);
  if (!data) throw std::bad_alloc();
  const std::size_t now = used += bytes;
  for (std::size_t most = most_used; most < now && !most_used.compare_exchange_weak(most, now);) continue;
  return data;
}

void give_memory(void* data, std::size_t bytes) noexcept {
  if (bytes < kLarge) return ::operator delete(data, kCacheLine);
  arena().give(data);
  const std::size_t now = used -= bytes;
  if (most_used <= now + kMostIdle) return;
  most_used = now;
  arena().trim();
}

void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::size_t kPage = 4096, kHugePage = 2 << 20;
  if (bytes < 2 * kHugePage) return;
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / kPage * kPage;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish: refusal changes nothing
#endif
}

}  // namespace lp
