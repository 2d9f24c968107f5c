#include "torch/addon/plan.h"

#include "addon/images.h"
#include "addon/loss_plan.h"

namespace lp::addon {
namespace {

Architecture architecture_in(const Argument& given) {
  Architecture architecture;
  architecture.kind = given["kind"].text();
  architecture.channels = given["channels"].size();
  architecture.height = given["height"].size();
  architecture.width = given["width"].size();
  architecture.depth = given["depth"].size();
  for (double width : given["widths"].numbers()) {
    if (!(width >= 1 && width <= 1e9)) given["widths"].fail("LP_OPTION", "has a width out of range");
    architecture.widths.push_back(static_cast<Index>(width));
  }
  architecture.imagenet_stem = given["imagenetStem"].flag();
  architecture.growth = given["growth"].size();
  architecture.reduction = given["reduction"].number();
  architecture.last_relu = given["lastRelu"].flag();
  return architecture;
}

}  // namespace

NetworkLoss network_loss_in(const Argument& plan, Index samples, Index classes) {
  NetworkLoss loss;
  loss.base = loss_in(plan, samples, classes);
  loss.mean_regularization = plan["meanRegularization"].flag();
  loss.rescaled = plan["rescaled"].flag();
  loss.cosine = plan["cosine"].flag();
  loss.balanced = plan["balanced"].flag();
  loss.ldam = plan["ldamMargins"].given();
  if (loss.ldam) {
    loss.margins = plan["ldamMargins"].numbers();
    loss.scale = plan["ldamScale"].number();
    if (std::ssize(loss.margins) != classes) throw Error("LP_SHAPE", "LDAM needs a margin for each class.");
  }
  loss.weights_from = plan["weightsFrom"].size();
  loss.by_weights = plan["meanByWeights"].flag();
  return loss;
}

TrainerPlan trainer_plan_in(const Argument& given) {
  TrainerPlan plan;
  plan.architecture = architecture_in(given["architecture"]);
  plan.head_norm = given["headNorm"].flag();
  plan.feature_scale = given["featureScale"].number();
  plan.prototypes = given["fixedPrototypes"].flag() ? Prototypes::fixed : Prototypes::learnable;
  plan.bias = given["bias"].flag();
  plan.classes = given["classes"].size();
  if (const Argument beginning = given["beginning"]; beginning.given()) {
    const Index size = beginning.length();
    const auto* data = static_cast<const float*>(locate(beginning, napi_float32_array, size));
    plan.beginning.assign(data, data + size);
  }
  plan.loss = network_loss_in(given["loss"], 1, plan.classes);
  plan.momentum = given["momentum"].number();
  plan.nesterov = given["nesterov"].flag();
  plan.weight_decay = given["weightDecay"].number();
  plan.prototype_decay = given["prototypeDecay"].number();
  plan.bias_decay = given["biasDecay"].number();
  plan.norm_decay = given["normDecay"].number();
  plan.batch = std::max<Index>(1, given["batch"].size());
  plan.accumulate = std::max<Index>(1, given["accumulate"].size());
  plan.ema = given["ema"].number();
  plan.seed = static_cast<uint64_t>(given["seed"].count());
  plan.augmentation = augmentation_in(given["augmentation"]);
  plan.augmentation.seed = plan.seed;
  plan.device = given["device"].text();
  plan.threads = static_cast<int>(std::max<Index>(1, given["threads"].size()));
  plan.channels_last = given["channelsLast"].flag();
  plan.bfloat16 = given["bfloat16"].flag();
  plan.tf32 = given["tf32"].flag();
  return plan;
}

}  // namespace lp::addon
