#include "core/integrator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/thread_pool.h"

namespace lp {
namespace {

constexpr Index kCount = 12;
// a[s][j]: weight of stage j in the point of stage s.
constexpr double kA[kCount][kCount] = {
    {0},
    {0.05260015195876773},
    {0.0197250569845379, 0.0591751709536137},
    {0.02958758547680685, 0, 0.08876275643042054},
    {0.2413651341592667, 0, -0.8845494793282861, 0.924834003261792},
    {0.037037037037037035, 0, 0, 0.17082860872947386, 0.12546768756682242},
    {0.037109375, 0, 0, 0.17025221101954405, 0.06021653898045596, -0.017578125},
    {0.03709200011850479, 0, 0, 0.17038392571223998, 0.10726203044637328, -0.015319437748624402, 0.008273789163814023},
    {0.6241109587160757, 0, 0, -3.3608926294469414, -0.868219346841726, 27.59209969944671, 20.154067550477894,
     -43.48988418106996},
    {0.47766253643826434, 0, 0, -2.4881146199716677, -0.590290826836843, 21.230051448181193, 15.279233632882423,
     -33.28821096898486, -0.020331201708508627},
    {-0.9371424300859873, 0, 0, 5.186372428844064, 1.0914373489967295, -8.149787010746927, -18.52006565999696,
     22.739487099350505, 2.4936055526796523, -3.0467644718982196},
    {2.273310147516538, 0, 0, -10.53449546673725, -2.0008720582248625, -17.9589318631188, 27.94888452941996,
     -2.8589982771350235, -8.87285693353063, 12.360567175794303, 0.6433927460157636}};
// Weights of the eighth-order step, and of the differences to the fifth and third orders.
constexpr double kB[kCount] = {0.054293734116568765,
                               0,
                               0,
                               0,
                               0,
                               4.450312892752409,
                               1.8915178993145003,
                               -5.801203960010585,
                               0.3111643669578199,
                               -0.1521609496625161,
                               0.20136540080403034,
                               0.04471061572777259};
constexpr double kE5[kCount] = {0.01312004499419488,
                                0,
                                0,
                                0,
                                0,
                                -1.2251564463762044,
                                -0.4957589496572502,
                                1.6643771824549864,
                                -0.35032884874997366,
                                0.3341791187130175,
                                0.08192320648511571,
                                -0.022355307863886294};
constexpr double kE3[kCount] = {-0.18980075407240762,
                                0,
                                0,
                                0,
                                0,
                                4.450312892752409,
                                1.8915178993145003,
                                -5.801203960010585,
                                -0.4226823213237919,
                                -0.1521609496625161,
                                0.20136540080403034,
                                0.02265179219836082};

// How far along the step the point of a stage lies.
double node(Index stage) {
  double sum = 0;
  for (Index j = 0; j < stage; j++) sum += kA[stage][j];
  return sum;
}

constexpr Index kPiece = 4096;  // numbers of a vector that are combined at a time

constexpr Index kMostRejections = 100;

// How fast the slope falls between a 10⁻⁵th and a 10⁻¹⁰th of what it was.
class Decay {
 public:
  explicit Decay(double initial) : initial_(initial) {}
  void see(double time, double slope) {
    if (slope > 1e-5 * initial_) return;
    if (first_slope_ == 0) first_ = time, first_slope_ = slope;
    if (slope >= 1e-10 * initial_) last_ = time, last_slope_ = slope;
  }
  double rate() const {
    if (!(last_ > first_)) return std::numeric_limits<double>::quiet_NaN();
    return std::log1p((first_slope_ - last_slope_) / last_slope_) / (last_ - first_);
  }

 private:
  double initial_, first_ = 0, first_slope_ = 0, last_ = 0, last_slope_ = 0;
};

// Σ_j term(j), piece by piece in a fixed order.
template <class Term>
double sum(Index size, const Control& control, Term term) {
  std::vector<double> partial(divide_up(size, kPiece));
  parallel_for(size, kPiece, control, [&](Index begin, Index end) {
    double total = 0;
    for (Index j = begin; j < end; j++) total += term(j);
    partial[begin / kPiece] = total;
  });
  double total = 0;
  for (double value : partial) total += value;
  return total;
}

double norm(const double* x, Index size, const Control& control) {
  return std::sqrt(sum(size, control, [=](Index j) { return x[j] * x[j]; }));
}

}  // namespace

Integrator::Integrator(Slope slope, Index size, double* z, double time, double tolerance, const Control& control)
    : slope_(std::move(slope)),
      size_(size),
      z_(z),
      time_(time),
      tolerance_(tolerance),
      control_(control),
      point_(size_),
      next_(size_) {
  for (auto& stage : stages_) stage = Buffer<double>(size_);
  slope_(time_, z_, stages_[0].get());
  // The same weight for every number that is small beside the others of the state.
  floor_ = tolerance_ * norm(z_, size_, control_) / std::sqrt(static_cast<double>(size_));
}

double Integrator::slope_norm() const { return norm(stages_[0].get(), size_, control_); }
double Integrator::state_norm() const { return norm(z_, size_, control_); }

double Integrator::attempt(double step) {
  for (Index s = 1; s < kStages; s++) {
    combine(point_.get(), step, kA[s], s);
    slope_(time_ + node(s) * step, point_.get(), stages_[s].get());
  }
  combine(next_.get(), step, kB, kStages);
  const double error = error_of(step);
  if (!(error <= 1)) return error;
  std::copy(next_.begin(), next_.end(), z_);
  time_ += step;
  slope_(time_, z_, stages_[0].get());
  return error;
}

Integrator::Outcome Integrator::follow(Clock clock, double to, double step, Index max_steps) {
  const double from = time_;
  const bool logarithmic = clock == Clock::logarithmic;
  const auto pace = [&] { return logarithmic ? std::exp(time_) : 1.0; };         // dt/ds
  const auto elapsed = [&] { return logarithmic ? std::expm1(time_) : time_; };  // t
  double slope = slope_norm();
  if (!std::isfinite(slope)) throw Error("LP_OVERFLOW", "The flow leaves the range of doubles from the start.");
  if (step <= 0) step = slope > 0 ? 0.01 * std::max(state_norm(), 1e-3) / slope : to - from;

  Decay decay(slope / pace());
  double error_sum = 0, longest = std::numeric_limits<double>::infinity();  // longest: of a step in t
  Index rejections = 0;
  for (Index k = 0; k < max_steps && time_ < to; k++) {
    control_.poll();
    // A step of the length that the accuracy allows changes nothing any more: neither would all that follow.
    if (step * slope <= 16 * std::numeric_limits<double>::epsilon() * state_norm()) {
      return {std::isfinite(to) ? to : time_, step, error_sum, true, decay.rate()};
    }
    const double left = to - time_;
    const bool last = step >= left * (1 - 1e-12);
    const double length = last ? left : step;
    // Close to rest the error speaks up only when the stiffest mode swings at the size of the tolerance. At half that
    // length the swings die down, and what is left is rounding.
    const bool close = length * slope < 1e-6 * state_norm();
    const double error = attempt(length);
    const bool swings = close && error > 0.1;
    if (swings && (error > 1 || std::isinf(longest))) longest = std::min(longest, 0.5 * length * pace());
    if (!(error <= 1)) {
      if (++rejections > kMostRejections) throw Error("LP_OVERFLOW", "The flow leaves the range of doubles.");
      step = length * std::min(growth(error), 0.9);
      continue;
    }
    rejections = 0;
    error_sum += error * tolerance_;
    if (last) time_ = to;
    step = std::min(std::max(last ? step : 0.0, length * growth(error)), longest / pace());
    slope = slope_norm();
    if (!swings) decay.see(elapsed(), slope / pace());
    if (std::isfinite(to)) control_.progress((time_ - from) / (to - from));
  }
  return {time_, step, error_sum, false, decay.rate()};
}

double Integrator::growth(double error) {
  const double root = std::sqrt(std::sqrt(std::sqrt(error)));
  return error > 0 ? std::clamp(0.9 / root, 0.2, 6.0) : error == 0 ? 6.0 : 0.2;
}

// out = z + step Σ_{s < count} weights_s k_s
void Integrator::combine(double* out, double step, const double* weights, Index count) const {
  parallel_for(size_, kPiece, control_, [&](Index begin, Index end) {
    std::copy(z_ + begin, z_ + end, out + begin);
    for (Index s = 0; s < count; s++) {
      if (weights[s] == 0) continue;
      const double weight = step * weights[s];
      const double* k = stages_[s].get();
      for (Index j = begin; j < end; j++) out[j] += weight * k[j];
    }
  });
}

double Integrator::error_of(double step) const {
  const auto square = [&](const double* weights) {
    return sum(size_, control_, [&](Index j) {
      double error = 0;
      for (Index s = 0; s < kStages; s++) error += weights[s] * stages_[s][j];
      const double scale = floor_ + tolerance_ * std::max(std::abs(z_[j]), std::abs(next_[j]));
      return scale > 0 ? (error / scale) * (error / scale) : error == 0 ? 0 : std::numeric_limits<double>::infinity();
    });
  };
  const double fifth = square(kE5), third = square(kE3);
  if (fifth == 0) return third == 0 ? 0 : std::numeric_limits<double>::infinity();
  return step * fifth / std::sqrt((fifth + 0.01 * third) * static_cast<double>(size_));
}

}  // namespace lp
