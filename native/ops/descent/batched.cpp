#include "ops/descent/batched.h"

#include "ops/descent/lanes.h"

namespace lp {

SharedParts::SharedParts(Index samples, Index classes, Index p, bool moving)
    : dim_stride(static_cast<int>(p | 1)), class_stride(static_cast<int>(classes | 1)), size(0) {
  const auto take = [&](Index count) {
    const Index at = size;
    size += count;
    return at;
  };
  features = take(samples * dim_stride);
  prototypes = take(classes * dim_stride);
  biases = take(classes);
  features_velocity = take(moving ? samples * dim_stride : 0);
  prototypes_velocity = take(moving ? classes * dim_stride : 0);
  biases_velocity = take(moving ? classes : 0);
  slopes = take(samples * class_stride);
  prototypes_slope = take(classes * dim_stride);
  biases_slope = take(classes);
  for (Index* row : {&weights, &decay, &rate, &scale, &labels}) *row = take(samples);
}

template <class T>
std::string beyond_devices(const ProjectedDescentPlan& plan, Index samples, Index classes, Index p) {
  if (const char* lacking = beyond_lanes(plan, samples)) return lacking;
  const Index most = kMostShared / Index{sizeof(T)};
  const bool countable = samples <= most && classes <= most && p <= most;
  const Index bytes = countable ? SharedParts(samples, classes, p, plan.momentum != 0).bytes<T>() : kMostShared + 1;
  if (bytes <= kMostShared) return {};
  return "room for runs of this size (problem.state): one has " + std::to_string(kMostShared / 1024) + " KB" +
         (countable ? " and would take " + std::to_string(divide_up(bytes, 1024)) : "");
}

template std::string beyond_devices<float>(const ProjectedDescentPlan&, Index, Index, Index);
template std::string beyond_devices<double>(const ProjectedDescentPlan&, Index, Index, Index);

}  // namespace lp
