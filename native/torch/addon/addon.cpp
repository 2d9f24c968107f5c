#include <torch/torch.h>
#include <torch/version.h>

#include "addon/call.h"
#include "torch/memory/memory.h"
#include "torch/trainer/lane.h"

namespace lp::addon {
namespace {

// What `doctor` prints of the binary and of libtorch.
Napi::Value info(Call& call) {
  return named(call.env(), {{"version", LAYERPEEL_VERSION},
                            {"libtorch", TORCH_VERSION},
                            {"threads", static_cast<Index>(at::get_num_threads())},
                            {"instructions", Napi::String::New(call.env(), at::get_cpu_capability())},
                            {"cudaDevices", static_cast<Index>(torch::cuda::device_count())}});
}
LP_EXPORT("info()", info)

// prove(mode) → { before, after }, the losses around a step of SGD: whether this binary and this libtorch can train
// together.
Napi::Value prove(Call& call) {
  const auto losses = std::make_shared<std::array<double, 2>>();
  return call.run(
      [losses](Control&) {
        torch::nn::Linear layer(8, 3);
        torch::optim::SGD optimizer(layer->parameters(), 0.1);
        const auto x = torch::randn({32, 8}), y = torch::arange(32) % 3;
        const auto loss = [&] { return torch::nn::functional::cross_entropy(layer(x), y); };
        const auto before = loss();
        before.backward();
        optimizer.step();
        *losses = {before.item<double>(), loss().item<double>()};
      },
      [losses](Napi::Env env) { return named(env, {{"before", (*losses)[0]}, {"after", (*losses)[1]}}); });
}
LP_EXPORT("prove(mode)", prove)

// halt(): ends all training, before the process exits.
Napi::Value halt(Call& call) {
  halt_lanes();
  return call.env().Undefined();
}
LP_EXPORT("halt()", halt)

Napi::Object begin(Napi::Env env, Napi::Object exports) {
  keep_tensor_memory();
  return export_all(env, exports);
}

}  // namespace
}  // namespace lp::addon

using lp::addon::begin;
NODE_API_MODULE(layerpeel_torch, begin)
