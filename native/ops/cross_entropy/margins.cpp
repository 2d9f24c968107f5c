#include "ops/cross_entropy/margins.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/blas/blas.h"
#include "core/finite.h"
#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/cross_entropy/rows.h"

namespace lp {
namespace {

// Rows whose logits one thread makes and uses while they stay in its cache, fewer where their products would take long.
constexpr Index kTileRows = 128, kLeastTileRows = 8, kTileProducts = 1 << 24;
// Logits of a block, after which its part of the gradient of the prototypes is added.
constexpr Index kBlockLogits = 1 << 20, kLeastBlockRows = 256;
// The part of that gradient that one thread makes at a time.
constexpr Index kPartClasses = 256, kPartColumns = 256;

Index tile_rows(const State<const double>& state) {
  const Index products = std::max<Index>(1, state.classes() * state.dim());
  return std::clamp(kTileProducts / products, kLeastTileRows, kTileRows);
}

// z (rows, C) of the samples from `first` on.
void make_logits(const State<const double>& state, Index first, Index rows, double* z) {
  const Index p = state.dim(), classes = state.classes();
  blas::gemm<double>(false, true, rows, classes, p, 1, state.features.row(first), p, state.prototypes.data, p, 0, z,
                     classes);
}

// Calls use(i, z) with the logits of every sample, in parallel; use may change them.
template <class Use>
void each_row(const State<const double>& state, const Control& control, const Use& use) {
  const Index n = state.samples(), tile = tile_rows(state), tiles = divide_up(n, tile);
  parallel_for(tiles, even_grain(tiles, 1), control, [&](Index begin, Index end) {
    const Buffer<double> logits(tile * state.classes());
    for (Index k = begin; k < end; k++) {
      control.poll();
      const Index first = k * tile, rows = std::min(tile, n - first);
      make_logits(state, first, rows, logits.get());
      for (Index r = 0; r < rows; r++) use(first + r, logits.get() + r * state.classes());
    }
  });
}

// log(1 + eˣ), of large x too.
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

}  // namespace

double squares(const State<const double>& state) {
  const double sum = squared_norm(state.features.data, state.features.size()) +
                     squared_norm(state.prototypes.data, state.prototypes.size());
  if (!std::isfinite(sum)) {
    check_finite(state.features, "features");
    check_finite(state.prototypes, "prototypes");
    throw Error("LP_OVERFLOW", "The squares of this state exceed the range of float64; scale the state down.");
  }
  return sum;
}

void margins(const State<const double>& state, double* q, const Control& control) {
  const auto margin_of = LP_SELECT(margin_of_row);
  each_row(state, control, [&](Index i, double* z) { q[i] = margin_of(z, state.classes(), state.labels[i]).margin; });
}

Weights::Weights(const State<const double>& state, const Control& control) : state_(state), scales_(state.samples()) {
  const Index n = state.samples();
  const auto margin_of = LP_SELECT(margin_of_row);
  const Buffer<double> margins(n), log_sums(n), log_losses(n);
  each_row(state, control, [&](Index i, double* z) {
    const RowMargin row = margin_of(z, state.classes(), state.labels[i]);
    margins[i] = row.margin;
    log_sums[i] = std::log(row.sum);
  });
  smallest_ = *std::min_element(margins.begin(), margins.end());
  // Large margins only ever meet each other: log L = rest − level, log(L_i e^level) being of the order of 1 where it
  // counts.
  const double level = std::max(smallest_, 0.0);
  for (Index i = 0; i < n; i++) {
    const double log_odds = log_sums[i] - margins[i];  // log Σ e^{−s}
    // log(1 + x) is x below the rounding of 1, where x itself may be too small for a double.
    log_losses[i] = log_odds < -40 ? log_sums[i] - (margins[i] - level) : std::log(softplus(log_odds)) + level;
  }
  const double most = *std::max_element(log_losses.begin(), log_losses.end());
  double sum = 0;
  for (double log : log_losses) sum += std::exp(log - most);
  const double rest = most + std::log(sum);
  log_loss_ = rest - level;
  // log p_ij/L = z_ij − z_iy − log(1 + Σ e^{−s}) − log L, where log(1 + Σ e^{−s}) is near −q_i if that is positive.
  for (Index i = 0; i < n; i++) {
    const double q = margins[i], log_odds = log_sums[i] - q;
    scales_[i] = q > 0 ? RowScale{level, softplus(log_odds) + rest}
                       : RowScale{q, log_sums[i] + std::log1p(std::exp(-log_odds)) + rest};
  }
}

void Weights::slope(Matrix<double> oh, Matrix<double> ow, const Control& control) {
  product(false, state_.features, state_.prototypes, oh, ow, control);
}

void Weights::bend(Matrix<const double> vh, Matrix<const double> vw, Matrix<double> oh, Matrix<double> ow,
                   const Control& control) {
  product(true, vh, vw, oh, ow, control);
}

// oh = G vw, ow = Gᵀ vh; and, if `bent`, oh += Ġ W, ow += Ġᵀ H.
void Weights::product(bool bent, Matrix<const double> vh, Matrix<const double> vw, Matrix<double> oh, Matrix<double> ow,
                      const Control& control) {
  const Index n = state_.samples(), classes = state_.classes(), p = state_.dim();
  const Index block = std::min(n, std::max(kLeastBlockRows, kBlockLogits / classes)), tile = tile_rows(state_);
  const auto share = LP_SELECT(share_row);
  const auto bend = LP_SELECT(bend_row);
  const double *h = state_.features.data, *w = state_.prototypes.data, loss = std::exp(log_loss_);
  if (slopes_.size() == 0) slopes_ = Buffer<double>(block * classes);
  if (bent && changes_.size() == 0) changes_ = Buffer<double>(block * classes);

  for (Index first = 0; first < n; first += block) {
    const Index count = std::min(block, n - first);
    parallel_for(divide_up(count, tile), 1, control, [&](Index k, Index) {
      const Index begin = k * tile, rows = std::min(tile, count - begin), sample = first + begin;
      double *g = slopes_.get() + begin * classes, *change = changes_.get() + begin * classes;
      make_logits(state_, sample, rows, g);
      if (bent) {
        blas::gemm<double>(false, true, rows, classes, p, 1, vh.row(sample), p, w, p, 0, change, classes);
        blas::gemm<double>(false, true, rows, classes, p, 1, h + sample * p, p, vw.data, p, 1, change, classes);
      }
      for (Index r = 0; r < rows; r++) {
        double* row = g + r * classes;
        const Index y = state_.labels[sample + r];
        const double sum = share(row, classes, y, scales_[sample + r]);
        if (bent) bend(change + r * classes, row, classes, y, loss);
        row[y] = -sum;
      }
      blas::gemm<double>(false, false, rows, p, classes, 1, g, classes, vw.data, p, 0, oh.row(sample), p);
      if (bent) blas::gemm<double>(false, false, rows, p, classes, 1, change, classes, w, p, 1, oh.row(sample), p);
    });
    // Each thread owns its part of the result.
    const Index columns = divide_up(p, kPartColumns);
    parallel_for(divide_up(classes, kPartClasses) * columns, 1, control, [&](Index k, Index) {
      const Index c = k / columns * kPartClasses, j = k % columns * kPartColumns;
      const Index height = std::min(kPartClasses, classes - c), width = std::min(kPartColumns, p - j);
      double* out = ow.row(c) + j;
      blas::gemm<double>(true, false, height, width, count, 1, slopes_.get() + c, classes, vh.row(first) + j, p,
                         first > 0, out, p);
      if (!bent) return;
      blas::gemm<double>(true, false, height, width, count, 1, changes_.get() + c, classes, h + first * p + j, p, 1,
                         out, p);
    });
  }
}

double Weights::slack(double factor, double* shares, const Control& control) const {
  const Index n = state_.samples(), classes = state_.classes();
  const auto slack_of = LP_SELECT(slack_row);
  const Buffer<double> slacks(n);
  each_row(state_, control, [&](Index i, double* z) {
    slacks[i] = slack_of(z, classes, state_.labels[i], scales_[i], smallest_, factor);
    if (shares) std::copy_n(z, classes, shares + i * classes);
  });
  double sum = 0;
  for (double slack : slacks) sum += slack;
  return sum;
}

Certificate kkt_certificate(const State<const double>& state, double* multipliers, const Control& control) {
  const Index n = state.samples(), classes = state.classes(), p = state.dim();
  Certificate found;
  found.square = squares(state);
  Weights weights(state, control);
  found.log_loss = weights.log_loss();
  found.smallest = weights.smallest();
  if (!(found.smallest > 0)) {
    throw Error("LP_OPTION", "The smallest margin is " + std::to_string(found.smallest) +
                                 "; a KKT certificate needs every sample on its side, with a margin above 0.");
  }
  const Buffer<double> memory((n + classes) * p);
  const Matrix<double> gh{memory.get(), n, p}, gw{memory.get() + n * p, classes, p};
  weights.slope(gh, gw, control);
  const double radius = std::sqrt(found.square), norm = lp::norm(memory.get(), memory.size());
  double along = 0, apart = 0;
  const auto compare = [&](Matrix<const double> x, Matrix<const double> g) {
    for (Index i = 0; i < x.rows; i++) {
      double product = 0, squared = 0;
#pragma omp simd reduction(+ : product, squared)
      for (Index j = 0; j < p; j++) {
        const double difference = x(i, j) / radius + g(i, j) / norm;
        product -= x(i, j) * g(i, j);
        squared += difference * difference;
      }
      along += product;
      apart += squared;
    }
  };
  compare(state.features, gh);
  compare(state.prototypes, gw);
  found.alignment = along / (radius * norm);
  found.apart = apart;
  found.slack = radius / norm * weights.slack(radius / norm, multipliers, control);
  return found;
}

}  // namespace lp
