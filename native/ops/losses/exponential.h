// What kernels (-inl.h) of a softmax share: included once in each of their files, in whose namespace it lies.
#pragma once

#include <cstdint>

namespace lp::LP_ISA {
namespace {

// eˣ for x ≤ 0, to about an ulp; 0 below the smallest normal number. x = k log 2 + r, |r| ≤ log 2/2, eʳ by its series;
// adding 1.5·2^(bits of the fraction) leaves k in the last bits.
inline float exponential(float x) {
  const float shift = 0x1.8p23f, k = (x * 0x1.715476p0f + shift) - shift;
  const float r = (x - k * 0x1.62e4p-1f) + k * -0x1.7f7d1cp-20f;
  float e = 0x1.a01a02p-13f;  // 1/7!
  e = e * r + 0x1.6c16c2p-10f;
  e = e * r + 0x1.111112p-7f;
  e = e * r + 0x1.555556p-5f;
  e = e * r + 0x1.555556p-3f;
  e = e * r + 0.5f;
  e = e * r + 1.0f;
  e = e * r + 1.0f;
  const float kept = x < -87.0f ? 0.0f : k;
  const auto power = __builtin_bit_cast(float, (static_cast<int32_t>(kept) + 127) << 23);
  return x < -87.0f ? 0.0f : e * power;
}

inline double exponential(double x) {
  const double shift = 0x1.8p52, shifted = x * 0x1.71547652b82fep0 + shift, k = shifted - shift;
  const double r = (x - k * 0x1.62e42fefap-1) - k * 0x1.cf79abc9e3b3ap-40;
  double e = 0x1.6124613a86d09p-33;  // 1/13!
  e = e * r + 0x1.1eed8eff8d898p-29;
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
  // The last bits of `shifted` hold k; what is above them is shifted out.
  const auto bits = __builtin_bit_cast(uint64_t, shifted) + 1023;
  const auto power = __builtin_bit_cast(double, bits << 52);
  return x < -708.0 ? 0.0 : e * power;
}

}  // namespace
}  // namespace lp::LP_ISA
