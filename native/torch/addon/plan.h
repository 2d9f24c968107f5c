// What training is told (NetworkLossPlan and TrainerPlan in src/training/engine.ts), checked so that no caller reaches
// memory it should not.
#pragma once

#include "addon/call.h"
#include "torch/trainer/trainer.h"

namespace lp::addon {

NetworkLoss network_loss_in(const Argument& plan, Index samples, Index classes);
TrainerPlan trainer_plan_in(const Argument& plan);

}  // namespace lp::addon
