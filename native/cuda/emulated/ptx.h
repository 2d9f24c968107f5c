// What ptx2cpp.py's C++ calls: PTX that is more than an operator of C++. Names and meanings are those of the PTX ISA.
#pragma once

#include <bit>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "cuda/emulated/kernel.h"

namespace ptx {

// The bits of a register as another type: as they are, or of another width as C++ converts integers.
template <class To, class From>
To as(From x) {
  if constexpr (sizeof(To) == sizeof(From)) {
    return std::bit_cast<To>(x);
  } else {
    static_assert(std::is_integral_v<To> && std::is_integral_v<From>);
    return static_cast<To>(x);
  }
}

// ---- memory: aligned to all of a vector, as the device asks and this processor does not; of one allocation ---------

inline std::string tell(const char* what, uint64_t address, std::size_t bytes) {
  char text[120];
  std::snprintf(text, sizeof text, "%s: %zu bytes at 0x%llx", what, bytes, static_cast<unsigned long long>(address));
  return text;
}
template <class T, int kCount>
T* aligned(uint64_t address, const emu::Where& where) {
  constexpr std::size_t bytes = sizeof(T) * kCount;
  if (address % bytes != 0) {
    emu::fail(where, tell("an access that is not aligned to its size", address, bytes), cudaErrorMisalignedAddress);
  }
  return reinterpret_cast<T*>(address);
}

// Arrays that the module brings.
struct Constant {
  Constant(const void* from, std::size_t bytes) : from(reinterpret_cast<uint64_t>(from)), bytes(bytes), next(first) {
    first = this;
  }
  uint64_t from, bytes;
  const Constant* next;
  static inline const Constant* first = nullptr;
  static bool holds(uint64_t address, std::size_t bytes) {
    for (const Constant* one = first; one; one = one->next)
      if (address >= one->from && address + bytes <= one->from + one->bytes) return true;
    return false;
  }
};

inline bool is_shared(uint64_t address) {
  const auto base = reinterpret_cast<uint64_t>(emu::shared_base());
  return base && address >= base && address - base < emu::shared_bytes();
}
inline uint64_t from_shared(uint64_t offset) { return reinterpret_cast<uint64_t>(emu::shared_base()) + offset; }
inline uint64_t to_shared(uint64_t address) { return address - reinterpret_cast<uint64_t>(emu::shared_base()); }

template <class T, int kCount>
T* global(uint64_t address, const emu::Where& where = emu::Where::current()) {
  T* const at = aligned<T, kCount>(address, where);
  if (!emu::is_allocated(at, sizeof(T) * kCount) && !Constant::holds(address, sizeof(T) * kCount)) {
    emu::fail(where, tell("an access outside of what is allocated", address, sizeof(T) * kCount),
              cudaErrorIllegalAddress);
  }
  return at;
}
template <class T, int kCount>
T* shared(uint64_t offset, const emu::Where& where = emu::Where::current()) {
  offset &= 0xffffffff;
  if (offset + sizeof(T) * kCount > emu::shared_bytes()) {
    emu::fail(where, tell("an access outside of shared memory", offset, sizeof(T) * kCount), cudaErrorIllegalAddress);
  }
  return aligned<T, kCount>(from_shared(offset), where);
}
template <class T, int kCount>
T* local(uint64_t address, const emu::Where& where = emu::Where::current()) {
  return aligned<T, kCount>(address, where);
}
template <class T, int kCount>
T* constant(uint64_t address, const emu::Where& where = emu::Where::current()) {
  return aligned<T, kCount>(address, where);
}
template <class T, int kCount>
T* generic(uint64_t address, const emu::Where& where = emu::Where::current()) {
  if (is_shared(address)) return shared<T, kCount>(to_shared(address), where);
  if (emu::is_local(reinterpret_cast<const void*>(address))) return local<T, kCount>(address, where);
  return global<T, kCount>(address, where);
}
inline void copy_async(uint64_t to, uint64_t from, uint32_t bytes, uint32_t filled,
                       const emu::Where& where = emu::Where::current()) {
  if (filled > 0) global<char, 1>(from, where), global<char, 1>(from + filled - 1, where);
  emu::copy_async(reinterpret_cast<void*>(from_shared(to & 0xffffffff)), reinterpret_cast<const void*>(from), bytes,
                  filled, where);
}

// ---- arithmetic -----------------------------------------------------------------------------------------------------

template <class F, class... T>
auto rounded(int mode, F f, T... x) {
  const int before = std::fegetround();
  std::fesetround(mode);
  const auto kept = [&](volatile T... of) {
    volatile auto result = f(static_cast<T>(of)...);
    return static_cast<std::remove_volatile_t<decltype(result)>>(result);
  }(x...);
  std::fesetround(before);
  return kept;
}

template <class T>
T flush(T x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(T(0), x) : x;
}
template <class T>
T saturate(T x) {
  return x > 0 ? (x < 1 ? x : T(1)) : T(0);  // NaN is 0
}

// Results of the special function unit lie near the exact ones: within so many units in the last place, or so far at
// most; what is a float32, such as a power of two, they hit, and what lies below the normal numbers they round. With a
// seed they are anywhere there, so that no test passes by the luck of exact ones. Where is a matter of the function and
// its argument's bits, as it is on a chip: the same run makes the same bits, in whatever order.
enum class Unit : uint64_t { ex2 = 1, lg2, rcp, sqrt, rsqrt, sin, cos, tanh };
inline float near(Unit unit, float of, double exact, double ulps, double distance = 0) {
  const float x = static_cast<float>(exact);
  if (!std::isnormal(x) || static_cast<double>(x) == exact) return x;
  const double by = emu::chance(static_cast<uint64_t>(unit) << 32 | std::bit_cast<uint32_t>(of));
  const double ulp = std::ldexp(1.0, std::ilogb(x) - 23);
  return static_cast<float>(exact + by * std::fmax(ulps * ulp, distance));
}
inline float ex2(float x) { return near(Unit::ex2, x, std::exp2(static_cast<double>(x)), 2); }
inline float lg2(float x) {
  const bool close = x > 0.5f && x < 2;
  return near(Unit::lg2, x, std::log2(static_cast<double>(x)), 2, close ? std::ldexp(1.0, -22) : 0);
}
inline float rcp(float x) { return near(Unit::rcp, x, 1 / static_cast<double>(x), 1); }
inline float sqrt(float x) { return near(Unit::sqrt, x, std::sqrt(static_cast<double>(x)), 1); }
inline float rsqrt(float x) { return near(Unit::rsqrt, x, 1 / std::sqrt(static_cast<double>(x)), 2); }
inline float sin(float x) { return near(Unit::sin, x, std::sin(static_cast<double>(x)), 2, std::ldexp(1.0, -21)); }
inline float cos(float x) { return near(Unit::cos, x, std::cos(static_cast<double>(x)), 2, std::ldexp(1.0, -21)); }
inline float tanh(float x) { return near(Unit::tanh, x, std::tanh(static_cast<double>(x)), std::ldexp(1.0, 12)); }
// rcp.approx.ftz.f64 and its kin give the upper word only.
inline double upper_word(double x) { return as<double>(as<uint64_t>(x) & 0xffffffff00000000ull); }

template <class T>
bool unordered([[maybe_unused]] T a, [[maybe_unused]] T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::isnan(a) || std::isnan(b);
  } else {
    return false;
  }
}
template <class T>
T smaller(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmin(a, b);
  } else {
    return a < b ? a : b;
  }
}
template <class T>
T larger(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmax(a, b);
  } else {
    return a > b ? a : b;
  }
}
template <class T>
T absolute(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fabs(x);
  } else {
    return x < 0 ? static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(x)) : x;
  }
}

// To an integer, saturating; NaN is 0.
template <class To, class From>
To whole(From x) {
  if (std::isnan(x)) return 0;
  if (x <= static_cast<From>(std::numeric_limits<To>::lowest())) return std::numeric_limits<To>::lowest();
  if (x >= static_cast<From>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  return static_cast<To>(x);
}

template <class T>
T low(T a, T b) {
  return static_cast<T>(a * b);
}
template <class T>
T high(T a, T b) {
  if constexpr (sizeof(T) == 4) {
    return static_cast<T>((std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>(a) * b) >> 32);
  } else {
    return static_cast<T>((std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>(a) * b) >> 64);
  }
}
// a + b or a − b with a carry or borrow in, and out.
template <class T>
T carried(T a, T b, bool subtracts, bool in, bool* out) {
  const auto wide = subtracts ? static_cast<unsigned __int128>(a) - b - in : static_cast<unsigned __int128>(a) + b + in;
  if (out) *out = static_cast<bool>(wide >> (8 * sizeof(T)) & 1);
  return static_cast<T>(wide);
}
// Nothing traps.
template <class T>
T quotient(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if constexpr (std::is_signed_v<T>)
    if (b == -1) return static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(a));
  return a / b;
}
template <class T>
T remainder(T a, T b) {
  if (b == 0) return a;
  if constexpr (std::is_signed_v<T>)
    if (b == -1) return 0;
  return a % b;
}

template <class T>
T shift_left(T x, uint32_t by) {
  return by >= 8 * sizeof(T) ? T(0) : static_cast<T>(x << by);
}
template <class T>
T shift_right(T x, uint32_t by) {
  constexpr uint32_t bits = 8 * sizeof(T);
  if constexpr (std::is_signed_v<T>) return static_cast<T>(x >> (by >= bits ? bits - 1 : by));
  return by >= bits ? T(0) : static_cast<T>(x >> by);
}
inline uint32_t funnel(uint32_t low, uint32_t high, uint32_t by, bool left, bool wraps) {
  by = wraps ? by & 31 : (by < 32 ? by : 32);
  const uint64_t both = uint64_t{high} << 32 | low;
  return static_cast<uint32_t>(left ? both << by >> 32 : both >> by);
}
template <class T>
uint32_t population(T x) {
  return static_cast<uint32_t>(std::popcount(x));
}
template <class T>
uint32_t leading_zeros(T x) {
  return static_cast<uint32_t>(std::countl_zero(x));
}
template <class T>
uint32_t first_bit(T x) {
  return x ? 8 * sizeof(T) - 1 - leading_zeros(x) : 0xffffffff;
}
template <class T>
uint32_t first_bit_as_shift(T x) {
  return x ? leading_zeros(x) : 0xffffffff;
}
template <class T>
T reversed(T x) {
  T y = 0;
  for (unsigned bit = 0; bit < 8 * sizeof(T); bit++) y |= (x >> bit & 1) << (8 * sizeof(T) - 1 - bit);
  return y;
}
template <class T>
T field(T x, uint32_t from, uint32_t length) {
  using U = std::make_unsigned_t<T>;
  constexpr uint32_t bits = 8 * sizeof(T);
  from &= 255, length &= 255;
  const uint32_t last = from + length < bits ? from + length - 1 : bits - 1;
  const bool sign = std::is_signed_v<T> && length > 0 && static_cast<U>(x) >> last & 1;
  U y = 0;
  for (uint32_t i = 0; i < bits; i++) {
    const bool bit = i < length && from + i < bits ? static_cast<U>(x) >> (from + i) & 1 : sign;
    y |= static_cast<U>(bit) << i;
  }
  return static_cast<T>(y);
}
template <class T>
T with_field(T a, T into, uint32_t from, uint32_t length) {
  constexpr uint32_t bits = 8 * sizeof(T);
  from &= 255, length &= 255;
  for (uint32_t i = 0; i < length && from + i < bits; i++) {
    into = static_cast<T>((into & ~(T(1) << (from + i))) | (a >> i & 1) << (from + i));
  }
  return into;
}
inline uint32_t permuted(uint32_t a, uint32_t b, uint32_t selection) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  uint32_t out = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t which = selection >> (4 * i) & 15;
    uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (which & 7))) & 255;
    if (which & 8) byte = byte & 128 ? 255 : 0;
    out |= byte << (8 * i);
  }
  return out;
}
inline uint32_t of_three(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t out = 0;
  for (int bit = 0; bit < 32; bit++) {
    out |= (table >> ((a >> bit & 1) << 2 | (b >> bit & 1) << 1 | (c >> bit & 1)) & 1) << bit;
  }
  return out;
}

// ---- lanes ----------------------------------------------------------------------------------------------------------

enum class Shuffle { up, down, bfly, idx };
inline uint32_t shfl(Shuffle mode, uint32_t value, uint32_t by, uint32_t bounds, uint32_t members, bool* inside,
                     const emu::Where& where = emu::Where::current()) {
  const int lane = emu::self().lane, b = by & 31, clamp = bounds & 31, segment = bounds >> 8 & 31;
  const int first = lane & segment, last = first | (clamp & ~segment);
  int source = lane;
  bool there = true;
  switch (mode) {
    case Shuffle::up:
      source = lane - b;
      there = source >= last;
      break;
    case Shuffle::down:
      source = lane + b;
      there = source <= last;
      break;
    case Shuffle::bfly:
      source = lane ^ b;
      there = source <= last;
      break;
    case Shuffle::idx:
      source = first | (b & ~segment);
      there = source <= last;
      break;
  }
  if (inside) *inside = there;
  return emu::shuffle<uint32_t>(members, value, there ? source : lane, false, where);
}

}  // namespace ptx
