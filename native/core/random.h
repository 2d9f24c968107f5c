// Random numbers that are the same on every machine: SplitMix64 (Steele, Lea and Flood 2014), whose states are a
// counter and whose outputs a hash of it, so that any state is a seed.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>

#include "core/array.h"

namespace lp {

class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t state) : state_(state) {}
  // Of different words − a seed, an epoch, an index − streams begin at unrelated places of the cycle.
  explicit SplitMix64(std::initializer_list<uint64_t> words) : state_(0) {
    for (uint64_t word : words) state_ = SplitMix64(state_ ^ word).next();
  }

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  // On (0, 1).
  double uniform() { return (static_cast<double>(next() >> 11) + 0.5) * 0x1p-53; }

  // Uniform on {0, …, bound − 1}, each exactly as likely (Lemire 2019): the high half of a word times the bound, but
  // not of the 2⁶⁴ mod bound lowest halves, which some results would have once more than others.
  uint64_t below(uint64_t bound) {
    auto product = static_cast<unsigned __int128>(next()) * bound;
    if (static_cast<uint64_t>(product) < bound) {
      const uint64_t surplus = (0 - bound) % bound;
      while (static_cast<uint64_t>(product) < surplus) product = static_cast<unsigned __int128>(next()) * bound;
    }
    return static_cast<uint64_t>(product >> 64);
  }

 private:
  uint64_t state_;
};

// Puts values in an order of which each is as likely as any other (Fisher and Yates).
template <class T>
void shuffle(T* values, Index size, SplitMix64& random) {
  for (Index i = size - 1; i > 0; i--) std::swap(values[i], values[random.below(static_cast<uint64_t>(i) + 1)]);
}

}  // namespace lp
