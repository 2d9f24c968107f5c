#include <limits>

#include "addon/call.h"
#include "core/blas/blas.h"
#include "core/device.h"
#include "core/dispatch.h"
#include "core/memory.h"
#include "core/thread_pool.h"

namespace lp::addon {
namespace {

// What `doctor` prints of the binary.
Napi::Value info(Call& call) {
  return named(call.env(), {{"version", LAYERPEEL_VERSION},
                            {"isa", isa_name(isa())},
                            {"availableIsa", isa_name(available_isa())},
                            {"blas", Napi::String::New(call.env(), blas::source())},
                            {"blasDescription", Napi::String::New(call.env(), blas::description())},
                            {"threads", static_cast<Index>(thread_count())},
                            {"cuda", cuda::kBuilt}});
}
LP_EXPORT("info()", info)

// What a container allows; memory beyond 2⁵³ bytes is not limited.
Napi::Value limit(Call& call) {
  const auto threads = static_cast<int>(call[0]["threads"].number(1, 1 << 20));
  const double memory = call[0]["memory"].number(0, 9007199254740991.0);
  limit_threads(threads);
  limit_memory(memory < 9007199254740991.0 ? memory : std::numeric_limits<double>::infinity());
  return call.env().Undefined();
}
LP_EXPORT("limit(plan)", limit)

}  // namespace
}  // namespace lp::addon

using lp::addon::export_all;
NODE_API_MODULE(layerpeel, export_all)
