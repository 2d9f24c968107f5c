#include "torch/addon/plan.h"

#include "addon/loss_plan.h"

namespace lp::addon {
namespace {

bool flag_in(Napi::Object object, const char* key) { return object.Get(key).ToBoolean(); }
std::string text_in(Napi::Object object, const char* key) { return object.Get(key).ToString(); }

Architecture architecture_in(Napi::Object given) {
  Architecture architecture;
  architecture.kind = text_in(given, "kind");
  architecture.channels = size_in(given, "channels");
  architecture.height = size_in(given, "height");
  architecture.width = size_in(given, "width");
  architecture.depth = size_in(given, "depth");
  for (double width : numbers_in(given, "widths")) architecture.widths.push_back(static_cast<Index>(width));
  architecture.imagenet_stem = flag_in(given, "imagenetStem");
  architecture.growth = size_in(given, "growth");
  architecture.reduction = number_in(given, "reduction");
  architecture.last_relu = flag_in(given, "lastRelu");
  return architecture;
}

Augmentation augmentation_in(Napi::Object given, uint64_t seed) {
  Augmentation how;
  how.padding = size_in(given, "padding");
  how.shift = size_in(given, "shift");
  how.flip = flag_in(given, "flip");
  how.mixup = number_in(given, "mixup");
  how.mean = numbers_in(given, "mean");
  how.std = numbers_in(given, "std");
  how.seed = seed;
  return how;
}

}  // namespace

NetworkLoss network_loss_in(Napi::Object plan, Index samples, Index classes) {
  NetworkLoss loss;
  loss.base = loss_in(plan, samples, classes);
  loss.mean_regularization = flag_in(plan, "meanRegularization");
  loss.rescaled = flag_in(plan, "rescaled");
  loss.cosine = flag_in(plan, "cosine");
  loss.balanced = flag_in(plan, "balanced");
  loss.ldam = plan.Get("ldamMargins").IsTypedArray();
  if (loss.ldam) {
    loss.margins = numbers_in(plan, "ldamMargins");
    loss.scale = number_in(plan, "ldamScale");
    if (std::ssize(loss.margins) != classes) throw Error("LP_SHAPE", "LDAM needs a margin for each class.");
  }
  loss.weights_from = size_in(plan, "weightsFrom");
  return loss;
}

TrainerPlan trainer_plan_in(Napi::Object given) {
  TrainerPlan plan;
  plan.architecture = architecture_in(given.Get("architecture").As<Napi::Object>());
  plan.head_norm = flag_in(given, "headNorm");
  plan.feature_scale = number_in(given, "featureScale");
  plan.prototypes = flag_in(given, "fixedPrototypes") ? Prototypes::fixed : Prototypes::learnable;
  plan.bias = flag_in(given, "bias");
  plan.classes = size_in(given, "classes");
  plan.loss = network_loss_in(given.Get("loss").As<Napi::Object>(), 1, plan.classes);
  plan.momentum = number_in(given, "momentum");
  plan.nesterov = flag_in(given, "nesterov");
  plan.weight_decay = number_in(given, "weightDecay");
  plan.prototype_decay = number_in(given, "prototypeDecay");
  plan.bias_decay = number_in(given, "biasDecay");
  plan.norm_decay = number_in(given, "normDecay");
  plan.batch = std::max<Index>(1, size_in(given, "batch"));
  plan.accumulate = std::max<Index>(1, size_in(given, "accumulate"));
  plan.ema = number_in(given, "ema");
  plan.seed = static_cast<uint64_t>(std::max(0.0, number_in(given, "seed")));
  plan.augmentation = augmentation_in(given.Get("augmentation").As<Napi::Object>(), plan.seed);
  plan.device = text_in(given, "device");
  plan.threads = static_cast<int>(std::max<Index>(1, size_in(given, "threads")));
  plan.channels_last = flag_in(given, "channelsLast");
  plan.bfloat16 = flag_in(given, "bfloat16");
  plan.tf32 = flag_in(given, "tf32");
  return plan;
}

}  // namespace lp::addon
