// Gradient descent with learning rates η1, η2 of each step that are not proportional. No one A serves all steps then,
// so the 2×2 propagator of a pair is iterated itself, with the velocity u = −v of heavy ball and Nesterov beside it:
//
//   g = [[−λ1, σ], [σ, −λ2]] P,   U ← μ U + g,   P ← P + diag(η1, η2) U   or   P + diag(η1, η2) (g + μ U)
//
// From the law's steady end on (there is none with momentum, whose velocity remembers the rates before) one A serves
// again, and descent.cpp goes on from what has been reached.
#include <algorithm>

#include "ops/exact/propagator.h"
#include "ops/exact/scale.h"

namespace lp {
namespace {

Mat2 rows(double features, double prototypes, const Mat2& m) {
  return {features * m.hh, features * m.hw, prototypes * m.wh, prototypes * m.ww};
}

class Stepped final : public Clock {
 public:
  Stepped(const Law& law, const std::vector<Mode>& modes) : law_(law) {
    for (const Mode& mode : modes) {
      pairs_.push_back(
          {{-law.rates.feature_decay, mode.sigma, mode.sigma, -law.rates.prototype_decay}, scalar(1), {}, 0});
    }
    if (law.end != Law::End::steady) return;
    Law steady = law;
    steady.kind = Law::Kind::descent;
    std::vector<Mode> any = modes;
    for (Mode& mode : any) mode.lifted = true;
    after_ = make_descent(steady, any);
  }

  Stepped(const Stepped& other)
      : Clock(other),
        law_(other.law_),
        pairs_(other.pairs_),
        rest_(other.rest_),
        keep_(other.keep_),
        keep_velocity_(other.keep_velocity_),
        after_(other.after_ ? other.after_->clone() : nullptr) {}

  std::unique_ptr<Clock> clone() const override { return std::make_unique<Stepped>(*this); }

  void advance(double t, const Drive& drive, const Control& control) override {
    constexpr Index kBetweenPolls = 1 << 12;
    const Index end = static_cast<Index>(after_ ? std::min(t, law_.end_time) : t);
    for (Index k = static_cast<Index>(time_); k < end;) {
      control.poll();
      const Index stop = std::min(end, k + kBetweenPolls);
      for (; k < stop; k++) step(drive.factors.at(k), drive.factors2.at(k));
      time_ = static_cast<double>(k);
    }
    if (after_ && t >= law_.end_time) after_->advance(t - law_.end_time, Drive(), control);
    time_ = t;
  }

  void read(Propagation& out) const override {
    if (after_ && time_ >= law_.end_time) {
      after_->read(out);
      for (size_t g = 0; g < pairs_.size(); g++) {
        out.pairs[g].p = out.pairs[g].p * pairs_[g].p;
        out.pairs[g].log += pairs_[g].exponent * kLog2;
      }
      out.rest *= rest_.p.hh;
      out.rest_log += rest_.exponent * kLog2;
      out.gain += out.keep * keep_.wh;
      out.keep *= keep_.ww;
      return;
    }
    out.pairs.resize(pairs_.size());
    for (size_t g = 0; g < pairs_.size(); g++) out.pairs[g] = {pairs_[g].p, 0, pairs_[g].exponent * kLog2, false};
    out.rest = rest_.p.hh;
    out.rest_log = rest_.exponent * kLog2;
    out.keep = keep_.ww;
    out.gain = keep_.wh;
  }

 private:
  struct Entry {
    Mat2 pull, p, u;
    double exponent;
  };

  // `force` is what pulls, before the learning rates.
  void move(Mat2& p, Mat2& u, const Mat2& force, double rate1, double rate2) const {
    u = u * law_.momentum + force;
    p = p + rows(rate1, rate2, law_.nesterov ? force + u * law_.momentum : u);
  }

  void step(double rate1, double rate2) {
    const auto scaled_step = [&](Entry& entry) {
      move(entry.p, entry.u, entry.pull * entry.p, rate1, rate2);
      const int e = excess(std::max(entry.p.norm(), entry.u.norm()));
      if (e == 0) return;
      entry.p = entry.p * std::ldexp(1.0, -e);
      entry.u = entry.u * std::ldexp(1.0, -e);
      entry.exponent += e;
    };
    for (Entry& entry : pairs_) scaled_step(entry);
    scaled_step(rest_);
    // Biases: what is kept of b(0) in ww, what m has added in wh.
    const double decay = law_.rates.prototype_decay;
    move(keep_, keep_velocity_, {0, 0, 1 - decay * keep_.wh, -decay * keep_.ww}, rate1, rate2);
  }

  Law law_;
  std::vector<Entry> pairs_;
  Entry rest_{{-law_.rates.feature_decay, 0, 0, 0}, {1, 0, 0, 0}, {}, 0};
  Mat2 keep_{0, 0, 0, 1}, keep_velocity_;
  std::unique_ptr<Clock> after_;
};

}  // namespace

std::unique_ptr<Clock> make_stepped(const Law& law, const std::vector<Mode>& modes) {
  return std::make_unique<Stepped>(law, modes);
}

}  // namespace lp
