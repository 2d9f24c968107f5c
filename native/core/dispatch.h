// Run-time choice of the instruction set, inside one binary.
//
// A kernel is written once, in plain loops that the compiler vectorizes, in `<op>.kernel.cpp`, inside `namespace
// lp::LP_ISA`. The build compiles that file once for each instruction set, with LP_ISA its name; only the flags differ.
// The operation enters one of them through LP_SELECT.
//
// Rule: a kernel uses no inline function with external linkage (no <algorithm>, no <vector>): the linker keeps one
// copy of such a function for the whole binary, and it may be the one compiled for AVX-512.
#pragma once

namespace lp {

enum class Isa { baseline, avx2, avx512 };

// The best level this machine runs, and the level in use: the same unless LAYERPEEL_ISA caps it.
Isa available_isa();
Isa isa();
const char* isa_name(Isa level);  // "baseline" ("neon" on arm64), "avx2", "avx512"

}  // namespace lp

// Declares a kernel for every instruction set: LP_DECLARE(template <class T> void scale(T* x, Index n);)
#if defined(__x86_64__) || defined(_M_X64)
#define LP_DECLARE(...)    \
  namespace lp::baseline { \
  __VA_ARGS__              \
  }                        \
  namespace lp::avx2 {     \
  __VA_ARGS__              \
  }                        \
  namespace lp::avx512 {   \
  __VA_ARGS__              \
  }
#define LP_SELECT(...)                                           \
  (::lp::isa() == ::lp::Isa::avx512 ? &::lp::avx512::__VA_ARGS__ \
   : ::lp::isa() == ::lp::Isa::avx2 ? &::lp::avx2::__VA_ARGS__   \
                                    : &::lp::baseline::__VA_ARGS__)
#else
#define LP_DECLARE(...)    \
  namespace lp::baseline { \
  __VA_ARGS__              \
  }
#define LP_SELECT(...) (&::lp::baseline::__VA_ARGS__)
#endif
