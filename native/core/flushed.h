// Arithmetic without subnormal numbers. On some processors an operation that meets or makes a number below the normal
// range (1.2e-38 in float, 2.2e-308 in double) takes a hundred cycles more. Float work meets them wherever logits of a
// sample differ by more than some 87, as softmax weights and what is made of them: it is done with such numbers taken
// and written as zero. Work in double, above all the exact engines, keeps them.
//
// The rule: an operation whose arithmetic is in float (losses, descents, softmax, products; training in libtorch) holds
// a Flushed while it runs, parallel_for hands it on to the threads that help, and nothing else is ever flushed. It is a
// state of the thread: put back on the way out, by result or exception, JavaScript never sees it. Measurements of
// collapse are no such operation: they take features over a power of two first, and leave none behind.
//
// Where the machine has no such switch the weights alone are zero there (ops/loss/exponential).
#pragma once

#include <cstdint>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace lp {

class Flushed {
 public:
  // Of this thread, until the end of the scope: flushed or not.
  explicit Flushed(bool wanted) : before_(control()) { set(wanted ? before_ | kBits : before_ & ~kBits); }
  ~Flushed() { set((control() & ~kBits) | (before_ & kBits)); }
  Flushed(const Flushed&) = delete;
  Flushed& operator=(const Flushed&) = delete;

  // Whether this thread is.
  static bool now() { return kBits != 0 && (control() & kBits) == kBits; }

 private:
#if defined(__SSE2__)
  static constexpr uint64_t kBits = 0x8040;  // FTZ and DAZ of MXCSR
  static uint64_t control() { return _mm_getcsr(); }
  static void set(uint64_t bits) { _mm_setcsr(static_cast<unsigned>(bits)); }
#elif defined(__aarch64__)
  static constexpr uint64_t kBits = uint64_t{1} << 24;  // FZ of FPCR
  static uint64_t control() {
    uint64_t bits;
    asm volatile("mrs %0, fpcr" : "=r"(bits));
    return bits;
  }
  static void set(uint64_t bits) { asm volatile("msr fpcr, %0" : : "r"(bits)); }
#else
  static constexpr uint64_t kBits = 0;
  static uint64_t control() { return 0; }
  static void set(uint64_t) {}
#endif

  uint64_t before_;
};

// What an operation in T holds.
template <class T>
struct FlushedIfFloat {
  Flushed flushed{sizeof(T) == sizeof(float)};
};

}  // namespace lp
