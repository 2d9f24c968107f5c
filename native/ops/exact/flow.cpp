// Gradient flow in closed form (UL Thms 2, 4; Thm 6 with η2 = 0): F(A) = e^{Aτ}, so in Newton's form
// F(slow) = e^{slow τ},  F[slow, fast] = e^{slow τ} (e^{gap τ} − 1)/gap, both written over e^{fast τ}.
#include "ops/exact/propagator.h"

namespace lp {
namespace {

// (1 − e^{−x t})/x, t at x = 0
double decayed(double x, double t) { return x == 0 ? t : -std::expm1(-x * t) / x; }

class Flow final : public Propagator {
 public:
  Flow(const Dynamics& dynamics, const std::vector<Mode>& modes) : rates_(dynamics.rates) {
    for (const Mode& mode : modes) pairs_.push_back({Pair(mode.sigma, rates_), mode.lifted});
  }

  std::unique_ptr<Propagator> clone() const override { return std::make_unique<Flow>(*this); }
  void advance(double t, const LearningRates&, const Control&) override { time_ = t; }

  void read(Propagation& out) const override {
    const double t = time_;
    out.pairs.resize(pairs_.size());
    for (size_t g = 0; g < pairs_.size(); g++) {
      const auto& [pair, lifted] = pairs_[g];
      if (lifted) {
        const double slow = std::exp(-pair.gap * t);
        out.pairs[g] = {scalar(slow) + pair.lift * decayed(pair.gap, t),
                        pair.fast * t,
                        1,
                        pair.slow * t,
                        1,
                        (pair.slow + pair.fast) * t};
        // Fixed prototypes stay as they are to the last bit (fast = 0).
        if (rates_.prototypes == 0) out.pairs[g].p.ww = 1;
      } else {
        out.pairs[g] = {scalar(1), pair.slow * t, 1, pair.slow * t, 1, 2 * pair.slow * t};
      }
    }
    out.rest = 1;
    out.rest_log = -rates_.feature_decay * rates_.features * t;
    out.keep = std::exp(-rates_.prototype_decay * rates_.prototypes * t);
    out.gain = rates_.prototypes * decayed(rates_.prototype_decay * rates_.prototypes, t);
  }

 private:
  Rates rates_;
  struct Entry {
    Pair pair;
    bool lifted;
  };
  std::vector<Entry> pairs_;
};

}  // namespace

std::unique_ptr<Propagator> make_flow(const Dynamics& dynamics, const std::vector<Mode>& modes) {
  return std::make_unique<Flow>(dynamics, modes);
}

std::unique_ptr<Propagator> make_propagator(const Dynamics& dynamics, const std::vector<Mode>& modes) {
  switch (dynamics.kind) {
    case Dynamics::Kind::flow:
      return make_flow(dynamics, modes);
    case Dynamics::Kind::descent:
      return make_descent(dynamics, modes);
    case Dynamics::Kind::stepped:
      return make_stepped(dynamics, modes);
    default:
      return make_integrated(dynamics, modes);
  }
}

}  // namespace lp
