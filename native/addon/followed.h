// Where a flow that is integrated has got to: Followed in src/dynamics/followed.ts.
#pragma once

#include "addon/call.h"
#include "core/integrator.h"

namespace lp::addon {

inline Napi::Object outcome_of(Napi::Env env, const Output<double>& z, const Integrator::Outcome& outcome) {
  return named(env, {{"z", z},
                     {"time", outcome.time},
                     {"step", outcome.step},
                     {"error", outcome.error},
                     {"atRest", outcome.at_rest},
                     {"rate", outcome.rate}});
}

}  // namespace lp::addon
