#include "ops/cross_entropy/curvature.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "core/blas/blas.h"
#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/cross_entropy/margins.h"

namespace lp {
namespace {

// Elements of vectors that one thread works on while they stay in its cache; sums are of these stretches in order.
constexpr Index kStretch = 1 << 13;
// Vectors of the basis, those that stay when it is full, and how often its eigenvalues are looked at.
constexpr Index kMostVectors = 48, kKept = 16, kLook = 5;
// Below this share of the scale the process has found an invariant space.
constexpr double kNothing = 1e-13;

using Vector = Buffer<double>;

// Calls use(begin, end) for all stretches of vectors of a size.
template <class Use>
void each_stretch(Index size, const Control& control, const Use& use) {
  const Index stretches = divide_up(size, kStretch);
  parallel_for(stretches, even_grain(stretches, 1), control, [&](Index first, Index last) {
    for (Index k = first; k < last; k++) use(k * kStretch, std::min(size, (k + 1) * kStretch));
  });
}

double inner(const Vector& x, const Vector& y, const Control& control) {
  const Vector parts(divide_up(x.size(), kStretch));
  each_stretch(x.size(), control, [&](Index begin, Index end) {
    parts[begin / kStretch] = dot(x.get() + begin, y.get() + begin, end - begin);
  });
  double sum = 0;
  for (double part : parts) sum += part;
  return sum;
}

// x · y_k for every k.
std::vector<double> products(const Vector& x, const std::vector<Vector>& basis, const Control& control) {
  const Index size = x.size(), count = std::ssize(basis);
  const Vector parts(divide_up(size, kStretch) * count);
  each_stretch(size, control, [&](Index begin, Index end) {
    double* out = parts.get() + begin / kStretch * count;
    for (Index k = 0; k < count; k++) out[k] = dot(x.get() + begin, basis[k].get() + begin, end - begin);
  });
  std::vector<double> sums(count);
  for (Index i = 0; i < parts.size(); i++) sums[i % count] += parts[i];
  return sums;
}

// x += a y.
void add(const Vector& x, double a, const Vector& y, const Control& control) {
  each_stretch(x.size(), control, [&](Index begin, Index end) {
#pragma omp simd
    for (Index i = begin; i < end; i++) x[i] += a * y[i];
  });
}

// x += Σ_k a_k y_k.
void add(const Vector& x, const std::vector<double>& a, const std::vector<Vector>& basis, const Control& control) {
  each_stretch(x.size(), control, [&](Index begin, Index end) {
    for (size_t k = 0; k < a.size(); k++) {
      const double* y = basis[k].get();
      const double factor = a[k];
#pragma omp simd
      for (Index i = begin; i < end; i++) x[i] += factor * y[i];
    }
  });
}

double norm(const Vector& x, const Control& control) { return std::sqrt(inner(x, x, control)); }

// Takes from x what it has of orthonormal vectors, again where so much went that rounding stays behind. Returns the
// norm that is left.
double orthogonalize(const Vector& x, const Vector& normal, const std::vector<Vector>& basis, const Control& control) {
  for (double before = norm(x, control);;) {
    add(x, -inner(x, normal, control), normal, control);
    std::vector<double> along = products(x, basis, control);
    for (double& value : along) value = -value;
    add(x, along, basis, control);
    const double after = norm(x, control);
    if (!(after < 0.7 * before) || after == 0) return after;
    before = after;
  }
}

// ---- the process ----------------------------------------------------------------------------------------------------

// A vector of the state's size, and its parts.
struct Parts {
  explicit Parts(const State<const double>& state)
      : features(state.features.size()), n(state.samples()), classes(state.classes()), p(state.dim()) {}
  Matrix<double> h(const Vector& x) const { return {x.get(), n, p}; }
  Matrix<double> w(const Vector& x) const { return {x.get() + features, classes, p}; }
  void copy(const Vector& x, const State<double>& out) const {
    std::copy_n(x.get(), features, out.features.data);
    std::copy_n(x.get() + features, classes * p, out.prototypes.data);
  }
  Index size() const { return features + classes * p; }

  Index features, n, classes, p;
};

// Uniform entries, the same on every machine.
Vector random_vector(Index size, uint64_t seed) {
  Vector out(size);
  std::mt19937_64 random(seed);
  for (double& x : out) x = static_cast<double>(random() >> 11) * 0x1p-52 - 1;
  return out;
}

// What the operator makes of the vectors of the basis, within their space: symmetric, the lower triangle.
struct Projected {
  std::vector<double> entries;

  void clear() { entries.assign((kMostVectors + 1) * (kMostVectors + 1), 0.0); }
  double& operator()(Index i, Index k) { return entries[i * (kMostVectors + 1) + k]; }
};

// Of the first vectors: eigenvalues ascending, and their eigenvectors.
struct Pairs {
  Pairs(Projected& projected, Index size) : values(size) {
    std::vector<double> dense(size * size);
    for (Index i = 0; i < size; i++)
      for (Index k = 0; k <= i; k++) dense[i * size + k] = projected(i, k);
    blas::eigh(size, dense.data(), values.data());
    for (Index k = 0; k < size; k++) vectors.emplace_back(&dense[k * size], &dense[k * size] + size);
  }

  std::vector<double> values;
  std::vector<std::vector<double>> vectors;
};

// Σ_k a_k y_k.
Vector combined(const std::vector<double>& a, const std::vector<Vector>& basis, const Control& control) {
  Vector out(basis.front().size());
  std::fill(out.begin(), out.end(), 0.0);
  add(out, a, basis, control);
  return out;
}

// Finds eigenvalue, residual, scale and steps, and the vector. When the basis is full, its lowest eigenvectors take its
// place, and the process goes on from them (Wu and Simon 2000, thick restarts).
void lanczos(Weights& weights, const Parts& parts, const Vector& normal, const CurvatureSearch& search,
             Curvature& found, const State<double>& direction, const Control& control) {
  const Index size = parts.size();
  std::vector<Vector> basis;
  Projected projected;
  projected.clear();
  Index kept = 0;  // of the basis are eigenvectors of what there was before
  Vector next = random_vector(size, search.seed);
  double rest = orthogonalize(next, normal, basis, control);
  for (Index taken = 1;; taken++) {
    each_stretch(size, control, [&](Index begin, Index end) {
      for (Index i = begin; i < end; i++) next[i] /= rest;
    });
    basis.push_back(std::move(next));
    const Index last = std::ssize(basis) - 1, count = last + 1;
    const Vector& v = basis[last];
    next = Vector(size);
    weights.bend(parts.h(v), parts.w(v), parts.h(next), parts.w(next), control);
    add(next, found.multiplier, v, control);
    for (Index k = last == kept ? 0 : last - 1; k < last; k++) add(next, -projected(last, k), basis[k], control);
    projected(last, last) = inner(next, v, control);
    add(next, -projected(last, last), v, control);
    rest = orthogonalize(next, normal, basis, control);
    if (!std::isfinite(rest)) {
      throw Error("LP_OVERFLOW", "The curvature exceeds the range of float64; scale the state down.");
    }
    projected(count, last) = rest;
    found.scale = std::max({found.scale, std::abs(projected(last, last)), rest});
    control.progress(static_cast<double>(taken) / static_cast<double>(search.steps));

    const bool ends = rest <= kNothing * found.scale || taken == search.steps || count == size - 1;
    const bool full = count == kMostVectors;
    if (!ends && !full && count % kLook > 0) continue;
    const Pairs pairs(projected, count);
    found.scale = std::max({found.scale, std::abs(pairs.values.front()), std::abs(pairs.values.back())});
    found.eigenvalue = pairs.values.front();
    found.residual = rest * std::abs(pairs.vectors.front()[last]);
    found.steps = static_cast<double>(taken);
    if (ends || found.residual <= search.tolerance * found.scale) {
      parts.copy(combined(pairs.vectors.front(), basis, control), direction);
      return;
    }
    if (!full) continue;
    std::vector<Vector> lowest;
    projected.clear();
    for (kept = 0; kept < kKept; kept++) {
      lowest.push_back(combined(pairs.vectors[kept], basis, control));
      projected(kept, kept) = pairs.values[kept];
      projected(kKept, kept) = rest * pairs.vectors[kept][last];
    }
    basis = std::move(lowest);
  }
}

}  // namespace

Curvature tangent_curvature(const State<const double>& state, const CurvatureSearch& search,
                            const State<double>& gradient, const State<double>& direction, const Control& control) {
  const double square = squares(state), radius = std::sqrt(square);
  if (square == 0) throw Error("LP_OPTION", "The state is zero; expected a point of a sphere.");
  const Parts parts(state);
  Curvature found{};
  Weights weights(state, control);
  found.log_loss = weights.log_loss();

  const Vector normal(parts.size());
  for (Index i = 0; i < parts.size(); i++) {
    normal[i] = (i < parts.features ? state.features.data[i] : state.prototypes.data[i - parts.features]) / radius;
  }
  const Vector slope(parts.size());
  weights.slope(parts.h(slope), parts.w(slope), control);
  parts.copy(slope, gradient);
  const double size = norm(slope, control), along = inner(normal, slope, control);
  found.multiplier = -along / radius;
  add(slope, -along, normal, control);
  found.tangent = size > 0 ? norm(slope, control) / size : 0;

  lanczos(weights, parts, normal, search, found, direction, control);
  return found;
}

}  // namespace lp
