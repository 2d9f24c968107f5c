// Integers bit for bit, and functions within the errors that CUDA states, against the processor's own.
#include "test/cuda/arithmetic.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "cuda/emulated/emulator.h"
#include "test/cuda/device.h"

using namespace lp;
using namespace lp::test;

namespace {

void of_bits() {
  Random random(1);
  std::vector<uint32_t> a{0, 1, 0xffffffff, 0x80000000, 0x7fffffff, 128}, b{0, 31, 1, 0xffffffff, 5, 200};
  while (a.size() < 200) a.push_back(random.bits() * 2 + 1), b.push_back(random.bits() >> random.below(31));
  const int count = static_cast<int>(a.size());
  const OnDevice<uint32_t> of_a(a), of_b(b), out(count * kBits);
  bits(of_a.get(), of_b.get(), count, out.get(), nullptr);
  const auto got = out.read();
  for (int i = 0; i < count; i++) {
    const uint32_t x = a[i], y = b[i];
    uint32_t ones = 0, leading = 0, first = 0, reversed = 0;
    for (int k = 0; k < 32; k++) ones += x >> k & 1, reversed |= (x >> k & 1) << (31 - k);
    while (leading < 32 && !(x >> (31 - leading) & 1)) leading++;
    for (uint32_t k = 0; k < 32 && !first; k++) first = x >> k & 1 ? k + 1 : 0;
    const uint32_t by = y & 31;
    const uint32_t expected[kBits] = {
        ones,
        leading,
        first,
        reversed,
        static_cast<uint32_t>(uint64_t{x} * y >> 32),
        x / (y | 1),
        x % 7,
        static_cast<uint32_t>(static_cast<int64_t>(static_cast<int32_t>(x)) >> by),
        by == 0 ? x : x << by | x >> (32 - by),
        (x & y) ^ (~x & (x | y)),
        static_cast<uint32_t>(static_cast<int8_t>(x)) + (y & 0xffff),
        (x >> 5 & 0x7ff) + (x > y ? x - y : y - x),
    };
    for (int k = 0; k < kBits; k++) {
      check(got[i * kBits + k] == expected[k],
            "bits " + std::to_string(k) + " of " + std::to_string(x) + ", " + std::to_string(y));
    }
  }
}

void of_wide() {
  Random random(2);
  std::vector<int64_t> a{0, 1, -1, 1ll << 62, -(1ll << 62), 123456789012345}, b{0, 1, -1, 3, -7, 1ll << 40};
  while (a.size() < 200) {
    a.push_back((static_cast<int64_t>(random.bits()) << 31 | random.bits()) * (random.below(2) ? 1 : -1));
    b.push_back(static_cast<int64_t>(random.bits()) >> random.below(30));
  }
  const int count = static_cast<int>(a.size());
  const OnDevice<int64_t> of_a(a), of_b(b), out(count * kWide);
  wide(of_a.get(), of_b.get(), count, out.get(), nullptr);
  const auto got = out.read();
  for (int i = 0; i < count; i++) {
    const int64_t x = a[i], y = b[i];
    const auto ux = static_cast<uint64_t>(x);
    int ones = 0;
    for (int k = 0; k < 64; k++) ones += static_cast<int>(static_cast<uint64_t>(x ^ y) >> k & 1);
    const int64_t expected[kWide] = {
        static_cast<int64_t>(ux * static_cast<uint64_t>(y)),
        x / (y | 1),
        x % (y | 1),
        x / 7,
        static_cast<int64_t>(ux / 10),
        x >> (y & 63),
        static_cast<int64_t>(ux << (y & 63)),
        static_cast<int64_t>(static_cast<double>(x)),
        static_cast<int64_t>(y % 1000000) + static_cast<int32_t>(static_cast<uint32_t>(ux)),
        x < y ? -x : y,
        ones,
        static_cast<int64_t>(static_cast<float>(y & 0xffffff) / 3),
    };
    for (int k = 0; k < kWide; k++) {
      check(got[i * kWide + k] == expected[k],
            "wide " + std::to_string(k) + " of " + std::to_string(x) + ", " + std::to_string(y));
    }
  }
}

template <class T>
void of_numbers() {
  Random random(3);
  std::vector<T> x{T(1), T(-1), T(0.5), T(1e-3), T(-20), T(20), T(2.5), T(-2.5), T(1.0000001)};
  while (x.size() < 150) x.push_back(static_cast<T>(random.uniform() * (random.below(2) ? 30 : 1)));
  const int count = static_cast<int>(x.size());
  const OnDevice<T> of_x(x), out(count * kNumbers);
  numbers<T>(of_x.get(), count, out.get(), nullptr);
  const auto got = out.read();
  for (int i = 0; i < count; i++) {
    const double v = x[i], m = std::fabs(v);
    const double expected[kNumbers] = {
        std::exp(v),
        std::log(m),
        std::sqrt(m),
        1 / v,
        std::tanh(v),
        std::log1p(m),
        std::expm1(v),
        std::pow(m, 1.25),
        std::floor(v) + 4 * std::ceil(v) + 16 * std::rint(v) + 64 * std::trunc(v),
        std::fmin(std::fmax(v, -2), 3),
        v * v - 1,
        (v < 0 ? -2 : 2) + 1.,
        1 / std::sqrt(m),
        std::trunc(static_cast<double>(x[i] * 1000)),
    };
    for (int k = 0; k < kNumbers; k++) {
      const double allowed =
          8 * std::numeric_limits<T>::epsilon() * (std::fabs(expected[k]) + (k == 1 || k == 10 ? 1 : 0));
      check_close(static_cast<double>(got[i * kNumbers + k]), expected[k], allowed,
                  (sizeof(T) == 4 ? "float32 " : "float64 ") + std::to_string(k) + " of " + std::to_string(v));
    }
  }
  // NaN, infinities and zeros go where they go.
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  const std::vector<T> ends{kInfinity, -kInfinity, T(0), std::numeric_limits<T>::quiet_NaN()};
  const OnDevice<T> of_ends(ends), of_out(4 * kNumbers);
  numbers<T>(of_ends.get(), 4, of_out.get(), nullptr);
  const auto end = of_out.read();
  const auto at = [&](int i, int k) { return end[i * kNumbers + k]; };
  check(at(0, 0) == kInfinity && at(1, 0) == 0 && at(2, 0) == 1 && std::isnan(at(3, 0)), "exp at its ends");
  check(at(0, 1) == kInfinity && at(2, 1) == -kInfinity && std::isnan(at(3, 1)), "log at its ends");
  check(at(0, 3) == 0 && at(2, 3) == kInfinity && std::isnan(at(3, 3)), "1/x at its ends");
  check(at(0, 4) == 1 && at(1, 4) == -1 && std::isnan(at(3, 4)), "tanh at its ends");
  check(at(3, 9) == -2 && at(0, 9) == 3 && at(1, 9) == -2, "the larger of NaN and a number is the number");
  check(at(0, 11) == 2 && at(1, 11) == -2 && at(2, 11) == 3, "what is finite");
}

// Every cell once, by fewer threads than there are cells: rows longer and shorter than a stride, and as long.
void of_cells() {
  for (const auto& [rows, across] : {std::pair<int64_t, int64_t>{1, 1}, {5, 64}, {7, 65}, {3, 200}, {90, 7}, {64, 1}})
    for (const unsigned blocks : {1u, 2u, 5u}) {
      const OnDevice<int64_t> out(std::vector<int64_t>(2 * rows * across, -1000));
      cells(rows, across, blocks, out.get(), nullptr);
      const auto seen = out.read();
      bool good = true;
      for (int64_t at = 0; at < rows * across; at++)
        good &= seen[2 * at] == at / across - 1000 && seen[2 * at + 1] == at % across - 1000;
      check(good, "cells of " + std::to_string(rows) + " × " + std::to_string(across));
    }
}

// What the special function unit approximates is a matter of the argument: the same bits again, and in other threads;
// other bits with another seed where nvcc's code asks that unit.
void repeated() {
  Random random(4);
  std::vector<float> x;
  while (x.size() < 300) x.push_back(static_cast<float>(random.uniform() * 30));
  const emu::Settings before = emu::settings();
  const auto made = [&](const std::vector<float>& of, unsigned seed) {
    emu::Settings settings = before;
    settings.seed = seed;
    emu::set(settings);
    const int count = static_cast<int>(of.size());
    const OnDevice<float> given(of), out(count * kNumbers);
    numbers<float>(given.get(), count, out.get(), nullptr);
    std::vector<uint32_t> bits;
    for (const float number : out.read()) bits.push_back(std::bit_cast<uint32_t>(number));
    return bits;
  };
  const auto once = made(x, 7), again = made(x, 7), other = made(x, 8);
  check(once == again, "the same bits again");
  check((once != other) == (before.ptx != 0), "approximations moved by a seed");
  std::reverse(x.begin(), x.end());
  auto reversed = made(x, 7);
  for (auto row = reversed.begin(); row != reversed.end(); row += kNumbers) std::reverse(row, row + kNumbers);
  std::reverse(reversed.begin(), reversed.end());
  check(reversed == once, "the same bits in other threads");
  emu::set(before);
}

}  // namespace

int main() {
  of_bits();
  of_wide();
  of_numbers<float>();
  of_numbers<double>();
  of_cells();
  repeated();
  return failures();
}
