// A loss as JavaScript describes it (EngineLoss in src/engine/load.ts), checked so that no caller reaches memory it
// should not.
#pragma once

#include "addon/job.h"
#include "ops/loss/losses.h"

namespace lp::addon {

Loss loss_in(Napi::Object plan, Index samples, Index classes);

}  // namespace lp::addon
