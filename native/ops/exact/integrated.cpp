// Gradient flow whose two rates are not proportional: the pairs of each distinct σ are integrated as the linear system
//
//   h' = η1(t) (σ w − λ1 h),   w' = η2(t) (σ h − λ2 w),
//
// at a cost that knows neither n nor p. Rates come as Chebyshev series on pieces (core/rate.h). A step stays in one
// piece, is no longer than what the fastest mode needs to change e-fold, and sums the Taylor series of the solution,
// whose terms follow from those of the rates, to the last bit. From where the rates are constant on, so is A, and
// Newton's form of pair.h serves again, started at what has been reached.
#include <algorithm>
#include <array>

#include "ops/exact/propagator.h"

namespace lp {
namespace {

constexpr Index kTerms = Rate::kTerms;
constexpr Index kOrder = 40;  // ample for steps of ‖A‖h ≤ 1: the terms fall faster than 1/k!

using Series = std::array<double, kTerms>;  // Σ_j c_j s^j, s = 0 … 1 over the step

// The rate on [from, from + h], times h.
Series powers(const Rate& rate, double from, double h) {
  Series out;
  rate.powers(from, h, out.data());
  for (double& term : out) term *= h;
  return out;
}

// One column (h, w) of a pair's propagator over a step.
void taylor(double& h0, double& w0, double sigma, const Rates& decay, const Series& rate1, const Series& rate2) {
  std::array<double, kOrder> pull_h, pull_w;
  double h = h0, w = w0;
  for (Index k = 0; k + 1 < kOrder; k++) {
    pull_h[k] = sigma * w - decay.feature_decay * h;
    pull_w[k] = sigma * h - decay.prototype_decay * w;
    double next_h = 0, next_w = 0;
    for (Index j = 0; j <= std::min(k, kTerms - 1); j++) {
      next_h += rate1[j] * pull_h[k - j];
      next_w += rate2[j] * pull_w[k - j];
    }
    h = next_h / static_cast<double>(k + 1);
    w = next_w / static_cast<double>(k + 1);
    h0 += h;
    w0 += w;
    const double term = std::max(std::abs(h), std::abs(w)), sum = std::max(std::abs(h0), std::abs(w0));
    // Rates may vanish to some order at the start of a step: small terms count only once all their coefficients are in.
    if (k >= kTerms && term <= 1e-18 * sum) break;
  }
}

class Integrated final : public Propagator {
 public:
  Integrated(const Dynamics& dynamics, const std::vector<Mode>& modes) : dynamics_(dynamics) {
    for (const Mode& mode : modes) {
      entries_.push_back({mode.sigma, Pair(mode.sigma, dynamics.rates), scalar(1), 0});
      fastest_ = std::max(fastest_, std::abs(mode.sigma));
    }
    fastest_ += std::max(dynamics.rates.feature_decay, dynamics.rates.prototype_decay);
  }

  std::unique_ptr<Propagator> clone() const override { return std::make_unique<Integrated>(*this); }

  void advance(double t, const LearningRates& rates, const Control& control) override {
    const double until = dynamics_.end == Dynamics::End::unknown ? t : std::min(t, dynamics_.end_time);
    const bool known = rates.feature_rate && rates.prototype_rate;
    if (now_ < until && !known) throw Error("LP_OPTION", "The rates of this flow are not known yet.");
    while (now_ < until) {
      control.poll();
      double stop = until;
      for (const Rate* rate : {rates.feature_rate.get(), rates.prototype_rate.get()})
        stop = std::min(stop, next_piece(*rate, now_));
      step(rates, stop - now_ > limit(rates, stop) ? now_ + limit(rates, stop) : stop);
    }
    if (known) {
      zeta1_ = rates.feature_rate->integral(now_);
      zeta2_ = rates.prototype_rate->integral(now_);
    }
    time_ = t;
  }

  void read(Propagation& out) const override {
    const double steady = time_ - now_;  // since the end of what varies
    const double zeta1 = zeta1_ + dynamics_.rates.features * steady,
                 zeta2 = zeta2_ + dynamics_.rates.prototypes * steady;
    const auto decayed = [](double x, double t) { return x == 0 ? t : -std::expm1(-x * t) / x; };
    const bool ended = dynamics_.end != Dynamics::End::unknown && time_ >= dynamics_.end_time;
    out.pairs.resize(entries_.size());
    for (size_t g = 0; g < entries_.size(); g++) {
      const Entry& entry = entries_[g];
      // (log det P)' = tr A (J. Liouville)
      const double det_log = -dynamics_.rates.feature_decay * zeta1 - dynamics_.rates.prototype_decay * zeta2;
      if (!ended) {
        out.pairs[g] = {entry.reached, entry.log, 0, 0, 1, det_log};
        continue;
      }
      const double slow = std::exp(-entry.pair.gap * steady);
      const Mat2 p = scalar(slow) + entry.pair.lift * decayed(entry.pair.gap, steady);
      out.pairs[g] = {
          p * entry.reached, entry.log + entry.pair.fast * steady, 1, entry.log + entry.pair.slow * steady, 1, det_log};
    }
    out.rest = 1;
    out.rest_log = -dynamics_.rates.feature_decay * zeta1;
    out.keep = std::exp(-dynamics_.rates.prototype_decay * zeta2);
    out.gain = decayed(dynamics_.rates.prototype_decay, zeta2);
  }

 private:
  struct Entry {
    double sigma;
    Pair pair;  // from then on
    Mat2 reached;
    double log;
  };

  static double next_piece(const Rate& rate, double t) {
    Index low = 0, high = rate.pieces();  // the first piece that starts after t
    while (low < high) {
      const Index middle = (low + high) / 2;
      if (rate.start(middle) > t)
        high = middle;
      else
        low = middle + 1;
    }
    return low == rate.pieces() ? INFINITY : rate.start(low);
  }

  // A step within [now, stop] on which ‖A‖h ≤ 1, by the largest rate at its ends and middle.
  double limit(const LearningRates& rates, double stop) const {
    double largest = 0;
    for (const Rate* rate : {rates.feature_rate.get(), rates.prototype_rate.get()})
      for (const double share : {0.0, 0.25, 0.5, 0.75, 1.0})
        largest = std::max(largest, rate->value(std::min(now_ + share * (stop - now_), std::nextafter(stop, 0.0))));
    return largest * fastest_ > 0 ? 1 / (largest * fastest_) : INFINITY;
  }

  void step(const LearningRates& rates, double end) {
    const double h = end - now_;
    const Series rate1 = powers(*rates.feature_rate, now_, h), rate2 = powers(*rates.prototype_rate, now_, h);
    for (Entry& entry : entries_) {
      Mat2& p = entry.reached;
      taylor(p.hh, p.wh, entry.sigma, dynamics_.rates, rate1, rate2);
      taylor(p.hw, p.ww, entry.sigma, dynamics_.rates, rate1, rate2);
      const double size = p.norm();
      if (size > 1e100 || (size < 1e-100 && size > 0)) {
        p = p * (1 / size);
        entry.log += std::log(size);
      }
    }
    now_ = end;
  }

  Dynamics dynamics_;
  std::vector<Entry> entries_;
  double fastest_ = 0;  // of σ + λ
  double now_ = 0;      // where the integration stands
  double zeta1_ = 0, zeta2_ = 0;
};

}  // namespace

std::unique_ptr<Propagator> make_integrated(const Dynamics& dynamics, const std::vector<Mode>& modes) {
  return std::make_unique<Integrated>(dynamics, modes);
}

}  // namespace lp
