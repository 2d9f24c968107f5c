// Runs in blocks' shared memory against plain loops over the rule: all options, odd sizes, runs of different plans side
// by side.
#include "ops/descent/batched.h"

#include "test/cuda/device.h"
#include "test/plain_descent.h"

using namespace lp;
using namespace lp::test;

namespace {

template <class T>
struct Run {
  Run(uint64_t seed, Index n, Index classes, Index p, bool biased)
      : random(seed),
        plan(random_plan(random, classes, 4)),
        plain(n, classes, p),
        velocity(n, classes, p),
        biased(biased) {
    plan.as_it_is = true;
    for (Index i = 0; i < n; i++) labels.push_back(static_cast<int32_t>(random.below(classes)));
    for (auto* part : {&plain.h, &plain.w, &plain.b})
      for (T& value : *part) value = static_cast<T>(random.uniform());
  }
  Random random;
  ProjectedDescentPlan plan;
  Arrays<T> plain, velocity;
  std::vector<int32_t> labels;
  bool biased;
};

template <class T>
std::vector<std::unique_ptr<ProjectedDescent<T>>> started(std::vector<Run<T>>& runs) {
  std::vector<std::unique_ptr<ProjectedDescent<T>>> begun;
  for (Run<T>& run : runs) {
    const State<const T> start = constant(run.plain.state(run.labels, run.biased));
    begun.push_back(std::make_unique<ProjectedDescent<T>>(run.plan, start, nullptr, nullptr));
  }
  return begun;
}

template <class T>
void batch(const std::shared_ptr<cuda::Device>& device, uint64_t seed, Index count) {
  static constexpr Index kSizes[] = {1, 2, 3, 5, 8, 13, 17, 33, 40};
  Random random(seed);
  const Index n = kSizes[random.below(9)], classes = 2 + random.below(9), p = kSizes[random.below(9)], steps = 4;
  const bool biased = random.below(2);
  std::vector<Run<T>> runs;
  for (Index r = 0; r < count; r++) runs.emplace_back(10 * seed + r, n, classes, p, biased);
  const std::vector<double> rates{0.1, 0.2, 0.05, 0.1, 0.3, 0.1, 0.1, 0.05, 0.1, 0.1, 0.2, 0.2};

  auto once = started(runs), cut = started(runs);
  Control control;
  std::vector<DescentOutcome> outcomes(count);
  {
    cuda::Job job(device, control);
    cuda::advance_all(job, once, rates.data(), false, steps, true, outcomes);
    for (Index k = 0; k < steps; k++) {
      const std::vector<double> own{rates[k], rates[steps + k], rates[2 * steps + k]};
      cuda::advance_all(job, cut, own.data(), false, 1, false, outcomes);
    }
  }
  for (Index r = 0; r < count; r++) {
    Run<T>& run = runs[r];
    for (Index k = 0; k < steps; k++) {
      plain_step(run.plan, run.plain, run.velocity, run.labels, biased, all_of(n),
                 {rates[k], rates[steps + k], rates[2 * steps + k]});
    }
    const std::string name = std::string(sizeof(T) == 4 ? "float32" : "float64") + " seed " + std::to_string(seed) +
                             ", run " + std::to_string(r) + ": ";
    const State<T> state = once[r]->state(), other = cut[r]->state(), speed = once[r]->velocity();
    check(once[r]->step() == steps && cut[r]->step() == steps, name + "all steps");
    check(std::equal(state.features.data, state.features.data + (n + classes) * p, other.features.data),
          name + "the same bits however it is cut");
    // As of lanes: in float little is left of a normalized feature that is nearly along its gradient.
    const double tolerance = sizeof(T) == 4 ? 5e-4 : 1e-12;
    const auto compare = [&](const T* a, const std::vector<T>& b, const char* what) {
      double worst = 0, size = 1;
      for (Index i = 0; i < std::ssize(b); i++) {
        worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
        size = std::max(size, std::abs(static_cast<double>(b[i])));
      }
      check_close(worst / size, 0, tolerance, name + what);
    };
    compare(state.features.data, run.plain.h, "features");
    compare(state.prototypes.data, run.plain.w, "prototypes");
    if (biased) compare(state.biases, run.plain.b, "biases");
    if (run.plan.momentum != 0) compare(speed.features.data, run.velocity.h, "velocity");
  }
}

void refused() {
  ProjectedDescentPlan plan;
  check(beyond_devices<float>(plan, 100, 10, 32).empty(), "a small run");
  check(beyond_devices<float>(plan, 2000, 10, 32).find("227 KB") != std::string::npos, "a run that does not fit");
  check(!beyond_devices<double>(plan, Index{1} << 40, 10, 32).empty(), "a run beyond counting");
  plan.batch = 3;
  check(beyond_devices<float>(plan, 100, 10, 32).find("options.batch") != std::string::npos, "batches");
}

}  // namespace

int main() {
  const auto device = cuda::Device::open(0);
  for (uint64_t seed = 0; seed < (kRacesAlone ? 4 : 12); seed++) {
    batch<float>(device, seed, 1 + static_cast<Index>(seed % 4));
    batch<double>(device, seed, 3);
  }
  refused();
  return failures();
}
