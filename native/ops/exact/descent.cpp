// Gradient descent, exact at every step, as the usual SGD optimizer steps: g = −A z/η the gradient with its decay,
// v ← μ v + g, x ← x − f_k η v (heavy ball), x ← x − f_k η (g + μ v) (Nesterov). With u = −η v the whole step is a
// function of A, so each mode is a scalar recurrence at either eigenvalue α:
//
//   u ← μ u + α x,   x ← x + f_k u   or   x ← x + f_k (α x + μ u),   x_0 = 1, u_0 = 0
//
// The divided difference d of the two obeys the recurrence differentiated by Leibniz' rule: α x becomes fast d +
// x(slow). Products of small numbers are added to what they change, never multiplied in as 1 + α: a rounded factor
// would repeat the same error at every step.
#include <algorithm>

#include "ops/exact/propagator.h"
#include "ops/exact/scale.h"

namespace lp {
namespace {

struct Scalar {
  double x = 0, u = 0;

  // `force` is α x, plus what drives it from outside
  void step(double force, double f, double momentum, bool nesterov) {
    u = momentum * u + force;
    x += f * (nesterov ? force + momentum * u : u);
  }
  double size() const { return std::max(std::abs(x), std::abs(u)); }
  void scale(int exponent) {
    x = std::ldexp(x, exponent);
    u = std::ldexp(u, exponent);
  }
};

class Descent final : public Clock {
 public:
  Descent(const Law& law, const std::vector<Mode>& modes)
      : momentum_(law.momentum),
        nesterov_(law.nesterov),
        rest_rate_(-law.rates.feature_decay * law.rates.features),
        bias_rate_(-law.rates.prototype_decay * law.rates.prototypes),
        prototype_rate_(law.rates.prototypes) {
    for (const Mode& mode : modes) pairs_.push_back({Pair(mode.sigma, law.rates), mode.lifted, {1, 0}, {}, 0});
  }

  std::unique_ptr<Clock> clone() const override { return std::make_unique<Descent>(*this); }

  void advance(double t, const Drive& drive, const Control& control) override {
    constexpr Index kBetweenPolls = 1 << 12;
    const Index end = static_cast<Index>(t);
    for (Index k = static_cast<Index>(time_); k < end;) {
      control.poll();
      const Index stop = std::min(end, k + kBetweenPolls);
      for (; k < stop; k++) step(drive.factors.empty() ? 1 : drive.factors.at(k));
      time_ = static_cast<double>(k);
    }
  }

  void read(Propagation& out) const override {
    out.pairs.resize(pairs_.size());
    for (size_t g = 0; g < pairs_.size(); g++) {
      const Entry& entry = pairs_[g];
      out.pairs[g] = {scalar(entry.slow.x) + entry.pair.lift * entry.difference.x, entry.slow.x,
                      entry.exponent * kLog2};
    }
    out.rest = rest_.x;
    out.rest_log = rest_exponent_ * kLog2;
    out.keep = keep_.x;
    out.gain = gain_.x;
  }

 private:
  struct Entry {
    Pair pair;
    bool lifted;
    Scalar slow, difference;  // times 2^exponent
    double exponent;
  };

  void step(double f) {
    for (Entry& entry : pairs_) {
      const auto advance = [&](Scalar& s, double force) { s.step(force, f, momentum_, nesterov_); };
      if (entry.lifted) advance(entry.difference, entry.pair.fast * entry.difference.x + entry.slow.x);
      advance(entry.slow, entry.pair.slow * entry.slow.x);
      if (const int e = excess(std::max(entry.slow.size(), entry.difference.size()))) {
        entry.slow.scale(-e);
        entry.difference.scale(-e);
        entry.exponent += e;
      }
    }
    rest_.step(rest_rate_ * rest_.x, f, momentum_, nesterov_);
    if (const int e = excess(rest_.size())) {
      rest_.scale(-e);
      rest_exponent_ += e;
    }
    keep_.step(bias_rate_ * keep_.x, f, momentum_, nesterov_);
    gain_.step(bias_rate_ * gain_.x + prototype_rate_, f, momentum_, nesterov_);
  }

  double momentum_;
  bool nesterov_;
  double rest_rate_, bias_rate_, prototype_rate_;
  std::vector<Entry> pairs_;
  Scalar rest_{1, 0}, keep_{1, 0}, gain_;
  double rest_exponent_ = 0;
};

}  // namespace

std::unique_ptr<Clock> make_descent(const Law& law, const std::vector<Mode>& modes) {
  return std::make_unique<Descent>(law, modes);
}

}  // namespace lp
