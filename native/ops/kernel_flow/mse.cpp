#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/blas/blas.h"
#include "core/error.h"
#include "core/finite.h"
#include "core/integrator.h"
#include "core/thread_pool.h"
#include "ops/kernel_flow/kernel_flow.h"

namespace lp {
namespace {

constexpr Index kTile = 64;
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
  Integrator state([&](double, const double* at, double* out) { slope(at, out, control); }, slope.size(), z, from,
                   tolerance, control);
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
    const double factor = Integrator::growth(error);
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
