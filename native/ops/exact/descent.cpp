// Gradient descent, exact at every step, as the usual SGD optimizer steps: g = −A z/η the gradient with its decay,
// v ← μ v + g, x ← x − f_k η v (heavy ball), x ← x − f_k η (g + μ v) (Nesterov). With u = −η v the whole step is a
// function of A (ops/exact/pair.h), so each mode is a scalar recurrence at either eigenvalue α:
//
//   u ← μ u + α x,   x ← x + f_k u   or   x ← x + f_k (α x + μ u),   x_0 = 1, u_0 = 0
//
// The divided difference d of the two obeys the recurrence differentiated by Leibniz' rule: α x becomes fast d +
// x(slow). Products of small numbers are added to what they change, never multiplied in as 1 + α: a rounded factor
// would repeat the same error at every step.
//
// Where the learning rates f_k η1, f_k' η2 of a step are not proportional no one A serves all steps. Then the 2×2
// propagator P of a pair is iterated itself, with its velocity U = −V:
//
//   G = [[−λ1, σ], [σ, −λ2]] P,   U ← μ U + G,   P ← P + diag(η1, η2) U   or   P + diag(η1, η2) (G + μ U)
//
// until the rates are constant for good: from there on one A serves again, started at what has been reached (not with
// momentum, whose velocity remembers the rates before).
//
// A stretch of steps of the same learning rates is passed by powers (ops/exact/recurrence.h). A state does not depend
// on the steps that were asked for before it: the last multiple of a block, counted from the beginning of its stretch,
// is always jumped to, and only what is left is stepped.
#include <algorithm>

#include "ops/exact/momentum.h"
#include "ops/exact/propagator.h"
#include "ops/exact/recurrence.h"

namespace lp {
namespace {

// y = (d, its velocity, x(slow), its velocity), all of it moved by one of the learning rates.
struct NewtonRule {
  double fast, slow;
  bool lifted;  // whether d is wanted
  Momentum momentum;
  bool of_features = false;

  template <class N>
  void step(std::array<N, 4>& y, const StepRates& rates) const {
    const double f = of_features ? rates.features : rates.prototypes;
    if (lifted) {
      momentum.move(y[0], y[1], N(fast) * y[0] + y[2], f);
    } else {
      y[0] = y[1] = N(0);  // lest a power, which is kept in range as a whole, keep this part alone
    }
    momentum.move(y[2], y[3], N(slow) * y[2], f);
  }
};
using Newton = Recurrence<NewtonRule, 1>;
constexpr Newton::Values kOne{{{0, 0, 1, 0}}};  // F = 1 at the start, with no difference

// y = (h, w, their velocities), a column of P above one of U.
struct CoupledRule {
  double sigma, feature_decay, prototype_decay;
  Momentum momentum;

  template <class N>
  void step(std::array<N, 4>& y, const StepRates& rates) const {
    const N pull_h = N(-feature_decay) * y[0] + N(sigma) * y[1], pull_w = N(sigma) * y[0] + N(-prototype_decay) * y[1];
    momentum.move(y[0], y[2], pull_h, rates.features);
    momentum.move(y[1], y[3], pull_w, rates.prototypes);
  }
};
using Coupled = Recurrence<CoupledRule, 2>;

// What the modes of a descent share: the steps, the rest and the biases.
template <class Pairs>
class Steps {
 public:
  // η of the features and of the prototypes, which the steps' rates are multiplied by.
  Steps(std::vector<Pairs> pairs, const Momentum& momentum, const Rates& rates)
      : pairs_(std::move(pairs)),
        rest_({0, -rates.feature_decay * rates.features, false, momentum, true}, kOne),
        keep_({0, -rates.prototype_decay * rates.prototypes, false, momentum}, kOne),
        // b' = −λ b + m from b = 0 is m times the divided difference of F at −λη and 0.
        gain_({-rates.prototype_decay * rates.prototypes, 0, true, momentum}, kOne),
        gain_rate_(rates.prototypes) {}

  void advance(Index end, const LearningRates& rates, const Control& control) {
    const Index modes = std::ssize(pairs_) + 3, chunk = std::clamp<Index>((1 << 19) / modes, 64, kMostSteps);
    double features[kMostSteps], prototypes[kMostSteps];
    while (step_ < end) {
      control.poll();
      if (step_ >= stretch_end_) begin_stretch(rates);
      const Index stop = std::min(end, stretch_end_);
      const Index anchor = constant_ ? stretch_begin_ + (stop - stretch_begin_) / Newton::kBlock * Newton::kBlock : 0;
      if (anchor > step_) {
        fill(rates, step_, 1, features, prototypes);
        Index done = 0;
        over_modes([&](auto& mode) {
          if (done++ % 16 == 0) control.poll();
          mode.jump((anchor - stretch_begin_) / Newton::kBlock, {features[0], prototypes[0]});
        });
        step_ = anchor;
        continue;
      }
      const Index count = std::min(chunk, stop - step_);
      fill(rates, step_, count, features, prototypes);
      for (Index i = 0; i < count; i++) over_modes([&](auto& mode) { mode.step({features[i], prototypes[i]}); });
      step_ += count;
    }
  }

  void read_rest(Propagation& out) const {
    out.rest = rest_[0][2];
    out.rest_log = static_cast<double>(rest_.exponent()) * kLog2;
    const auto plain = [](double x, int64_t exponent) {
      return std::ldexp(x, static_cast<int>(std::clamp<int64_t>(exponent, -4000, 4000)));
    };
    out.keep = plain(keep_[0][2], keep_.exponent());
    out.gain = gain_rate_ * plain(gain_[0][0], gain_.exponent());
  }

  const std::vector<Pairs>& pairs() const { return pairs_; }

 private:
  static constexpr Index kMostSteps = 4096;

  static void fill(const LearningRates& rates, Index first, Index count, double* features, double* prototypes) {
    static const Schedule ones;  // a copy of the listed rates a call would cost as much as all steps together
    const Schedule& listed = rates.features ? *rates.features : ones;
    listed.fill(first, count, features);
    if (rates.prototypes)
      rates.prototypes->fill(first, count, prototypes);
    else
      std::copy_n(features, count, prototypes);
  }

  template <class Use>
  void over_modes(Use use) {
    for (Pairs& pair : pairs_) use(pair);
    use(rest_), use(keep_), use(gain_);
  }

  void begin_stretch(const LearningRates& rates) {
    stretch_begin_ = step_;
    stretch_end_ = Schedule::kForever;
    constant_ = true;
    for (const Schedule* schedule : {rates.features.get(), rates.prototypes.get()}) {
      if (!schedule) continue;
      stretch_end_ = std::min(stretch_end_, schedule->stretch_end(step_));
      constant_ = constant_ && schedule->constant(step_);
    }
    over_modes([](auto& mode) { mode.begin_stretch(); });
  }

  std::vector<Pairs> pairs_;
  Newton rest_, keep_, gain_;
  double gain_rate_;
  Index step_ = 0, stretch_begin_ = 0, stretch_end_ = 0;
  bool constant_ = false;
};

// Never beyond the step from which on nothing moves.
Index last_step(const Dynamics& dynamics, double t) {
  return static_cast<Index>(
      std::min(dynamics.end == Dynamics::End::frozen ? std::min(t, dynamics.end_time) : t, 0x1p53));
}

class Descent final : public Propagator {
 public:
  Descent(const Dynamics& dynamics, const std::vector<Mode>& modes)
      : dynamics_(dynamics), steps_(recurrences(dynamics, modes), dynamics.momentum, dynamics.rates) {
    for (const Mode& mode : modes) pairs_.emplace_back(mode.sigma, dynamics.rates);
  }

  std::unique_ptr<Propagator> clone() const override { return std::make_unique<Descent>(*this); }

  void advance(double t, const LearningRates& rates, const Control& control) override {
    steps_.advance(last_step(dynamics_, t), rates, control);
    time_ = t;
  }

  void read(Propagation& out) const override {
    out.pairs.clear();
    for (size_t g = 0; g < pairs_.size(); g++) {
      const auto& [both, alone] = steps_.pairs()[g];
      const double slow = both[0][2], difference = both[0][0];
      // F(fast); where the start has no part of it, nothing is known of it, and F(slow) serves.
      const double fast = slow + pairs_[g].gap * difference;
      const double log = static_cast<double>(both.exponent()) * kLog2,
                   slow_log = static_cast<double>(alone.exponent()) * kLog2;
      out.pairs.push_back(
          {scalar(slow) + pairs_[g].lift * difference, log, alone[0][2], slow_log, alone[0][2] * fast, slow_log + log});
    }
    steps_.read_rest(out);
  }

 private:
  // A mode with its difference, and F(slow) in a range of its own.
  struct Both {
    Newton both, alone;

    void step(const StepRates& rates) { both.step(rates), alone.step(rates); }
    void begin_stretch() { both.begin_stretch(), alone.begin_stretch(); }
    void jump(Index blocks, const StepRates& rates) { both.jump(blocks, rates), alone.jump(blocks, rates); }
  };

  static std::vector<Both> recurrences(const Dynamics& dynamics, const std::vector<Mode>& modes) {
    std::vector<Both> out;
    for (const Mode& mode : modes) {
      const Pair pair(mode.sigma, dynamics.rates);
      out.push_back({Newton({pair.fast, pair.slow, mode.lifted, dynamics.momentum}, kOne),
                     Newton({pair.fast, pair.slow, false, dynamics.momentum}, kOne)});
    }
    return out;
  }

  Dynamics dynamics_;
  std::vector<Pair> pairs_;
  Steps<Both> steps_;
};

class Stepped final : public Propagator {
 public:
  Stepped(const Dynamics& dynamics, const std::vector<Mode>& modes)
      : dynamics_(dynamics),
        steps_(recurrences(dynamics, modes), dynamics.momentum,
               {1, 1, dynamics.rates.feature_decay, dynamics.rates.prototype_decay}) {
    if (dynamics.end != Dynamics::End::steady) return;
    Dynamics steady = dynamics;
    steady.kind = Dynamics::Kind::descent;
    std::vector<Mode> any = modes;
    for (Mode& mode : any) mode.lifted = true;
    after_ = make_descent(steady, any);
  }
  Stepped(const Stepped& other)
      : Propagator(other),
        dynamics_(other.dynamics_),
        steps_(other.steps_),
        after_(other.after_ ? other.after_->clone() : nullptr) {}

  std::unique_ptr<Propagator> clone() const override { return std::make_unique<Stepped>(*this); }

  void advance(double t, const LearningRates& rates, const Control& control) override {
    const double start = after_ ? std::min(t, dynamics_.end_time) : t;
    steps_.advance(last_step(dynamics_, start), rates, control);
    if (after_ && t >= dynamics_.end_time) after_->advance(t - dynamics_.end_time, LearningRates(), control);
    time_ = t;
  }

  void read(Propagation& out) const override {
    Propagation reached;
    for (const Coupled& pair : steps_.pairs()) {
      const Mat2 p{pair[0][0], pair[1][0], pair[0][1], pair[1][1]};
      reached.pairs.push_back({p, static_cast<double>(pair.exponent()) * kLog2});
    }
    steps_.read_rest(reached);
    if (!after_ || time_ < dynamics_.end_time) {
      out = std::move(reached);
      return;
    }
    after_->read(out);
    for (size_t g = 0; g < out.pairs.size(); g++) {
      out.pairs[g].p = out.pairs[g].p * reached.pairs[g].p;
      out.pairs[g].log += reached.pairs[g].log;
      out.pairs[g].slow_log += reached.pairs[g].log;
      out.pairs[g].det = NAN;
    }
    out.rest *= reached.rest;
    out.rest_log += reached.rest_log;
    out.gain += out.keep * reached.gain;
    out.keep *= reached.keep;
  }

 private:
  static std::vector<Coupled> recurrences(const Dynamics& dynamics, const std::vector<Mode>& modes) {
    std::vector<Coupled> out;
    const Rates& rates = dynamics.rates;
    for (const Mode& mode : modes) {
      const CoupledRule rule{mode.sigma, rates.feature_decay, rates.prototype_decay, dynamics.momentum};
      out.emplace_back(rule, Coupled::Values{{{1, 0, 0, 0}, {0, 1, 0, 0}}});
    }
    return out;
  }

  Dynamics dynamics_;
  Steps<Coupled> steps_;
  std::unique_ptr<Propagator> after_;
};

}  // namespace

std::unique_ptr<Propagator> make_descent(const Dynamics& dynamics, const std::vector<Mode>& modes) {
  return std::make_unique<Descent>(dynamics, modes);
}

std::unique_ptr<Propagator> make_stepped(const Dynamics& dynamics, const std::vector<Mode>& modes) {
  return std::make_unique<Stepped>(dynamics, modes);
}

}  // namespace lp
