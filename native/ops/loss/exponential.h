// What kernels of a softmax share: included once in each of their files, in whose namespace it lies.
#pragma once

#include <cstdint>

namespace lp::LP_ISA {
namespace {

// eˣ for x ≤ 0, to about an ulp; 0 below the smallest normal number. x = k log 2 + r, |r| ≤ log 2/2, eʳ by its series;
// adding 1.5·2^(bits of the fraction) leaves k in the last bits, and what is above them is shifted out. V is a number
// or a vector of them, Bits unsigned numbers of the size.
template <class V, class Bits>
inline V exponential_of_floats(V x) {
  const V shifted = x * 0x1.715476p0f + 0x1.8p23f, k = shifted - 0x1.8p23f;
  const V r = (x - k * 0x1.62e4p-1f) + k * -0x1.7f7d1cp-20f;
  V e = r * 0x1.a01a02p-13f + 0x1.6c16c2p-10f;  // 1/7!, 1/6!
  e = e * r + 0x1.111112p-7f;
  e = e * r + 0x1.555556p-5f;
  e = e * r + 0x1.555556p-3f;
  e = e * r + 0.5f;
  e = e * r + 1.0f;
  e = e * r + 1.0f;
  const V power = __builtin_bit_cast(V, (__builtin_bit_cast(Bits, shifted) + 127u) << 23);
  return x < -87.0f ? V{} : e * power;
}

template <class V, class Bits>
inline V exponential_of_doubles(V x) {
  const V shifted = x * 0x1.71547652b82fep0 + 0x1.8p52, k = shifted - 0x1.8p52;
  const V r = (x - k * 0x1.62e42fefap-1) - k * 0x1.cf79abc9e3b3ap-40;
  V e = r * 0x1.6124613a86d09p-33 + 0x1.1eed8eff8d898p-29;  // 1/13!, 1/12!
  e = e * r + 0x1.ae64567f544e4p-26;
  e = e * r + 0x1.27e4fb7789f5cp-22;
  e = e * r + 0x1.71de3a556c734p-19;
  e = e * r + 0x1.a01a01a01a01ap-16;
  e = e * r + 0x1.a01a01a01a01ap-13;
  e = e * r + 0x1.6c16c16c16c17p-10;
  e = e * r + 0x1.1111111111111p-7;
  e = e * r + 0x1.5555555555555p-5;
  e = e * r + 0x1.5555555555555p-3;
  e = e * r + 0.5;
  e = e * r + 1.0;
  e = e * r + 1.0;
  const V power = __builtin_bit_cast(V, (__builtin_bit_cast(Bits, shifted) + 1023u) << 52);
  return x < -708.0 ? V{} : e * power;
}

inline float exponential(float x) { return exponential_of_floats<float, uint32_t>(x); }
inline double exponential(double x) { return exponential_of_doubles<double, uint64_t>(x); }

}  // namespace
}  // namespace lp::LP_ISA
