#include "addon/addon.h"

#include "core/blas/blas.h"
#include "core/device.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"

namespace lp::addon {

// What `doctor` prints of the binary.
Napi::Value info(const Napi::CallbackInfo& info) {
  auto result = Napi::Object::New(info.Env());
  result.Set("version", LAYERPEEL_VERSION);
  result.Set("isa", isa_name(isa()));
  result.Set("availableIsa", isa_name(available_isa()));
  result.Set("blas", blas::source());
  result.Set("blasDescription", blas::description());
  result.Set("threads", thread_count());
  result.Set("cudaUsable", cuda_usable());
  result.Set("cuda", cuda_state());
  return result;
}

// One a JavaScript environment: the main thread and every worker load the addon for themselves.
class Layerpeel : public Napi::Addon<Layerpeel> {
 public:
  Layerpeel(Napi::Env env, Napi::Object exports) {
    const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
      exports.Set(name, Napi::Function::New(env, function, name));
    };
    add("augment", augment);
    add("crossEntropyFlow", cross_entropy_flow);
    add("descend", descend);
    add("descentAdd", descent_add);
    add("descentAdvance", descent_advance);
    add("descentBegin", descent_begin);
    add("descentObserve", descent_observe);
    add("descentRestore", descent_restore);
    add("descentState", descent_state);
    add("evaluate", evaluate);
    add("histogram", histogram);
    add("info", info);
    add("collapseBegin", collapse_begin);
    add("collapseSum", collapse_sum);
    add("collapseCenter", collapse_center);
    add("collapseMeasure", collapse_measure);
    add("collapseResult", collapse_result);
    add("kernelCheck", kernel_check);
    add("kernelCombine", kernel_combine);
    add("kernelModes", kernel_modes);
    add("kernelMse", kernel_mse);
    add("kktCertificate", kkt_certificate);
    add("lossAndGradient", loss_and_gradient);
    add("margins", margins);
    add("matmul", matmul);
    add("measureLoss", measure_loss);
    add("products", products);
    add("projections", projections);
    add("softmaxRows", softmax_rows);
    add("sphericalAdvance", spherical_advance);
    add("sphericalFeatures", spherical_features);
    add("sphericalLogits", spherical_logits);
    add("sphericalMeasure", spherical_measure);
    add("sphericalStart", spherical_start);
    add("tangentCurvature", tangent_curvature);
    add("trajectoryDispose", trajectory_dispose);
    add("trajectoryDrive", trajectory_drive);
    add("trajectoryLimit", trajectory_limit);
    add("trajectoryLimitState", trajectory_limit_state);
    add("trajectoryMeasure", trajectory_measure);
    add("trajectoryStart", trajectory_start);
    add("trajectoryState", trajectory_state);
  }
};

}  // namespace lp::addon

using lp::addon::Layerpeel;
NODE_API_ADDON(Layerpeel)
