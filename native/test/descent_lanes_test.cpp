// Steps on vector lanes against the plain formulas, stepped by loops written here.
#include "ops/descent/lanes.h"

#include <limits>
#include <vector>

#include "check.h"

using namespace lp;
using namespace lp::test;

namespace {

template <class T>
struct Arrays {
  Arrays(Index n, Index classes, Index p) : h(n * p), w(classes * p), b(classes), n(n), classes(classes), p(p) {}
  State<T> state(const std::vector<int32_t>& labels, bool biased) {
    return {{h.data(), n, p}, {w.data(), classes, p}, biased ? b.data() : nullptr, labels.data()};
  }
  std::vector<T> h, w, b;
  Index n, classes, p;
};

template <class T>
State<const T> constant(const State<T>& state) {
  return {state.features, state.prototypes, state.biases, state.labels};
}

template <class T>
void move_part(std::vector<T>& x, std::vector<T>& v, const std::vector<T>& g, Index rows, double rate,
               const PartPlan& part, const DescentPlan& plan, bool rescaled) {
  if (!part.moves) return;
  const Index p = std::ssize(x) / rows;
  double all = 0;
  for (Index i = 0; i < rows; i++) {
    double before = 0, after = 0;
    for (Index j = i * p; j < (i + 1) * p; j++) before += static_cast<double>(x[j]) * static_cast<double>(x[j]);
    const double own = rescaled ? rate * std::sqrt(before) : rate;
    for (Index j = i * p; j < (i + 1) * p; j++) {
      const double d = static_cast<double>(g[j]) + part.decay * static_cast<double>(x[j]);
      v[j] = static_cast<T>(plan.momentum * static_cast<double>(v[j]) + d);
      const double speed = static_cast<double>(v[j]);
      x[j] = static_cast<T>(static_cast<double>(x[j]) - own * (plan.nesterov ? d + plan.momentum * speed : speed));
      after += static_cast<double>(x[j]) * static_cast<double>(x[j]);
    }
    all += after;
    const double norm = std::sqrt(after), radius = part.constraint.radius;
    const bool outside = part.constraint.kind == Constraint::sphere
                             ? norm > 0
                             : part.constraint.kind == Constraint::ball && norm > radius;
    if (!outside) continue;
    for (Index j = i * p; j < (i + 1) * p; j++) x[j] = static_cast<T>(static_cast<double>(x[j]) * radius / norm);
  }
  if (part.constraint.kind != Constraint::frobenius || std::sqrt(all) <= part.constraint.radius) return;
  for (T& value : x) value = static_cast<T>(static_cast<double>(value) * part.constraint.radius / std::sqrt(all));
}

DescentPlan random_plan(Random& random, Index classes) {
  static constexpr LossKind kKinds[] = {LossKind::cross_entropy, LossKind::mse, LossKind::hinge, LossKind::unhinged};
  DescentPlan plan;
  Loss& loss = plan.loss;
  loss.kind = kKinds[random.below(4)];
  loss.gamma = 0.3;
  loss.normalized = random.below(3) == 0;
  loss.radius = 1.5;
  loss.sum = random.below(4) == 0;
  if (loss.kind == LossKind::cross_entropy) {
    if (random.below(2)) loss.smoothing = 0.1;
    if (random.below(2)) {
      for (Index c = 0; c < classes; c++) loss.class_weights.push_back(1 + 0.5 * random.uniform());
    }
  }
  if (random.below(3) == 0) loss.regularization = 0.01;
  if (random.below(2)) plan.momentum = 0.7;
  plan.nesterov = plan.momentum != 0 && random.below(2);
  plan.rescaled = random.below(4) == 0;
  for (PartPlan* part : {&plan.features, &plan.prototypes, &plan.biases}) {
    part->moves = random.below(5) != 0;
    if (random.below(2)) part->decay = 0.05;
    if (part == &plan.biases) continue;
    part->constraint.kind = static_cast<Constraint::Kind>(random.below(4));
    part->constraint.radius = part->constraint.kind == Constraint::frobenius ? 2 : 0.8;
  }
  return plan;
}

template <class T>
void run(uint64_t seed) {
  static constexpr Index kSizes[] = {1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 50};
  Random random(seed);
  const Index n = kSizes[random.below(12)], classes = 2 + random.below(24), p = kSizes[random.below(11)];
  const DescentPlan plan = random_plan(random, classes);
  const bool biased = random.below(2);
  std::vector<int32_t> labels;
  for (Index i = 0; i < n; i++) labels.push_back(static_cast<int32_t>(random.below(classes)));
  Arrays<T> plain(n, classes, p), velocity(n, classes, p), gradient(n, classes, p);
  for (auto* part : {&plain.h, &plain.w, &plain.b})
    for (T& value : *part) value = static_cast<T>(random.uniform());
  Arrays<T> once = plain, cut = plain, once_velocity = velocity, cut_velocity = velocity;
  const double features[] = {0.1, 0.2, 0.05, 0.1}, prototypes[] = {0.3, 0.1, 0.1, 0.05},
               biases[] = {0.1, 0.1, 0.2, 0.2};
  const Index steps = 4;
  const bool moving = plan.momentum != 0;
  const Control control;

  for (Index k = 0; k < steps; k++) {
    const State<T> state = plain.state(labels, biased), slope = gradient.state(labels, biased);
    loss_and_gradient_ref(plan.loss, constant(state), slope);
    move_part(plain.h, velocity.h, gradient.h, n, features[k], plan.features, plan, plan.rescaled);
    move_part(plain.w, velocity.w, gradient.w, classes, prototypes[k], plan.prototypes, plan, false);
    if (biased) move_part(plain.b, velocity.b, gradient.b, classes, biases[k], plan.biases, plan, false);
  }

  const std::string name = std::string(sizeof(T) == 4 ? "float" : "double") + " seed " + std::to_string(seed);
  const auto state_of = [&](Arrays<T>& arrays) { return arrays.state(labels, biased); };
  const auto speed_of = [&](Arrays<T>& arrays) { return moving ? arrays.state(labels, biased) : State<T>{}; };
  Quick<T> quick(plan, constant(state_of(once)));
  check(Quick<T>::suits(plan, n, classes, p), name + ": suits");
  check(quick.advance(state_of(once), speed_of(once_velocity), features, prototypes, biases, steps, control) == steps,
        name + ": all steps");
  for (Index k = 0; k < steps; k++) {
    quick.advance(state_of(cut), speed_of(cut_velocity), features + k, prototypes + k, biases + k, 1, control);
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
  DescentPlan plan;
  Quick<T> quick(plan, constant(arrays.state(labels, false)));
  const double rate = 0.1;
  check(quick.advance(arrays.state(labels, false), {}, &rate, &rate, &rate, 1, Control()) == 0, "overflow is noticed");
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
