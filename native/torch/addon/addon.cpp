#include "torch/addon/addon.h"

#include <torch/torch.h>
#include <torch/version.h>

#include "addon/job.h"
#include "torch/memory/memory.h"
#include "torch/trainer/lane.h"

namespace lp::addon {

// What `doctor` prints of the binary and of libtorch.
Napi::Value info(const Napi::CallbackInfo& info) {
  auto result = Napi::Object::New(info.Env());
  result.Set("version", LAYERPEEL_VERSION);
  result.Set("libtorch", TORCH_VERSION);
  result.Set("threads", at::get_num_threads());
  result.Set("instructions", at::get_cpu_capability());
  result.Set("cudaDevices", static_cast<double>(torch::cuda::device_count()));
  return result;
}

// prove(mode) → the losses before and after a step of SGD: whether this binary and this libtorch can train together.
Napi::Value prove(const Napi::CallbackInfo& info) {
  const auto losses = std::make_shared<std::array<double, 2>>();
  return run(
      info,
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
      [losses](Napi::Env env) -> Napi::Value {
        return array_of(env, {Napi::Number::New(env, (*losses)[0]), Napi::Number::New(env, (*losses)[1])});
      });
}

// halt(): ends all training, before the process exits.
Napi::Value halt(const Napi::CallbackInfo& info) {
  halt_lanes();
  return info.Env().Undefined();
}

// One a JavaScript environment: the main thread and every worker load the addon for themselves.
class LayerpeelTorch : public Napi::Addon<LayerpeelTorch> {
 public:
  LayerpeelTorch(Napi::Env env, Napi::Object exports) {
    lp::keep_tensor_memory();
    const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
      exports.Set(name, Napi::Function::New(env, function, name));
    };
    add("halt", halt);
    add("info", lp::addon::info);
    add("networkLoss", network_loss);
    add("prove", prove);
    add("trainerBegin", trainer_begin);
    add("trainerDispose", trainer_dispose);
    add("trainerEpoch", trainer_epoch);
    add("trainerEvaluate", trainer_evaluate);
    add("trainerLayout", trainer_layout);
    add("trainerRestore", trainer_restore);
    add("trainerState", trainer_state);
  }
};

}  // namespace lp::addon

using lp::addon::LayerpeelTorch;
NODE_API_ADDON(LayerpeelTorch)
