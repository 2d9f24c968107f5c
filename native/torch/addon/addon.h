// The functions that native/torch/addon gives to JavaScript; src/torch/native.ts declares their types.
#pragma once

#include <napi.h>

namespace lp::addon {

Napi::Value info(const Napi::CallbackInfo& info);
Napi::Value prove(const Napi::CallbackInfo& info);

}  // namespace lp::addon
