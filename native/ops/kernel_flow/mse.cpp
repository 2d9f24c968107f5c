#include <algorithm>

#include "core/blas/blas.h"
#include "core/finite.h"
#include "core/thread_pool.h"
#include "ops/kernel_flow/kernel_flow.h"

namespace lp {
namespace {

constexpr Index kTile = 64;

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

}  // namespace

Integrator::Outcome kernel_mse(Matrix<const double> kernel, const int32_t* labels, Index samples, Index classes,
                               Index dim, bool biased, double* z, double from, double to, double step, double tolerance,
                               Index max_steps, const Control& control) {
  check_finite(Matrix<const double>{z, samples, dim}, "features");
  check_finite(Matrix<const double>{z + samples * dim, classes, dim}, "prototypes");
  if (biased) check_finite(Matrix<const double>{z + (samples + classes) * dim, classes, 1}, "biases");

  const Slope slope(kernel, labels, samples, classes, dim, biased);
  Integrator flow([&](double, const double* at, double* out) { slope(at, out, control); }, slope.size(), z, from,
                  tolerance, control);
  return flow.follow(Integrator::Clock::linear, to, step, max_steps);
}

}  // namespace lp
