#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "core/blas/blas.h"
#include "core/error.h"
#include "core/finite.h"
#include "core/thread_pool.h"
#include "ops/kernel_flow/kernel_flow.h"

namespace lp {
namespace {

// Dormand and Prince 8(5,3): E. Hairer, S. P. Nørsett, G. Wanner, Solving Ordinary Differential Equations I, and their
// program DOP853.
constexpr Index kStages = 12;
// a[s][j]: weight of stage j in the point of stage s.
constexpr double kA[kStages][kStages] = {
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
constexpr double kB[kStages] = {0.054293734116568765,
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
constexpr double kE5[kStages] = {0.01312004499419488,
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
constexpr double kE3[kStages] = {-0.18980075407240762,
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

constexpr Index kTile = 64;
constexpr Index kPiece = 4096;  // numbers of a vector that are combined at a time
constexpr Index kMostRejections = 100;

// The right-hand side z' = f(z).
class Slope {
 public:
  Slope(Matrix<const double> kernel, const int32_t* labels, Index n, Index classes, Index p, bool biased)
      : kernel_(kernel),
        labels_(labels),
        n_(n),
        classes_(classes),
        p_(p),
        biased_(biased),
        residual_(n * classes),
        pull_(n * p) {}

  Index size() const { return n_ * p_ + classes_ * p_ + (biased_ ? classes_ : 0); }

  void operator()(const double* z, double* dz, const Control& control) const {
    const double *h = z, *w = h + n_ * p_, *b = w + classes_ * p_;
    double *dh = dz, *dw = dh + n_ * p_, *db = dw + classes_ * p_;
    const double factor = -2.0 / static_cast<double>(n_);
    parallel_for(n_, kTile, control, [&](Index begin, Index end) {
      double* e = residual_.get() + begin * classes_;
      blas::gemm(false, true, end - begin, classes_, p_, 1.0, h + begin * p_, p_, w, p_, 0.0, e, classes_);
      for (Index i = begin; i < end; i++, e += classes_) {
        for (Index c = 0; c < classes_ && biased_; c++) e[c] += b[c];
        e[labels_[i]] -= 1;
      }
      blas::gemm(false, false, end - begin, p_, classes_, factor, residual_.get() + begin * classes_, classes_, w, p_,
                 0.0, pull_.get() + begin * p_, p_);
    });
    parallel_for(p_, kTile, control, [&](Index begin, Index end) {
      blas::gemm(true, false, classes_, end - begin, n_, factor, residual_.get(), classes_, h + begin, p_, 0.0,
                 dw + begin, p_);
    });
    if (biased_) {
      std::fill(db, db + classes_, 0.0);
      for (Index i = 0; i < n_; i++) {
        for (Index c = 0; c < classes_; c++) db[c] += factor * residual_[i * classes_ + c];
      }
    }
    const Index rows = kernel_.rows, q = n_ * p_ / rows;
    parallel_for(rows, kTile, control, [&](Index begin, Index end) {
      blas::gemm(false, false, end - begin, q, rows, 1.0, kernel_.row(begin), rows, pull_.get(), q, 0.0, dh + begin * q,
                 q);
    });
  }

 private:
  Matrix<const double> kernel_;
  const int32_t* labels_;
  Index n_, classes_, p_;
  bool biased_;
  Buffer<double> residual_, pull_;
};

// Σ_j term(j), piece by piece in a fixed order.
template <class Term>
double sum(Index size, const Control& control, Term term) {
  std::vector<double> partial((size + kPiece - 1) / kPiece);
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

class Integrator {
 public:
  Integrator(const Slope& slope, double* z, double tolerance, const Control& control)
      : slope_(slope),
        z_(z),
        size_(slope.size()),
        tolerance_(tolerance),
        control_(control),
        point_(size_),
        next_(size_) {
    for (auto& stage : stages_) stage = Buffer<double>(size_);
    slope_(z_, stages_[0].get(), control_);
    // The same weight for every number that is small beside the others of the state.
    floor_ = tolerance_ * norm(z_, size_, control_) / std::sqrt(static_cast<double>(size_));
  }

  // The slope at z, and how it compares with z.
  double slope_norm() const { return norm(stages_[0].get(), size_, control_); }
  double state_norm() const { return norm(z_, size_, control_); }

  // Tries a step; returns its error in units of the tolerance, and moves if that is at most 1.
  double attempt(double step) {
    for (Index s = 1; s < kStages; s++) {
      combine(point_.get(), step, kA[s], s);
      slope_(point_.get(), stages_[s].get(), control_);
    }
    combine(next_.get(), step, kB, kStages);
    const double error = error_of(step);
    if (!(error <= 1)) return error;
    std::copy(next_.begin(), next_.end(), z_);
    slope_(z_, stages_[0].get(), control_);
    return error;
  }

 private:
  // out = z + step Σ_{s < count} weights_s k_s
  void combine(double* out, double step, const double* weights, Index count) {
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

  double error_of(double step) const {
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

  const Slope& slope_;
  double* z_;
  Index size_;
  double tolerance_;
  const Control& control_;
  Buffer<double> point_, next_;
  std::array<Buffer<double>, kStages> stages_;
  double floor_;
};

// The eighth root.
double root8(double x) { return std::sqrt(std::sqrt(std::sqrt(x))); }

// How fast ‖z'‖ falls between a 10⁻⁷th and a 10⁻¹⁰th of what it was.
class Decay {
 public:
  explicit Decay(double initial) : initial_(initial) {}
  void see(double zeta, double slope) {
    if (slope > 1e-7 * initial_) return;
    if (first_slope_ == 0) first_ = zeta, first_slope_ = slope;
    if (slope >= 1e-10 * initial_) last_ = zeta, last_slope_ = slope;
  }
  double rate() const {
    if (!(last_ > first_)) return std::numeric_limits<double>::quiet_NaN();
    return std::log1p((first_slope_ - last_slope_) / last_slope_) / (last_ - first_);
  }

 private:
  double initial_, first_ = 0, first_slope_ = 0, last_ = 0, last_slope_ = 0;
};

}  // namespace

MseOutcome kernel_mse(Matrix<const double> kernel, const int32_t* labels, Index samples, Index classes, Index dim,
                      bool biased, double* z, double from, double to, double step, double tolerance, Index max_steps,
                      const Control& control) {
  check_finite(Matrix<const double>{z, samples, dim}, "features");
  check_finite(Matrix<const double>{z + samples * dim, classes, dim}, "prototypes");
  if (biased) check_finite(Matrix<const double>{z + (samples + classes) * dim, classes, 1}, "biases");

  const Slope slope(kernel, labels, samples, classes, dim, biased);
  Integrator state(slope, z, tolerance, control);
  double zeta = from, slope_norm = state.slope_norm();
  if (!std::isfinite(slope_norm))
    throw Error("LP_OVERFLOW", "The MSE flow leaves the range of doubles from the start.");
  Decay decay(slope_norm);
  if (step <= 0) step = slope_norm > 0 ? 0.01 * std::max(state.state_norm(), 1e-3) / slope_norm : to - from;

  Index rejections = 0;
  double longest = std::numeric_limits<double>::infinity();
  for (Index k = 0; k < max_steps && zeta < to; k++) {
    // A step of the length that the accuracy allows changes nothing any more: neither would all that follow.
    if (step * slope_norm <= 16 * std::numeric_limits<double>::epsilon() * state.state_norm()) {
      return {std::isfinite(to) ? to : zeta, step, true, decay.rate()};
    }
    const bool last = zeta + step >= to;
    const double length = last ? to - zeta : step;
    const double error = state.attempt(length);
    const double factor = error > 0 ? std::clamp(0.9 / root8(error), 0.2, 6.0) : error == 0 ? 6.0 : 0.2;
    if (!(error <= 1)) {
      if (++rejections > kMostRejections) throw Error("LP_OVERFLOW", "The MSE flow leaves the range of doubles.");
      step = length * std::min(factor, 0.9);
      // Close to rest the error only speaks up when the stiffest mode has swung up to the tolerance. Well below that
      // length the swings die down, and what is left is rounding.
      if (length * slope_norm < 1e-6 * state.state_norm()) longest = std::min(longest, 0.5 * length);
      continue;
    }
    rejections = 0;
    zeta = last ? to : zeta + length;
    step = std::min(longest, std::max(last ? step : 0.0, length * factor));
    slope_norm = state.slope_norm();
    decay.see(zeta, slope_norm);
    if (std::isfinite(to)) control.progress((zeta - from) / (to - from));
  }
  return {zeta, step, zeta >= to, decay.rate()};
}

}  // namespace lp
