// CUDA's language on the CPU: what nvcc knows in a kernel, in terms of the engine.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>

#include "cuda/emulated/engine.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ _Pragma("GCC error \"shared memory is dynamic here: shared_memory<T>() of kernel.h\"")

#define threadIdx (::emu::self().thread)
#define blockIdx (::emu::self().block)
#define blockDim (::emu::self().threads)
#define gridDim (::emu::self().blocks)
constexpr int warpSize = 32;

// What lanes hand each other is no access of the kernel's.
#define EMU_QUIET __attribute__((no_sanitize("thread")))

namespace emu {

template <class T>
EMU_QUIET Given give(const T& value) {
  static_assert(sizeof(T) <= sizeof(Given) && std::is_trivially_copyable_v<T>);
  Given given{};
  __builtin_memcpy(given.bytes, &value, sizeof(T));
  return given;
}
template <class T>
EMU_QUIET T taken(const Given& given) {
  T value;
  __builtin_memcpy(&value, given.bytes, sizeof(T));
  return value;
}

// The value of the lane `source`, or one's own.
template <class T>
T shuffle(uint32_t mask, T value, int source, bool own, const Where& at) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "as nvcc has it");
  struct Out {
    T value;
    int source;
    bool there;
  } out{value, source, true};
  exchange(
      Exchange::shuffle, mask, give(value),
      [](void* to, const Given* all, uint32_t mask) EMU_QUIET {
        Out& out = *static_cast<Out*>(to);
        out.there = mask >> out.source & 1;
        out.value = taken<T>(all[out.source]);
      },
      &out, at);
  if (own) return value;
  if (!out.there) fail(at, "a shuffle reads from a lane that is not in its mask");
  return out.value;
}

}  // namespace emu

inline void __syncthreads(const emu::Where& at = emu::Where::current()) { emu::barrier(false, at); }
inline int __syncthreads_count(int holds, const emu::Where& at = emu::Where::current()) {
  return emu::barrier(holds, at);
}
inline int __syncthreads_or(int holds, const emu::Where& at = emu::Where::current()) {
  return emu::barrier(holds, at) != 0;
}
inline int __syncthreads_and(int holds, const emu::Where& at = emu::Where::current()) {
  return emu::barrier(!holds, at) == 0;
}
inline void __syncwarp(uint32_t mask = 0xffffffff, const emu::Where& at = emu::Where::current()) {
  emu::warp_barrier(mask, at);
}

template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32, const emu::Where& at = emu::Where::current()) {
  const int lane = emu::self().lane;
  return emu::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), false, at);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32, const emu::Where& at = emu::Where::current()) {
  const int lane = emu::self().lane, source = lane ^ bits, last = lane | (width - 1);
  return emu::shuffle(mask, value, source & 31, source > last, at);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned by, int width = 32, const emu::Where& at = emu::Where::current()) {
  const int lane = emu::self().lane, source = lane + static_cast<int>(by), last = lane | (width - 1);
  return emu::shuffle(mask, value, source & 31, source > last, at);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned by, int width = 32, const emu::Where& at = emu::Where::current()) {
  const int lane = emu::self().lane, source = lane - static_cast<int>(by), first = lane & ~(width - 1);
  return emu::shuffle(mask, value, source & 31, source < first, at);
}

inline uint32_t __ballot_sync(uint32_t mask, int holds, const emu::Where& at = emu::Where::current()) {
  uint32_t out = 0;
  emu::exchange(
      emu::Exchange::vote, mask, emu::give(holds != 0),
      [](void* to, const emu::Given* all, uint32_t mask) EMU_QUIET {
        uint32_t bits = 0;
        for (int lane = 0; lane < 32; lane++)
          if (mask >> lane & 1) bits |= uint32_t{emu::taken<bool>(all[lane])} << lane;
        *static_cast<uint32_t*>(to) = bits;
      },
      &out, at);
  return out;
}
inline int __any_sync(uint32_t mask, int holds, const emu::Where& at = emu::Where::current()) {
  return __ballot_sync(mask, holds, at) != 0;
}
inline int __all_sync(uint32_t mask, int holds, const emu::Where& at = emu::Where::current()) {
  return __ballot_sync(mask, holds, at) == mask;
}

// The lanes whose value is one's own.
template <class T>
uint32_t __match_any_sync(uint32_t mask, T value, const emu::Where& at = emu::Where::current()) {
  struct Out {
    T value;
    uint32_t lanes;
  } out{value, 0};
  emu::exchange(
      emu::Exchange::vote, mask, emu::give(value),
      [](void* to, const emu::Given* all, uint32_t mask) EMU_QUIET {
        Out& out = *static_cast<Out*>(to);
        for (int lane = 0; lane < 32; lane++)
          if (mask >> lane & 1) out.lanes |= uint32_t{emu::taken<T>(all[lane]) == out.value} << lane;
      },
      &out, at);
  return out.lanes;
}

namespace emu {
template <class T, class F>
T reduce(uint32_t mask, T value, F, const Where& at) {
  static_assert(std::is_integral_v<T> && sizeof(T) == 4, "as nvcc has it");
  exchange(
      Exchange::reduce, mask, give(value),
      [](void* to, const Given* all, uint32_t mask) EMU_QUIET {
        const int first = std::countr_zero(mask);
        T result = taken<T>(all[first]);
        for (int lane = first + 1; lane < 32; lane++)
          if (mask >> lane & 1) result = static_cast<T>(F()(result, taken<T>(all[lane])));
        *static_cast<T*>(to) = result;
      },
      &value, at);
  return value;
}
}  // namespace emu
#define EMU_REDUCE(name, ...)                                                                        \
  template <class T>                                                                                 \
  T __reduce_##name##_sync(uint32_t mask, T x, const emu::Where& at = emu::Where::current()) {       \
    return emu::reduce(mask, x, [](T a, T b) EMU_QUIET { return static_cast<T>(__VA_ARGS__); }, at); \
  }
EMU_REDUCE(add, static_cast<unsigned>(a) + static_cast<unsigned>(b))
EMU_REDUCE(min, a < b ? a : b)
EMU_REDUCE(max, a < b ? b : a)
EMU_REDUCE(and, a& b)
EMU_REDUCE(or, a | b)
EMU_REDUCE(xor, a ^ b)
#undef EMU_REDUCE

// ---- atomics and fences ---------------------------------------------------------------------------------------------

namespace emu {
template <class T, class F>
T atomically(T* p, F change) {
  atomic(p);
  std::atomic_ref<T> at(*p);
  T old = at.load(std::memory_order_relaxed);
  while (!at.compare_exchange_weak(old, change(old), std::memory_order_relaxed)) {
  }
  return old;
}
}  // namespace emu

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> by) {
  return emu::atomically(p, [=](T old) { return static_cast<T>(old + by); });
}
template <class T>
T atomicSub(T* p, std::type_identity_t<T> by) {
  return emu::atomically(p, [=](T old) { return static_cast<T>(old - by); });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> x) {
  return emu::atomically(p, [=](T old) { return old < x ? x : old; });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> x) {
  return emu::atomically(p, [=](T old) { return x < old ? x : old; });
}
template <class T>
T atomicAnd(T* p, std::type_identity_t<T> x) {
  return emu::atomically(p, [=](T old) { return old & x; });
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> x) {
  return emu::atomically(p, [=](T old) { return old | x; });
}
template <class T>
T atomicXor(T* p, std::type_identity_t<T> x) {
  return emu::atomically(p, [=](T old) { return old ^ x; });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> x) {
  return emu::atomically(p, [=](T) { return x; });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> x) {
  return emu::atomically(p, [=](T old) { return std::memcmp(&old, &expected, sizeof(T)) == 0 ? x : old; });
}
inline unsigned atomicInc(unsigned* p, unsigned last) {
  return emu::atomically(p, [=](unsigned old) { return old >= last ? 0 : old + 1; });
}
inline void __threadfence() { emu::fence(); }
inline void __threadfence_block() { emu::fence(); }

// ---- arithmetic and memory ------------------------------------------------------------------------------------------

using std::exp, std::log, std::sqrt, std::fma, std::log1p, std::expm1, std::pow, std::tanh, std::fabs, std::abs;
using std::isfinite, std::isinf, std::isnan, std::max, std::min;
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float rsqrt(float x) { return 1 / std::sqrt(x); }
inline float __saturatef(float x) { return x > 0 ? std::min(x, 1.f) : 0.f; }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x ? std::countr_zero(static_cast<unsigned>(x)) + 1 : 0; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((uint64_t{a} * b) >> 32); }
inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int bit = 0; bit < 32; bit++) y |= (x >> bit & 1) << (31 - bit);
  return y;
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, std::type_identity_t<T> x) {
  *p = x;
}
template <class T>
void __stcg(T* p, std::type_identity_t<T> x) {
  *p = x;
}
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline void __trap(const emu::Where& at = emu::Where::current()) { emu::fail(at, "the kernel called __trap()"); }

// ---- launches -------------------------------------------------------------------------------------------------------

namespace emu {

// What nvcc made of a kernel and ptx2cpp.py of that: it takes the addresses of the parameters.
struct Translation {
  void (*thread)(void** parameters) = nullptr;
  std::size_t fixed_shared = 0;
  unsigned most_threads = 1024;
};
struct Translated {
  Translated(const void* kernel, int architecture, const Translation& translation);
};

// Puts the kernel on its stream, unless no device takes the launch.
void enqueue(const void* kernel, const Launch& launch, cudaStream_t stream, std::function<void()> thread,
             std::function<void(void (*)(void**))> with_addresses);

}  // namespace emu

namespace lp::cuda {

template <class T>
T* shared_memory() {
  return reinterpret_cast<T*>(emu::shared_base());
}

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream, A&&... arguments) {
  static_assert((std::is_trivially_copyable_v<std::decay_t<P>> && ... && true), "parameters are copied as bytes");
  static_assert((sizeof(std::decay_t<P>) + ... + 0) <= 4096, "all parameters fit into 4 KB");
  std::tuple<std::decay_t<P>...> parameters{static_cast<std::decay_t<P>>(arguments)...};
  emu::enqueue(
      reinterpret_cast<const void*>(kernel), {grid, block, shared}, stream,
      [kernel, parameters] { std::apply(kernel, parameters); },
      [parameters](void (*translated)(void**)) mutable {
        std::apply(
            [&](auto&... one) {
              void* addresses[] = {&one..., nullptr};
              translated(addresses);
            },
            parameters);
      });
}

inline void copy_async16(void* to, const void* from, int filled = 16, const emu::Where& at = emu::Where::current()) {
  emu::copy_async(to, from, 16, static_cast<std::size_t>(filled), at);
}
inline void copy_commit() { emu::copy_commit(); }
template <int kLeft>
void copy_wait() {
  emu::copy_wait(kLeft);
}

inline uint32_t to_tf32(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7f800000) == 0x7f800000) return bits;
  return (bits + 0x1000) & 0xffffe000;
}

// The unit ignores the 13 bits that TF32 lacks. In which order and how it rounds its sums is not told; here, once.
inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                     const emu::Where& at = emu::Where::current()) {
  struct Words {
    uint32_t a[4], b[2];
  };
  struct Out {
    float* d;
    int lane;
  } out{d, emu::self().lane};
  emu::exchange(
      emu::Exchange::matrix, 0xffffffff, emu::give(Words{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}}),
      [](void* to, const emu::Given* all, uint32_t) EMU_QUIET {
        const Out& out = *static_cast<Out*>(to);
        const auto number = [](uint32_t bits) EMU_QUIET { return std::bit_cast<float>(bits & 0xffffe000); };
        for (int e = 0; e < 4; e++) {
          const int row = out.lane / 4 + e / 2 * 8, column = out.lane % 4 * 2 + e % 2;
          double sum = out.d[e];
          for (int k = 0; k < 8; k++) {
            const float x = number(emu::taken<Words>(all[row % 8 * 4 + k % 4]).a[row / 8 + k / 4 * 2]);
            const float y = number(emu::taken<Words>(all[column * 4 + k % 4]).b[k / 4]);
            sum += static_cast<double>(x) * y;
          }
          out.d[e] = static_cast<float>(sum);
        }
      },
      &out, at);
}

}  // namespace lp::cuda
