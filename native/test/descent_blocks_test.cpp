// Projected descent by blocks, and whole runs of it, against plain loops: every loss, constraints, momentum, decays,
// batches, several blocks; measures; where a run is cut; and where it ends when it diverges.
#include "ops/descent/blocks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "core/random.h"
#include "ops/descent/lanes.h"
#include "ops/descent/projected.h"
#include "plain_descent.h"

using namespace lp;
using namespace lp::test;

namespace {

constexpr Index kSteps = 5;
const double kRates[3][kSteps] = {{0.1, 0.2, 0.05, 0.1, 0.1}, {0.3, 0.1, 0.1, 0.05, 0.2}, {0.1, 0.1, 0.2, 0.2, 0.1}};

// The samples of step k.
std::vector<Index> batch_of(const ProjectedDescentPlan& plan, Index n, Index k) {
  std::vector<Index> order = all_of(n);
  if (plan.batch == 0) return order;
  const Index batches = divide_up(n, plan.batch), first = k % batches * plan.batch;
  SplitMix64 random({plan.seed, static_cast<uint64_t>(k / batches)});
  shuffle(order.data(), n, random);
  return {order.begin() + first, order.begin() + std::min(n, first + plan.batch)};
}

template <class T>
struct Problem {
  Problem(Index n, Index classes, Index p, Random& random) : start(n, classes, p) {
    for (Index i = 0; i < n; i++) labels.push_back(static_cast<int32_t>(random.below(classes)));
    for (auto* part : {&start.h, &start.w, &start.b})
      for (T& value : *part) value = static_cast<T>(random.uniform());
  }
  Arrays<T> start;
  std::vector<int32_t> labels;
};

template <class T>
void compare(const std::vector<T>& a, const std::vector<T>& b, const std::string& what, double tolerance) {
  double size = 1;
  for (const T value : b) size = std::max(size, std::abs(static_cast<double>(value)));
  check_close(distance(a, b) / size, 0, tolerance, what);
}

template <class T>
constexpr double kTolerance = sizeof(T) == 4 ? 5e-4 : 1e-12;

template <class T>
void steps(uint64_t seed, Index n, Index classes, Index p) {
  Random random(seed);
  ProjectedDescentPlan plan = random_plan(random, classes, 6);
  if (random.below(2) && n > 3) plan.batch = 2 + random.below(n - 2), plan.seed = seed;
  if (plan.loss.kind == LossKind::cross_entropy && random.below(2)) {
    for (Index k = 0; k < n; k++)
      for (Index c = 0; c < classes; c++) plan.loss.soft_labels.push_back((c < 2) * (c == k % 2 ? 0.75 : 0.25));
  }
  const bool biased = random.below(2), moving = plan.momentum != 0;
  Problem<T> problem(n, classes, p, random);
  Arrays<T> plain = problem.start, x = plain, plain_velocity(n, classes, p), v = plain_velocity;
  const State<T> state = x.state(problem.labels, biased),
                 velocity = moving ? v.state(problem.labels, biased) : State<T>{};
  BlockDescent<T> blocks(plan, n, classes, p);
  blocks.measure_squares(state);
  for (Index k = 0; k < kSteps; k++) {
    const double rates[] = {kRates[0][k], kRates[1][k], kRates[2][k]};
    const double expected =
        plain_step(plan, plain, plain_velocity, problem.labels, biased, batch_of(plan, n, k), rates);
    const double value = blocks.step(state, velocity, k, {rates[0], rates[1], rates[2]}, {}, {}, Control()).value;
    check_close(value / (1 + std::abs(expected)), expected / (1 + std::abs(expected)), kTolerance<T>, "the loss");
  }
  const std::string name =
      "seed " + std::to_string(seed) + ", loss " + std::to_string(static_cast<int>(plan.loss.kind));
  compare(x.h, plain.h, name + ": features", kTolerance<T>);
  compare(x.w, plain.w, name + ": prototypes", kTolerance<T>);
  if (biased) compare(x.b, plain.b, name + ": biases", kTolerance<T>);
  if (moving) compare(v.h, plain_velocity.h, name + ": velocity", kTolerance<T>);
}

using enum DescentMeasure;
const std::vector<DescentMeasure> kAll = {
    loss,          objective,         accuracy,           min_margin, feature_norm,          prototype_norm,
    gradient_norm, normalized_margin, gradient_alignment, distance,   feature_gradient_norm, prototype_gradient_norm};

// Measures of every step, by the plain gradient of the state before it, from either engine.
void measures(uint64_t seed, Index n, Index classes, Index p) {
  Random random(seed);
  ProjectedDescentPlan plan = random_plan(random, classes, 6);
  for (PartPlan* part : {&plan.features, &plan.prototypes, &plan.biases}) part->moves = true, part->constraint = {};
  plan.measures = kAll;
  if (seed % 3 == 0) plan.batch = n / 2;
  Problem<double> problem(n, classes, p, random);
  Arrays<double> x = problem.start, v(n, classes, p), g(n, classes, p);
  const std::vector<double> target_h(n * p, 0.5), target_w(classes * p, -0.25);
  ProjectedDescent<double> run(plan, constant(x.state(problem.labels, true)), target_h.data(), target_w.data());
  const auto records = run.advance(kRates[0], kRates[1], kRates[2], kSteps, true, Control()).records;
  check(std::ssize(records) == kSteps * (1 + std::ssize(kAll)), "a row a step");
  for (Index k = 0; k < kSteps; k++) {
    const auto found =
        loss_and_gradient_ref(plan.loss, constant(x.state(problem.labels, true)), g.state(problem.labels, true));
    double h = 0, w = 0, gh = 0, gw = 0, gb = 0, along = 0, apart = 0;
    for (Index j = 0; j < n * p; j++) {
      h += x.h[j] * x.h[j], gh += g.h[j] * g.h[j], along += x.h[j] * g.h[j];
      apart += (x.h[j] - 0.5) * (x.h[j] - 0.5);
    }
    for (Index j = 0; j < classes * p; j++) {
      w += x.w[j] * x.w[j], gw += g.w[j] * g.w[j], along += x.w[j] * g.w[j];
      apart += (x.w[j] + 0.25) * (x.w[j] + 0.25);
    }
    for (const double value : g.b) gb += value * value;
    const double expected[] = {found.value - found.regularizer,
                               found.value,
                               found.accuracy,
                               found.min_margin,
                               std::sqrt(h),
                               std::sqrt(w),
                               std::sqrt(gh + gw + gb),
                               found.min_margin / (h + w),
                               -along / std::sqrt((h + w) * (gh + gw)),
                               std::sqrt(apart),
                               std::sqrt(gh),
                               std::sqrt(gw)};
    const double* row = &records[k * (1 + kAll.size())];
    check(row[0] == static_cast<double>(k), "the step of a record");
    for (size_t m = 0; m < kAll.size(); m++) {
      if (std::isnan(row[1 + m]) && std::isnan(expected[m])) continue;  // of a gradient that is zero
      check_close(row[1 + m], expected[m], 1e-10 * (1 + std::abs(expected[m])),
                  "seed " + std::to_string(seed) + ", loss " + std::to_string(static_cast<int>(plan.loss.kind)) +
                      ": measure " + std::to_string(m) + " at step " + std::to_string(k));
    }
    plain_step(plan, x, v, problem.labels, true, batch_of(plan, n, k), {kRates[0][k], kRates[1][k], kRates[2][k]});
  }
}

// A run ends at the last state whose loss over all samples is finite, however it is cut and shown, measured or not.
template <class T>
void diverges(LossKind kind, Index batch, double momentum) {
  const Index n = 12, classes = 3, p = 4, most = 4000;
  ProjectedDescentPlan plan;
  plan.loss.kind = kind;
  plan.loss.gamma = 0.1;
  plan.batch = batch;
  plan.momentum = momentum;
  Random random(3);
  Problem<T> problem(n, classes, p, random);
  problem.start.h[0] = static_cast<T>(sizeof(T) == 4 ? 1e15 : 1e140);  // a sample that is far ahead of the others
  const std::vector<double> rates(most, 40.0);
  const auto end = [&](Index every, bool measured) {
    ProjectedDescentPlan own = plan;
    if (measured) own.measures = {loss};
    ProjectedDescent<T> run(own, constant(problem.start.state(problem.labels, true)), nullptr, nullptr);
    for (Index k = 0; k < most && !run.ended; k += every) {
      run.advance(rates.data(), rates.data(), rates.data(), every, true, Control());
    }
    check(run.ended, "it diverges");
    const State<T> state = run.state();
    std::vector<T> values(state.features.data, state.features.data + n * p);
    const auto summary = loss_and_gradient_ref<T>(plan.loss, constant(state), {});
    check(std::isfinite(summary.value), "the loss where it ends is finite");
    return std::pair(run.step(), values);
  };
  const auto expected = end(most, false);
  const std::string name = "loss " + std::to_string(static_cast<int>(kind)) + ", batch " + std::to_string(batch);
  for (const Index every : {1, 2, 3, 5, 8}) {
    for (const bool measured : {false, true}) {
      const auto found = end(every, measured);
      check(found.first == expected.first, name + ": it ends at step " + std::to_string(found.first) + ", not " +
                                               std::to_string(expected.first) + ", shown every " +
                                               std::to_string(every));
      check(found.second == expected.second, name + ": the same state");
    }
  }
}

}  // namespace

int main() {
  static constexpr Index kSizes[] = {1, 2, 3, 5, 8, 17, 33};
  for (uint64_t seed = 0; seed < 150; seed++) {
    Random random(seed + 1000);
    const Index n = kSizes[random.below(7)], classes = 2 + random.below(20), p = kSizes[random.below(6)];
    steps<float>(seed, n, classes, p);
    steps<double>(seed, n, classes, p);
    measures(seed, 2 + n, classes, 1 + p);
  }
  for (uint64_t seed = 0; seed < 6; seed++) {
    steps<double>(seed, 700, 5, 33);     // several tiles in each lane of the prototypes' gradient
    steps<double>(seed, 530, 300, 230);  // more prototypes than lanes are made for, two blocks of tiles
  }
  for (const LossKind kind : {LossKind::mse, LossKind::unhinged}) {
    for (const Index batch : {0, 5}) {
      for (const double momentum : {0.0, 0.9}) {
        diverges<float>(kind, batch, momentum);
        diverges<double>(kind, batch, momentum);
      }
    }
  }
  return failures();
}
