// The functions that native/addon/<op>.cpp gives to JavaScript; src/engine/load.ts declares their types.
#pragma once

#include <napi.h>

namespace lp::addon {

Napi::Value augment(const Napi::CallbackInfo& info);
Napi::Value cross_entropy_flow(const Napi::CallbackInfo& info);
Napi::Value descend(const Napi::CallbackInfo& info);
Napi::Value descent_add(const Napi::CallbackInfo& info);
Napi::Value descent_advance(const Napi::CallbackInfo& info);
Napi::Value descent_begin(const Napi::CallbackInfo& info);
Napi::Value descent_observe(const Napi::CallbackInfo& info);
Napi::Value descent_restore(const Napi::CallbackInfo& info);
Napi::Value descent_state(const Napi::CallbackInfo& info);
Napi::Value evaluate(const Napi::CallbackInfo& info);
Napi::Value histogram(const Napi::CallbackInfo& info);
Napi::Value info(const Napi::CallbackInfo& info);
Napi::Value collapse_begin(const Napi::CallbackInfo& info);
Napi::Value collapse_sum(const Napi::CallbackInfo& info);
Napi::Value collapse_center(const Napi::CallbackInfo& info);
Napi::Value collapse_measure(const Napi::CallbackInfo& info);
Napi::Value collapse_result(const Napi::CallbackInfo& info);
Napi::Value kernel_check(const Napi::CallbackInfo& info);
Napi::Value kernel_combine(const Napi::CallbackInfo& info);
Napi::Value kernel_modes(const Napi::CallbackInfo& info);
Napi::Value kernel_mse(const Napi::CallbackInfo& info);
Napi::Value kkt_certificate(const Napi::CallbackInfo& info);
Napi::Value loss_and_gradient(const Napi::CallbackInfo& info);
Napi::Value margins(const Napi::CallbackInfo& info);
Napi::Value matmul(const Napi::CallbackInfo& info);
Napi::Value measure_loss(const Napi::CallbackInfo& info);
Napi::Value products(const Napi::CallbackInfo& info);
Napi::Value projections(const Napi::CallbackInfo& info);
Napi::Value softmax_rows(const Napi::CallbackInfo& info);
Napi::Value spherical_advance(const Napi::CallbackInfo& info);
Napi::Value spherical_features(const Napi::CallbackInfo& info);
Napi::Value spherical_logits(const Napi::CallbackInfo& info);
Napi::Value spherical_measure(const Napi::CallbackInfo& info);
Napi::Value spherical_start(const Napi::CallbackInfo& info);
Napi::Value tangent_curvature(const Napi::CallbackInfo& info);
Napi::Value trajectory_dispose(const Napi::CallbackInfo& info);
Napi::Value trajectory_drive(const Napi::CallbackInfo& info);
Napi::Value trajectory_limit(const Napi::CallbackInfo& info);
Napi::Value trajectory_limit_state(const Napi::CallbackInfo& info);
Napi::Value trajectory_measure(const Napi::CallbackInfo& info);
Napi::Value trajectory_start(const Napi::CallbackInfo& info);
Napi::Value trajectory_state(const Napi::CallbackInfo& info);

}  // namespace lp::addon
