// Memory of an operation's own, and two things about large memory that one streaming through it wants to tell the
// machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace lp {

// Aligned to a cache line, not initialized. Throws bad_alloc. Large blocks come from one arena: malloc would keep those
// of each thread to itself, and jobs run now on this thread and now on that.
void* take_memory(std::size_t bytes);
// The most bytes that this process may have; from there on take_memory throws, instead of the process being killed.
void limit_memory(double bytes);
// Whether so many more are within that: of what is held already, or was given out and may be used any time.
bool has_room(double bytes);
void give_memory(void* data, std::size_t bytes) noexcept;

// Asks for huge pages behind fresh memory that will be filled whole: its first touch then costs a fault every 2 MiB
// instead of every 4 KiB, which for results of a gigabyte is most of the time. Does nothing to small ones.
void prefer_huge_pages(void* data, std::size_t bytes);

// Copies without reading the target's cache lines first and without evicting anything for them: for results much
// larger than the caches. Consecutive calls should fill consecutive memory. `stream_fence` ends the sequence on the
// thread that wrote it.
static inline void stream_copy(void* to, const void* from, std::size_t bytes) {
  char* out = static_cast<char*>(to);
  const char* in = static_cast<const char*>(from);
#if defined(__SSE2__)
  const std::size_t misaligned = -reinterpret_cast<std::uintptr_t>(out) & 15;
  const std::size_t head = misaligned < bytes ? misaligned : bytes;
  std::memcpy(out, in, head);
  std::size_t i = head;
  for (; i + 16 <= bytes; i += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(out + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i)));
  }
  std::memcpy(out + i, in + i, bytes - i);
#else
  std::memcpy(out, in, bytes);
#endif
}

static inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace lp
