// A loss as JavaScript describes it (EngineLoss in src/losses/losses.ts).
#pragma once

#include "addon/call.h"
#include "ops/loss/losses.h"

namespace lp::addon {

Loss loss_in(const Argument& plan, Index samples, Index classes);

}  // namespace lp::addon
