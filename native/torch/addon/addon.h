// The functions that native/torch/addon gives to JavaScript; src/training/engine.ts declares their types.
#pragma once

#include <napi.h>

namespace lp::addon {

Napi::Value halt(const Napi::CallbackInfo& info);
Napi::Value info(const Napi::CallbackInfo& info);
Napi::Value network_loss(const Napi::CallbackInfo& info);
Napi::Value prove(const Napi::CallbackInfo& info);
Napi::Value trainer_begin(const Napi::CallbackInfo& info);
Napi::Value trainer_dispose(const Napi::CallbackInfo& info);
Napi::Value trainer_epoch(const Napi::CallbackInfo& info);
Napi::Value trainer_evaluate(const Napi::CallbackInfo& info);
Napi::Value trainer_layout(const Napi::CallbackInfo& info);
Napi::Value trainer_restore(const Napi::CallbackInfo& info);
Napi::Value trainer_state(const Napi::CallbackInfo& info);

}  // namespace lp::addon
