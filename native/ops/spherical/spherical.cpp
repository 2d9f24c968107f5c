#include "ops/spherical/spherical.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/blas/blas.h"
#include "core/error.h"
#include "core/finite.h"
#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/loss/row.h"

namespace lp {
namespace {

// A block of samples stays in the first-level cache while it goes through its steps.
constexpr Index kBlock = 512;
// Steps of a block between two looks at the control: below a millisecond.
constexpr Index kStride = 256;
// Partial sums of measures: a number of its own, so that results do not depend on the number of threads.
constexpr Index kGroups = 8;

struct Plane {
  double cosine, sine;
};

// The angle of ĥ to û: the sine is the length of ĥ − c û, as 1 − c² has no digits near the ends.
template <class T>
Plane plane_of(const T* h, double norm, const double* target, Index p) {
  const double c = dot(h, target, p) / norm;
  double square = 0;
#pragma omp simd reduction(+ : square)
  for (Index j = 0; j < p; j++) {
    const double across = h[j] / norm - c * target[j];
    square += across * across;
  }
  const double s = std::sqrt(square);
  if (s < 16 * std::numeric_limits<double>::epsilon()) return {c < 0 ? -1.0 : 1.0, 0};
  const double length = std::sqrt(c * c + s * s);
  return {c / length, s / length};
}

void check_range(const Sphere& sphere) {
  for (Index i = 0; i < sphere.samples; i++) {
    if (std::isfinite(sphere.norm[i]) && std::isfinite(sphere.cosine[i])) continue;
    throw Error("LP_OVERFLOW", "Feature " + std::to_string(i) +
                                   " leaves the range of doubles: its norm is too small for the learning rate. Use a "
                                   "smaller learning rate or larger features.");
  }
}

void advance_block(const Sphere& sphere, Index begin, Index end, const double* pull, const double* rates, Index steps,
                   bool rescaled, const Control& control) {
  const auto kernel = LP_SELECT(spherical_steps);
  for (Index k = 0; k < steps; k += kStride) {
    control.poll();
    kernel(end - begin, sphere.cosine + begin, sphere.sine + begin, sphere.norm + begin, pull + begin, rates + k,
           std::min(kStride, steps - k), rescaled);
  }
}

Decisions decisions(const Sphere& sphere, Index begin, Index end, const SphereLogits& logits) {
  const Index classes = logits.aside.cols;
  const Buffer<double> z(classes);
  Decisions all;
  for (Index i = begin; i < end; i++) {
    const Index label = logits.labels[i];
    const double *ahead = logits.ahead.row(label), *aside = logits.aside.row(i);
    for (Index j = 0; j < classes; j++) {
      z[j] = sphere.cosine[i] * ahead[j] + sphere.sine[i] * aside[j] + (logits.biases ? logits.biases[j] : 0);
    }
    all.add(decide(z.get(), classes, label));
  }
  return all;
}

void add_measures(const Sphere& sphere, Index begin, Index end, const double* pull, double scale,
                  const SphereLogits& logits, double* row) {
  double pulled = 0, distance = 0, norm = 0;
#pragma omp simd reduction(+ : pulled, distance, norm)
  for (Index i = begin; i < end; i++) {
    const double c = sphere.cosine[i], s = sphere.sine[i], r = sphere.norm[i] * scale;
    pulled += pull[i] * c;
    distance += s == 0 || pull[i] == 0 ? 0 : 2 * (c > 0 ? s * s / (1 + c) : 1 - c);
    norm += r * r;
  }
  row[kPulled] += pulled;
  row[kSquaredDistance] += distance;
  row[kSquaredNorm] += norm;
  if (logits.aside.size() == 0) return;
  const Decisions decided = decisions(sphere, begin, end, logits);
  row[kCorrect] += decided.correct;
  row[kMarginSum] += decided.margins;
  row[kMarginMin] = std::min(row[kMarginMin], decided.min_margin);
}

}  // namespace

template <class T>
void spherical_start(const State<const T>& state, double gamma, Sphere start, double* pull, Matrix<double> targets,
                     const Control& control) {
  const Index n = state.samples(), p = state.dim(), classes = state.classes();
  check_finite(state.prototypes, "prototypes");

  // (C, p) the targets u_c = w_c − γ/(1+γ) Σ w, then û_c; (C) their lengths.
  Buffer<double> sum(p), lengths(classes);
  std::fill(sum.begin(), sum.end(), 0.0);
  for (Index c = 0; c < classes; c++) {
    for (Index j = 0; j < p; j++) sum[j] += state.prototypes(c, j);
  }
  for (Index c = 0; c < classes; c++) {
    double* target = targets.row(c);
    for (Index j = 0; j < p; j++) target[j] = state.prototypes(c, j) - gamma / (1 + gamma) * sum[j];
    lengths[c] = norm(target, p);
    if (!std::isfinite(lengths[c])) throw Error("LP_OVERFLOW", "The sum of the prototypes overflows.");
    for (Index j = 0; j < p && lengths[c] > 0; j++) target[j] /= lengths[c];
  }

  parallel_for(n, even_grain(n, 16), control, [&](Index begin, Index end) {
    for (Index i = begin; i < end; i++) {
      if (i % 64 == 0) control.poll();
      const T* h = state.features.row(i);
      const double norm = lp::norm(h, p);
      if (!std::isfinite(norm)) check_finite(Matrix<const T>{h, 1, p}, "features", i);
      if (norm == 0) {
        throw Error("LP_OPTION",
                    "Feature " + std::to_string(i) +
                        " is zero and has no direction; expected non-zero features, as they are normalized.");
      }
      // (n) each: cos and sin of the angle between ĥ and û, ‖h‖ and ‖g‖. Where u is zero nothing pulls, and the angle
      // is of no account.
      const Index label = state.labels[i];
      const Plane plane = lengths[label] > 0 ? plane_of(h, norm, targets.row(label), p) : Plane{0, 1};
      start.cosine[i] = plane.cosine;
      start.sine[i] = plane.sine;
      start.norm[i] = norm;
      pull[i] = (1 + gamma) / static_cast<double>(n) * lengths[label];
    }
  });
}

void spherical_advance(Sphere sphere, const double* pull, const std::vector<double>& rates, bool rescaled,
                       const Control& control) {
  const Index steps = static_cast<Index>(rates.size()), stretch = std::max<Index>(64 * kStride, steps / 50);
  for (Index done = 0; done < steps; done += stretch) {
    const Index now = std::min(stretch, steps - done);
    parallel_for(sphere.samples, kBlock, control, [&](Index begin, Index end) {
      advance_block(sphere, begin, end, pull, rates.data() + done, now, rescaled, control);
    });
    control.progress(static_cast<double>(done + now) / static_cast<double>(steps));
  }
  check_range(sphere);
}

template <class T>
void spherical_features(const State<const T>& state, Matrix<const double> targets, Sphere start, Sphere now,
                        double scale, Matrix<T> out, const Control& control) {
  const Index p = state.dim();
  parallel_for(state.samples(), even_grain(state.samples(), 16), control, [&](Index begin, Index end) {
    for (Index i = begin; i < end; i++) {
      if (i % 64 == 0) control.poll();
      const T* h = state.features.row(i);
      const double* target = targets.row(state.labels[i]);
      T* row = out.row(i);
      const double size = now.norm[i] * scale;
      // On the line of û the direction stays, and v is not defined.
      const double turn = start.sine[i] == 0 ? 1 : now.sine[i] / start.sine[i];
      const double own = size * (turn / start.norm[i]);
      const double along = start.sine[i] == 0 ? 0 : size * (now.cosine[i] - start.cosine[i] * turn);
#pragma omp simd
      for (Index j = 0; j < p; j++) row[j] = static_cast<T>(own * h[j] + along * target[j]);
      for (Index j = 0; j < p; j++) {
        if (!std::isfinite(row[j])) {
          throw Error("LP_OVERFLOW", "The features at this step overflow their dtype; use directionAt.");
        }
      }
    }
  });
}

template <class T>
void spherical_logits(const State<const T>& state, Matrix<const double> targets, Sphere start, Matrix<double> ahead,
                      Matrix<double> aside, const Control& control) {
  const Index n = state.samples(), p = state.dim(), classes = state.classes();
  // (C, C) û Wᵀ; then, of a block of samples, v = (ĥ − c û)/s (rows, p) and v Wᵀ (rows, C).
  Buffer<double> prototypes(classes * p);
  std::copy(state.prototypes.data, state.prototypes.data + classes * p, prototypes.begin());
  blas::gemm(false, true, classes, classes, p, 1.0, targets.data, p, prototypes.get(), p, 0.0, ahead.data, classes);
  constexpr Index kRows = 64;
  parallel_for(n, kRows, control, [&](Index begin, Index end) {
    Buffer<double> across((end - begin) * p);
    for (Index i = begin; i < end; i++) {
      const T* h = state.features.row(i);
      const double* target = targets.row(state.labels[i]);
      double* v = across.get() + (i - begin) * p;
      const double s = start.sine[i];
      for (Index j = 0; j < p; j++) {
        v[j] = s == 0 ? 0 : (h[j] / start.norm[i] - start.cosine[i] * target[j]) / s;
      }
    }
    blas::gemm(false, true, end - begin, classes, p, 1.0, across.get(), p, prototypes.get(), p, 0.0, aside.row(begin),
               classes);
  });
}

void spherical_measure(Sphere sphere, const double* pull, const std::vector<double>& rates, bool rescaled,
                       const std::vector<double>& wanted, double scale, const SphereLogits& logits, Matrix<double> out,
                       const Control& control) {
  const Index blocks = divide_up(sphere.samples, kBlock);
  const Index groups = std::min(kGroups, blocks);
  Buffer<double> partial(groups * out.size());
  const auto table = [&](Index group) {
    return Matrix<double>{partial.get() + group * out.size(), out.rows, out.cols};
  };

  parallel_for(groups, 1, control, [&](Index group, Index) {
    const Matrix<double> mine = table(group);
    std::fill(mine.data, mine.data + mine.size(), 0.0);
    for (Index r = 0; r < mine.rows && logits.aside.size() > 0; r++) {
      mine(r, kMarginMin) = std::numeric_limits<double>::infinity();
    }
    for (Index block = group; block < blocks; block += groups) {
      const Index begin = block * kBlock, end = std::min(sphere.samples, begin + kBlock);
      Index done = 0;
      for (Index r = 0; r < out.rows; r++) {
        const Index target = static_cast<Index>(wanted[r]);
        advance_block(sphere, begin, end, pull, rates.data() + done, target - done, rescaled, control);
        if (r % 64 == 0) control.poll();
        done = target;
        add_measures(sphere, begin, end, pull, scale, logits, mine.row(r));
      }
    }
  });
  check_range(sphere);
  for (Index r = 0; r < out.rows; r++) {
    for (Index column = 0; column < out.cols; column++) {
      double& value = out(r, column) = table(0)(r, column);
      for (Index group = 1; group < groups; group++) {
        const double more = table(group)(r, column);
        value = column == kMarginMin ? std::min(value, more) : value + more;
      }
    }
  }
}

template void spherical_start(const State<const float>&, double, Sphere, double*, Matrix<double>, const Control&);
template void spherical_start(const State<const double>&, double, Sphere, double*, Matrix<double>, const Control&);
template void spherical_features(const State<const float>&, Matrix<const double>, Sphere, Sphere, double, Matrix<float>,
                                 const Control&);
template void spherical_features(const State<const double>&, Matrix<const double>, Sphere, Sphere, double,
                                 Matrix<double>, const Control&);
template void spherical_logits(const State<const float>&, Matrix<const double>, Sphere, Matrix<double>, Matrix<double>,
                               const Control&);
template void spherical_logits(const State<const double>&, Matrix<const double>, Sphere, Matrix<double>, Matrix<double>,
                               const Control&);

}  // namespace lp
