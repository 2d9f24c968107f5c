#include "addon/call.h"
#include "core/blas/blas.h"
#include "core/device.h"
#include "core/dispatch.h"
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

}  // namespace
}  // namespace lp::addon

using lp::addon::export_all;
NODE_API_MODULE(layerpeel, export_all)
