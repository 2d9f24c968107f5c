#include "core/dispatch.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace lp {

const char* isa_name(Isa level) {
  switch (level) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
#ifdef __aarch64__
      return "neon";
#else
      return "baseline";
#endif
  }
}

Isa available_isa() {
#if defined(__x86_64__)
  // The compiler's detection also asks the operating system whether it saves the wide registers.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return Isa::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa isa() {
  static const Isa level = [] {
    const char* cap = std::getenv("LAYERPEEL_ISA");
    const Isa best = available_isa();
    if (!cap) return best;
    for (Isa wanted : {Isa::avx512, Isa::avx2})
      if (std::strcmp(cap, isa_name(wanted)) == 0) return std::min(best, wanted);
    return std::strcmp(cap, isa_name(Isa::baseline)) == 0 ? Isa::baseline : best;
  }();
  return level;
}

}  // namespace lp
