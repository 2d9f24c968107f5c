// What C++ tests share: checks, random numbers, and memory at a given offset from a cache line. A test is a program
// that returns `lp::test::failures()`.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>

#include "core/array.h"

namespace lp::test {

inline int& failures() {
  static int count = 0;
  return count;
}

inline void check(bool good, const std::string& what) {
  if (good) return;
  failures()++;
  std::fprintf(stderr, "FAILED %s\n", what.c_str());
}

inline void check_close(double actual, double expected, double tolerance, const std::string& what) {
  if (std::abs(actual - expected) <= tolerance) return;
  failures()++;
  std::fprintf(stderr, "FAILED %s: %.17g is not %.17g within %g\n", what.c_str(), actual, expected, tolerance);
}

// Uniform on (−1, 1), the same in every run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435769u + 1) {}
  uint32_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33);
  }
  double uniform() { return bits() / 1073741824.0 - 1; }
  Index below(Index bound) { return static_cast<Index>(bits()) % bound; }

 private:
  uint64_t state_;
};

// Elements that begin `offset` elements after a cache line, with no slack at the end for a sanitizer to miss.
template <class T>
class Array {
 public:
  Array(Index size, Index offset = 0) : memory_(size + offset), offset_(offset), size_(size) {}
  Array(Index size, Random& random, Index offset = 0) : Array(size, offset) {
    for (Index i = 0; i < size; i++) get()[i] = static_cast<T>(random.uniform());
  }
  T* get() const { return memory_.get() + offset_; }
  T& operator[](Index i) const { return get()[i]; }
  Index size() const { return size_; }

 private:
  Buffer<T> memory_;
  Index offset_, size_;
};

// The largest difference; NaN if there is one.
template <class A, class B>
double distance(const A& a, const B& b) {
  double largest = 0;
  for (Index i = 0; i < static_cast<Index>(a.size()); i++) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

// Rounding of a computation on numbers of size 1 whose sums are accumulated in double.
template <class T>
constexpr double kRounding = sizeof(T) == 4 ? 1e-5 : 1e-12;

}  // namespace lp::test
