#include "ops/descent/lanes.h"
#include "core/vector.h"
#include "ops/descent/move-inl.h"
#include "ops/loss/exponential.h"

namespace lp::LP_ISA {

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kClassTile = 10, kMoveTile = 8, kGradientTile = 8;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kClassTile = 5, kMoveTile = 4, kGradientTile = 4;
#else
constexpr int kVectorBytes = 16, kClassTile = 5, kMoveTile = 4, kGradientTile = 4;
#endif

template <class T>
struct Lanes {
  typedef T type __attribute__((vector_size(kVectorBytes), may_alias));
  static constexpr int count = kVectorBytes / static_cast<int>(sizeof(T));
};
template <class T>
using Vector = typename Lanes<T>::type;

template <class T>
inline Vector<T>& at(T* x, int v = 0) {
  return reinterpret_cast<Vector<T>*>(x)[v];
}
template <class T>
inline const Vector<T>& at(const T* x, int v = 0) {
  return reinterpret_cast<const Vector<T>*>(x)[v];
}

// ---- logits ---------------------------------------------------------------------------------------------------------
//
// With their biases, unless features are yet to be normalized.

template <class T, int kVectors, int kClasses>
void logits_tile(const LaneRun<T>& run, Index lane, Index first) {
  const Index stride = run.padded_dim;
  const T *w = run.prototypes + first * stride, *h = run.features + lane;
  Vector<T> z[kClasses][kVectors];
#pragma GCC unroll 10
  for (int c = 0; c < kClasses; c++) {
    const T start = run.normalized ? T(0) : run.biases[first + c];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) z[c][v] = start - Vector<T>{};
  }
  for (Index j = 0; j < run.dim; j++, h += run.lanes) {
#pragma GCC unroll 10
    for (int c = 0; c < kClasses; c++) {
      const Vector<T> factor = w[c * stride + j] - Vector<T>{};
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; v++) z[c][v] += factor * at(h, v);
    }
  }
#pragma GCC unroll 10
  for (int c = 0; c < kClasses; c++) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) at(run.slopes + (first + c) * run.lanes + lane, v) = z[c][v];
  }
}

template <class T, int kVectors, int kClasses = kClassTile>
void logits_of(const LaneRun<T>& run, Index lane, Index first, Index count) {
  if constexpr (kClasses > 1) {
    if (count < kClasses) return logits_of<T, kVectors, kClasses - 1>(run, lane, first, count);
  }
  logits_tile<T, kVectors, kClasses>(run, lane, first);
}

template <class T>
void logits(const LaneRun<T>& run) {
  constexpr Index width = Lanes<T>::count;
  const Index tiles = (run.classes + kClassTile - 1) / kClassTile;
  for (Index lane = 0; lane < run.lanes; lane += 2 * width) {
    for (Index tile = 0; tile < tiles; tile++) {
      const Index first = run.classes * tile / tiles, count = run.classes * (tile + 1) / tiles - first;
      if (lane + width < run.lanes) {
        logits_of<T, 2>(run, lane, first, count);
      } else {
        logits_of<T, 1>(run, lane, first, count);
      }
    }
  }
}

// ---- logits to slopes -----------------------------------------------------------------------------------------------

inline Vector<float> exponential_of(Vector<float> x) {
  return exponential_of_floats<Vector<float>, Vector<uint32_t>>(x);
}
inline Vector<double> exponential_of(Vector<double> x) {
  return exponential_of_doubles<Vector<double>, Vector<uint64_t>>(x);
}

// Of softmax(z) − t, t = (1−s) e_y + s/C: 1 − p_y is the sum of the others, which keeps its digits where y dominates.
template <class T>
void cross_entropy_slopes(const LaneRun<T>& run) {
  const Index lanes = run.lanes, classes = run.classes;
  const T even = run.smoothing / static_cast<T>(classes), certain = run.smoothing - even;
  using Label = typename LaneLabel<T>::type;
  for (Index lane = 0; lane < lanes; lane += Lanes<T>::count) {
    T* z = run.slopes + lane;
    const Vector<Label> labels = at(run.labels + lane);
    const Vector<T> weights = at(run.weights + lane), zero = {};
    Vector<T> top = at(z), rest = zero, own = zero;
    for (Index c = 1; c < classes; c++) {
      const Vector<T> x = at(z + c * lanes);
      top = x > top ? x : top;
    }
    for (Index c = 0; c < classes; c++) {
      const Vector<T> e = exponential_of(at(z + c * lanes) - top);
      const auto mine = labels == static_cast<Label>(c);
      at(z + c * lanes) = e;
      rest += mine ? zero : e;
      own = mine ? e : own;
    }
    const Vector<T> scale = weights / (rest + own), others = weights * even;
    // weight ((own/sum) − 1 + s − s/C): 0 − rest/sum but for the smoothing.
    const Vector<T> of_own = weights * certain - scale * rest;
    for (Index c = 0; c < classes; c++) {
      const Vector<T> other = scale * at(z + c * lanes) - others;
      at(z + c * lanes) = labels == static_cast<Label>(c) ? of_own : other;
    }
  }
}

template <class T>
void mse_slopes(const LaneRun<T>& run) {
  for (Index c = 0; c < run.classes; c++) {
    T* __restrict z = run.slopes + c * run.lanes;
    const T* __restrict weights = run.weights;
    const auto* __restrict labels = run.labels;
    for (Index i = 0; i < run.lanes; i++) z[i] = 2 * weights[i] * (z[i] - (labels[i] == c ? T(1) : T(0)));
  }
}

template <class T>
void hinge_slopes(const LaneRun<T>& run) {
  const Index lanes = run.lanes, classes = run.classes;
  T* __restrict edge = run.top, * __restrict count = run.rest;
  const T* __restrict weights = run.weights;
  const auto* __restrict labels = run.labels;
  for (Index i = 0; i < lanes; i++) edge[i] = count[i] = 0;
  for (Index c = 0; c < classes; c++) {
    const T* __restrict z = run.slopes + c * lanes;
    for (Index i = 0; i < lanes; i++) edge[i] = labels[i] == c ? z[i] - run.margin : edge[i];
  }
  for (Index c = 0; c < classes; c++) {
    T* __restrict z = run.slopes + c * lanes;
    for (Index i = 0; i < lanes; i++) {
      const T active = z[i] > edge[i] ? weights[i] : T(0), own = labels[i] == c ? T(0) : active;
      count[i] += own;
      z[i] = own;
    }
  }
  for (Index c = 0; c < classes; c++) {
    T* __restrict z = run.slopes + c * lanes;
    for (Index i = 0; i < lanes; i++) z[i] = labels[i] == c ? -count[i] : z[i];
  }
}

template <class T>
void unhinged_slopes(const LaneRun<T>& run) {
  for (Index c = 0; c < run.classes; c++) {
    T* __restrict z = run.slopes + c * run.lanes;
    const T* __restrict weights = run.weights;
    const auto* __restrict labels = run.labels;
    for (Index i = 0; i < run.lanes; i++) z[i] = weights[i] * (labels[i] == c ? T(-1) : run.gamma);
  }
}

// ‖h‖² of each lane.
template <class T>
void square(const LaneRun<T>& run) {
  T* __restrict squares = run.squares;
  for (Index i = 0; i < run.lanes; i++) squares[i] = 0;
  for (Index j = 0; j < run.dim; j++) {
    const T* __restrict h = run.features + j * run.lanes;
    for (Index i = 0; i < run.lanes; i++) squares[i] += h[i] * h[i];
  }
}

// Whether a step can be made from these logits, which get their biases and the lengths of normalized features here: not
// from one that is not small, nor of a feature to be normalized whose square comes near to vanishing. Fills the lanes'
// rates and decays.
template <class T>
bool prepare(const LaneRun<T>& run) {
  const Index lanes = run.lanes, classes = run.classes;
  T* __restrict scale = run.scale, * __restrict decay = run.decay, * __restrict rate = run.rate;
  const T base = static_cast<T>(run.features_factors.decay), step = static_cast<T>(run.features_factors.rate);
  for (Index i = 0; i < lanes; i++) {
    decay[i] = base;
    rate[i] = step;
  }
  T* __restrict broken = run.rest;
  for (Index i = 0; i < lanes; i++) broken[i] = 0;
  if (run.normalized || run.rescaled) {
    square(run);
    for (Index i = 0; i < lanes; i++) {
      const T norm = static_cast<T>(__builtin_sqrt(static_cast<double>(run.squares[i])));
      if (run.rescaled) rate[i] *= norm;
      scale[i] = norm > 0 ? run.radius / norm : T(0);
      if (run.normalized) broken[i] = run.squares[i] > kLeastSquare || run.labels[i] < 0 ? T(0) : T(1);
    }
  }
  const T small = static_cast<T>(kSmallLogits);
  for (Index c = 0; c < classes; c++) {
    T* __restrict z = run.slopes + c * lanes;
    const T bias = run.biases[c];
    if (run.normalized) {
      for (Index i = 0; i < lanes; i++) z[i] = z[i] * scale[i] + bias;
    }
    for (Index i = 0; i < lanes; i++) broken[i] += z[i] < small && z[i] > -small ? T(0) : T(1);  // a NaN counts
  }
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < lanes; i++) sum += broken[i];
  return sum == 0;
}

// Logits to slopes, the biases' among them.
template <class T>
void slopes(const LaneRun<T>& run) {
  const Index lanes = run.lanes, classes = run.classes;
  T* __restrict scale = run.scale, * __restrict decay = run.decay;
  T* __restrict logits = run.normalized ? run.slopes + run.padded_classes * lanes : nullptr;
  if (logits) {
    for (Index k = 0; k < classes * lanes; k++) logits[k] = run.slopes[k];
  }
  switch (run.kind) {
    case LossKind::mse:
      mse_slopes(run);
      break;
    case LossKind::hinge:
      hinge_slopes(run);
      break;
    case LossKind::unhinged:
      unhinged_slopes(run);
      break;
    default:
      cross_entropy_slopes(run);
  }
  if (run.biased && run.moves_biases) {
    for (Index c = 0; c < classes; c++) {
      const T* g = run.slopes + c * lanes;
      T total = 0;
#pragma omp simd reduction(+ : total)
      for (Index i = 0; i < lanes; i++) total += g[i];
      run.biases_slope[c] = total;
    }
  }
  if (!logits) return;
  // ∂/∂h = (r/‖h‖) (g − û ûᵀg), and ûᵀg = Σ_c G_c (z_c − b_c)/r.
  for (Index c = 0; c < classes; c++) {
    T* __restrict g = run.slopes + c * lanes;
    const T* __restrict z = logits + c * lanes;
    const T bias = run.biases[c], inverse = T(1) / (run.radius * run.radius);
    for (Index i = 0; i < lanes; i++) {
      decay[i] -= g[i] * (z[i] - bias) * scale[i] * scale[i] * inverse;
      g[i] *= scale[i];
    }
  }
}

// ---- gradient of the prototypes -------------------------------------------------------------------------------------

// The sums of neighbours in a, then of those in b.
template <class V, int kCount>
inline V pairs(V a, V b) {
  if constexpr (kCount == 2) {
    return __builtin_shufflevector(a, b, 0, 2) + __builtin_shufflevector(a, b, 1, 3);
  } else if constexpr (kCount == 4) {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
  } else if constexpr (kCount == 8) {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
  } else {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  }
}

// The sums of the lanes of as many vectors as a vector has lanes: neighbours are added until one vector is left.
template <class V, int kLanes, int kCount>
inline V fold(const V* x) {
  if constexpr (kCount == 1) {
    return x[0];
  } else {
    return pairs<V, kLanes>(fold<V, kLanes, kCount / 2>(x), fold<V, kLanes, kCount / 2>(x + kCount / 2));
  }
}

template <class T>
void prototypes_slope(const LaneRun<T>& run) {
  constexpr int width = Lanes<T>::count, tile = kGradientTile, sums = tile < width ? tile : width;
  const Index lanes = run.lanes;
  for (Index c = 0; c < run.padded_classes; c += kClassPair) {
    for (Index j = 0; j < run.padded_dim; j += tile) {
      const T *g = run.slopes + c * lanes, *h = run.features + j * lanes;
      Vector<T> x[kClassPair * tile];
#pragma GCC unroll 16
      for (int k = 0; k < kClassPair * tile; k++) x[k] = Vector<T>{};
      for (Index i = 0; i < lanes; i += width) {
        const Vector<T> first = at(g + i), second = at(g + lanes + i);
#pragma GCC unroll 8
        for (int k = 0; k < tile; k++) {
          const Vector<T> value = at(h + k * lanes + i);
          x[k] += first * value;
          x[tile + k] += second * value;
        }
      }
      T* out = run.prototypes_slope + c * run.padded_dim + j;
      if constexpr (width > tile) {  // one vector has both classes' sums
        const Vector<T> all = fold<Vector<T>, width, width>(x);
#pragma GCC unroll 16
        for (int k = 0; k < width; k++) out[k / tile * run.padded_dim + k % tile] = all[k];
      } else {
#pragma GCC unroll 8
        for (int k = 0; k < tile; k += sums) {
          const Vector<T> one = fold<Vector<T>, width, width>(x + k), two = fold<Vector<T>, width, width>(x + tile + k);
          __builtin_memcpy(out + k, &one, sizeof one);
          __builtin_memcpy(out + run.padded_dim + k, &two, sizeof two);
        }
      }
    }
  }
}

// ---- gradient of the features, and their move -----------------------------------------------------------------------

template <Rule rule, class T, int kVectors>
void move_lanes(const LaneRun<T>& run, Index lane) {
  const Index lanes = run.lanes;
  const T momentum = static_cast<T>(run.features_factors.momentum);
  Vector<T> squares[kVectors] = {};
  for (Index first = 0; first < run.padded_dim; first += kMoveTile) {
    Vector<T> gradient[kMoveTile][kVectors] = {};
    const T *g = run.slopes + lane, *w = run.prototypes + first;
    for (Index c = 0; c < run.classes; c++, g += lanes, w += run.padded_dim) {
#pragma GCC unroll 8
      for (int j = 0; j < kMoveTile; j++) {
        const Vector<T> factor = w[j] - Vector<T>{};
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; v++) gradient[j][v] += factor * at(g, v);
      }
    }
    T* h = run.features + first * lanes + lane;
    T* velocity = rule == Rule::plain ? nullptr : run.features_velocity + first * lanes + lane;
#pragma GCC unroll 8
    for (int j = 0; j < kMoveTile; j++) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; v++) {
        Vector<T> moved = at(h + j * lanes, v), speed = {};
        if constexpr (rule != Rule::plain) speed = at(velocity + j * lanes, v);
        move_by<rule>(moved, speed, gradient[j][v], at(run.rate + lane, v), at(run.decay + lane, v), momentum);
        if constexpr (rule != Rule::plain) at(velocity + j * lanes, v) = speed;
        at(h + j * lanes, v) = moved;
        squares[v] += moved * moved;
      }
    }
  }
  for (int v = 0; v < kVectors; v++) at(run.squares + lane, v) = squares[v];
}

template <class T>
void constrain(const LaneRun<T>& run) {
  const Constraint& constraint = run.features_factors.constraint;
  const Index lanes = run.lanes;
  const T radius = static_cast<T>(constraint.radius);
  T* __restrict scale = run.scale, * __restrict squares = run.squares;
  bool any = false;
  if (constraint.kind == Constraint::frobenius) {
    double all = 0;
    for (Index i = 0; i < lanes; i++) all += static_cast<double>(squares[i]);
    any = all > constraint.radius * constraint.radius;
    const T factor = static_cast<T>(constraint.radius / __builtin_sqrt(all));
    for (Index i = 0; i < lanes; i++) scale[i] = factor;
  } else {
    const bool sphere = constraint.kind == Constraint::sphere;
    for (Index i = 0; i < lanes; i++) {
      const bool outside = squares[i] > radius * radius || (sphere && squares[i] > 0);
      scale[i] = outside ? static_cast<T>(constraint.radius / __builtin_sqrt(static_cast<double>(squares[i]))) : T(1);
      any |= outside;
    }
  }
  if (!any) return;
  for (Index j = 0; j < run.dim; j++) {
    T* __restrict h = run.features + j * lanes;
    for (Index i = 0; i < lanes; i++) h[i] *= scale[i];
  }
}

template <class T>
void move_features(const LaneRun<T>& run) {
  constexpr Index width = Lanes<T>::count;
  with_rule(run.features_factors, [&]<Rule rule>() {
    Index lane = 0;
    for (; lane + width < run.lanes; lane += 2 * width) move_lanes<rule, T, 2>(run, lane);
    if (lane < run.lanes) move_lanes<rule, T, 1>(run, lane);
  });
  if (run.features_factors.constraint.kind != Constraint::none) constrain(run);
}

template <class T>
void move_prototypes(const LaneRun<T>& run) {
  const MoveFactors& factors = run.prototypes_factors;
  T *w = run.prototypes, *v = run.prototypes_velocity, *g = run.prototypes_slope;
  const Index p = run.padded_dim, size = run.classes * p;
  const Constraint& constraint = factors.constraint;
  if (constraint.kind == Constraint::none || constraint.kind == Constraint::frobenius) {
    move_row(w, v, g, size, factors);
  } else {
    for (Index k = 0; k < size; k += p) move_row(w + k, v ? v + k : v, g + k, p, factors);
  }
  if (constraint.kind != Constraint::frobenius) return;
  const double all = squared_norm(w, size);
  if (!(all > constraint.radius * constraint.radius)) return;
  const T factor = static_cast<T>(constraint.radius / __builtin_sqrt(all));
  for (Index k = 0; k < size; k++) w[k] *= factor;
}

}  // namespace

template <class T>
Index lane_steps(LaneRun<T>& run, const double* rates_features, const double* rates_prototypes,
                 const double* rates_biases, Index steps) {
  for (Index k = 0; k < steps; k++) {
    run.features_factors.rate = rates_features[k];
    run.prototypes_factors.rate = rates_prototypes[k];
    run.biases_factors.rate = rates_biases[k];
    logits(run);
    if (!prepare(run)) return k;
    slopes(run);
    if (run.moves_prototypes) prototypes_slope(run);
    if (run.moves_features) move_features(run);
    if (run.moves_prototypes) move_prototypes(run);
    if (run.biased && run.moves_biases) {
      move_row(run.biases, run.biases_velocity, run.biases_slope, run.classes, run.biases_factors);
    }
  }
  return steps;
}

template Index lane_steps(LaneRun<float>&, const double*, const double*, const double*, Index);
template Index lane_steps(LaneRun<double>&, const double*, const double*, const double*, Index);

}  // namespace lp::LP_ISA
