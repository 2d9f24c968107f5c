// Steps on vector lanes against the plain formulas, stepped by loops written here.
#include "ops/descent/lanes.h"

#include <limits>
#include <vector>

#include "check.h"
#include "plain_descent.h"

using namespace lp;
using namespace lp::test;

namespace {

template <class T>
void run(uint64_t seed) {
  static constexpr Index kSizes[] = {1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 50};
  Random random(seed);
  const Index n = kSizes[random.below(12)], classes = 2 + random.below(24), p = kSizes[random.below(11)];
  const ProjectedDescentPlan plan = random_plan(random, classes, 4);
  const bool biased = random.below(2);
  std::vector<int32_t> labels;
  for (Index i = 0; i < n; i++) labels.push_back(static_cast<int32_t>(random.below(classes)));
  Arrays<T> plain(n, classes, p), velocity(n, classes, p);
  for (auto* part : {&plain.h, &plain.w, &plain.b})
    for (T& value : *part) value = static_cast<T>(random.uniform());
  Arrays<T> once = plain, cut = plain, once_velocity = velocity, cut_velocity = velocity;
  const double features[] = {0.1, 0.2, 0.05, 0.1}, prototypes[] = {0.3, 0.1, 0.1, 0.05},
               biases[] = {0.1, 0.1, 0.2, 0.2};
  const Index steps = 4;
  const bool moving = plan.momentum != 0;
  const Control control;

  for (Index k = 0; k < steps; k++) {
    plain_step(plan, plain, velocity, labels, biased, all_of(n), {features[k], prototypes[k], biases[k]});
  }

  const std::string name = std::string(sizeof(T) == 4 ? "float" : "double") + " seed " + std::to_string(seed);
  const auto state_of = [&](Arrays<T>& arrays) { return arrays.state(labels, biased); };
  const auto speed_of = [&](Arrays<T>& arrays) { return moving ? arrays.state(labels, biased) : State<T>{}; };
  LaneDescent<T> lanes(plan, constant(state_of(once)));
  check(LaneDescent<T>::suits(plan, n, classes, p), name + ": suits");
  check(lanes.advance(state_of(once), speed_of(once_velocity), features, prototypes, biases, steps, control) == steps,
        name + ": all steps");
  for (Index k = 0; k < steps; k++) {
    lanes.advance(state_of(cut), speed_of(cut_velocity), features + k, prototypes + k, biases + k, 1, control);
  }
  check(once.h == cut.h && once.w == cut.w && once.b == cut.b, name + ": the same bits however it is cut");
  check(once_velocity.h == cut_velocity.h, name + ": velocity, however it is cut");
  // In float, of a normalized feature that is nearly along its gradient, little is left of it beside the rounding of
  // what cancels; the plain loops, which subtract in double, do not see that.
  const double tolerance = sizeof(T) == 4 ? 5e-4 : 1e-12;
  const auto compare = [&](const std::vector<T>& a, const std::vector<T>& b, const char* what) {
    double worst = 0, size = 1;
    for (Index i = 0; i < std::ssize(a); i++) {
      worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
      size = std::max(size, std::abs(static_cast<double>(b[i])));
    }
    check_close(worst / size, 0, tolerance, name + ": " + what);
  };
  compare(once.h, plain.h, "features");
  compare(once.w, plain.w, "prototypes");
  compare(once.b, plain.b, "biases");
  if (moving) compare(once_velocity.h, velocity.h, "velocity");
}

// A start that overflows is refused at its first step, and left as it is.
template <class T>
void overflow() {
  const std::vector<int32_t> labels{0, 1, 1};
  Arrays<T> arrays(3, 2, 1);
  arrays.h = {1, 2, std::numeric_limits<T>::max()};
  arrays.w = {1, 4};
  ProjectedDescentPlan plan;
  LaneDescent<T> lanes(plan, constant(arrays.state(labels, false)));
  const double rate = 0.1;
  check(lanes.advance(arrays.state(labels, false), {}, &rate, &rate, &rate, 1, Control()) == 0, "overflow is noticed");
  check(arrays.h[0] == 1 && arrays.w[1] == 4, "nothing moved");
}

}  // namespace

int main() {
  for (uint64_t seed = 0; seed < 400; seed++) {
    run<float>(seed);
    run<double>(seed);
  }
  overflow<float>();
  overflow<double>();
  return failures();
}
