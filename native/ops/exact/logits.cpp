#include "ops/exact/logits.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/blas/blas.h"
#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/exact/rows.h"
#include "ops/linear/class_sums.h"

namespace lp {
namespace {

constexpr Index kBlock = 128;            // samples
constexpr Index kKept = Index{1} << 25;  // numbers of products that are kept: 256 MiB
constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

// What turns products into logits at one time, and what distances to class means take.
template <class T>
struct Trajectory<T>::Logits::Weights {
  std::vector<double> x, y;       // (C + K) P_wh and P_ww, over e^top
  double* of_class;               // (C, C) logits of the classes' means, and biases, over e^log
  std::vector<double> log, rest;  // (C) of the sizes of a class's logits; ρ, over e^(log − top)
  const Propagation& at;
  double rest_log;              // log |ρ|
  std::optional<Graded> means;  // M, where wanted
  std::vector<double> apart;    // (C, C) log ‖μ_c − μ_d‖, where wanted

  // `of_class` is written, `means` (C, width) overwritten.
  Weights(const Trajectory& of, const Logits& logits, const Time& time, double* of_class, double* means)
      : of_class(of_class), at(time.at) {
    const Modes& modes = of.modes_;
    const Index classes = modes.classes(), rows = modes.rows(), width = logits.width_, k = modes.sizes();
    const std::vector<T>& biases = of.start_.biases;
    rest_log = of.origin_.rest > 0 ? at.rest_log + std::log(std::abs(at.rest)) : -kInfinity;
    const auto present = [&](Index r) { return of.origin_.groups[modes.group_of(r)].norm() > 0; };
    const auto pair = [&](Index r) -> const PairPropagator& { return at.pairs[modes.group_of(r)]; };
    double top = -kInfinity;
    for (Index r = 0; r < rows; r++)
      if (present(r)) top = std::max(top, pair(r).log);
    if (top == -kInfinity) top = 0;
    for (Index r = 0; r < rows; r++) {
      const double scale = present(r) ? std::exp(pair(r).log - top) : 0;
      x.push_back(present(r) ? scale * pair(r).p.wh : 0);
      y.push_back(present(r) ? scale * pair(r).p.ww : 0);
    }

    // (C, width) products of class means with the modal rows, a class over a size of its own: Σ_r α_cr (P_hh, P_hw) of
    // the Gram matrix's rows.
    const Buffer<double> factors(classes * 2 * k);
    log.resize(classes);
    for (Index c = 0; c < classes; c++) {
      const Index s = modes.size_of[c];
      const double own = of.root_counts_[c] > 0 ? 1 / of.root_counts_[c] : 0;
      const auto factor = [&](Index r) {
        return r == c ? own : own * modes.between(Side::features)[s * k + r - classes];
      };
      const auto each = [&](auto&& visit) {
        if (present(c)) visit(c);
        for (Index r = classes; r < rows; r++)
          if (present(r)) visit(r);
      };
      double size = rest_log + (of.within_[c] > 0 ? std::log(of.within_[c]) / 2 : -kInfinity);
      each([&](Index r) {
        const Mat2& p = pair(r).p;
        const double reach =
            std::abs(factor(r)) * (std::abs(p.hh) * logits.lengths_[r] + std::abs(p.hw) * logits.lengths_[rows + r]);
        if (reach > 0) size = std::max(size, pair(r).log + kLog2 * std::ilogb(reach));
      });
      if (!std::isfinite(size)) size = 0;
      if (!present(c)) std::fill_n(&means[c * width], width, 0.0);
      std::fill_n(&factors[c * 2 * k], 2 * k, 0.0);
      each([&](Index r) {
        const double scale = factor(r) * std::exp(pair(r).log - size), a = scale * pair(r).p.hh,
                     b = scale * pair(r).p.hw;
        if (r >= classes) {
          factors[c * 2 * k + r - classes] = a;
          factors[c * 2 * k + k + r - classes] = b;
          return;
        }
        const double *of_x = &logits.gram_[r * width], *of_y = &logits.gram_[(rows + r) * width];
        for (Index j = 0; j < width; j++) means[c * width + j] = a * of_x[j] + b * of_y[j];
      });
      log[c] = size;
    }
    for (const Index side : {Index{0}, Index{1}}) {
      blas::gemm<double>(false, false, classes, width, k, 1, &factors[side * k], 2 * k,
                         &logits.gram_[(side * rows + classes) * width], width, 1, means, width);
    }

    // Then row i of (C, C) the logits of class i's mean. Biases less that of class 0, which moves no margin.
    const std::vector<double> shared = between(modes, means, classes, width);
    for (Index i = 0; i < classes; i++) {
      // Logits shrink and grow like the state's square. Where they are far below the biases, only those count.
      const double unbiased = log[i] + top + 2 * of.log_scale_;
      const double size = biases.empty() ? unbiased : std::max(unbiased, -600.0), share = std::exp(unbiased - size);
      const double* q = means + i * width;
      double* z = &of_class[i * classes];
      for (Index c = 0; c < classes; c++) z[c] = share * (x[c] * q[c] + y[c] * q[rows + c]);
      if (!shared.empty()) {
        for (Index c = 0; c < classes; c++) z[c] += share * shared[i * k + modes.size_of[c]];
      }
      if (!biases.empty()) {
        const double scale = std::exp(-size);
        for (Index c = 0; c < classes; c++)
          z[c] += scale * (at.keep * (static_cast<double>(biases[c]) - static_cast<double>(biases[0])) +
                           at.gain * (of.pull_[c] - of.pull_[0]));
      }
      rest.push_back(rest_log == -kInfinity ? 0 : std::copysign(std::exp(rest_log - log[i]) * share, at.rest));
      log[i] = size;
    }
  }

  // Σ_r U_sr (…) for each row of products and each size s, (count, K); nothing where there is one size.
  std::vector<double> between(const Modes& modes, const double* products, Index count, Index width) const {
    const Index k = modes.sizes(), classes = modes.classes(), rows = modes.rows();
    if (k == 1) return {};
    std::vector<double> mixed(count * k), out(count * k);
    for (Index i = 0; i < count; i++) {
      const double* q = products + i * width;
      for (Index m = 0; m < k; m++)
        mixed[i * k + m] = x[classes + m] * q[classes + m] + y[classes + m] * q[rows + classes + m];
    }
    blas::gemm<double>(false, true, count, k, k, 1, mixed.data(), k, modes.between(Side::prototypes).data(), k, 0,
                       out.data(), k);
    return out;
  }
};

// Of a block at a time.
template <class T>
struct Trajectory<T>::Logits::Sums {
  Decisions decisions;
  double disagree = 0, to_global = 0, global_log = 0;  // samples; Σ ‖h − h̄‖ over e^global_log
};

template <class T>
Trajectory<T>::Logits::Logits(const Trajectory& of, const Control& control) : width_(2 * of.modes_.rows()) {
  const Index p = of.start_.dim, n = of.start_.samples();
  const ByClass by_class(of.start_.labels.data(), n, of.start_.classes());
  order_ = by_class.order;
  for (Index c = 0; c < by_class.classes(); c++)
    for (Index begin = by_class.start[c]; begin < by_class.start[c + 1]; begin += kBlock)
      blocks_.push_back({c, begin, std::min(begin + kBlock, by_class.start[c + 1])});
  rows_ = Buffer<double>(width_ * p);
  std::copy(of.x_.begin(), of.x_.end(), rows_.begin());
  std::copy(of.y_.begin(), of.y_.end(), rows_.begin() + of.x_.size());
  gram_ = Buffer<double>(width_ * width_);
  parallel_for(width_, 64, control, [&](Index begin, Index end) {
    blas::gemm<double>(false, true, end - begin, width_, p, 1, &rows_[begin * p], p, rows_.get(), p, 0,
                       &gram_[begin * width_], width_);
  });
  for (Index r = 0; r < width_; r++) lengths_.push_back(std::sqrt(gram_[r * width_ + r]));
  if (n * width_ > kKept || of.origin_.rest == 0) return;
  products_ = Buffer<double>(n * width_);
  parallel_for(std::ssize(blocks_), 1, control, [&](Index begin, Index end) {
    for (Index b = begin; b < end; b++) fill(of, blocks_[b], &products_[blocks_[b].begin * width_]);
  });
}

template <class T>
void Trajectory<T>::Logits::fill(const Trajectory& of, const Block& block, double* out) const {
  const Index p = of.start_.dim, count = block.end - block.begin;
  const Buffer<double> residuals(count * p);
  for (Index i = 0; i < count; i++) of.residual(order_[block.begin + i], &residuals[i * p]);
  blas::gemm<double>(false, true, count, width_, p, 1, residuals.get(), p, rows_.get(), p, 0, out, width_);
}

template <class T>
Index Trajectory<T>::Logits::times_at_once(Index classes) {
  return std::clamp<Index>((Index{1} << 20) / (classes * classes), 1, 256);
}

// The class whose mean is nearest to a sample, q (width) its products.
template <class T>
Index Trajectory<T>::Logits::nearest(const Trajectory& of, const Weights& weights, const Block& block, Index i,
                                     const double* q) const {
  const Modes& modes = of.modes_;
  const Index classes = modes.classes(), rows = modes.rows(), y = block.label, k = modes.sizes();
  const double reach = weights.rest_log + std::log(2 * of.lengths_[order_[block.begin + i]]);
  const double* apart = &weights.apart[y * classes];
  // Means that are farther than the sample reaches are none of it.
  double size = -kInfinity;
  for (Index c = 0; c < classes; c++)
    if (c != y && apart[c] < reach) size = std::max(size, apart[c]);
  if (size == -kInfinity) return y;
  const auto along = [&](Index r, double factor) {
    const PairPropagator& pair = weights.at.pairs[modes.group_of(r)];
    if (factor == 0 || of.origin_.groups[modes.group_of(r)].norm() == 0) return 0.0;
    return factor * std::exp(pair.log - size) * (pair.p.hh * q[r] + pair.p.hw * q[rows + r]);
  };
  const auto root = [&](Index c) { return 1 / of.root_counts_[c]; };
  const auto between = [&](Index c, Index m) {
    return root(c) * modes.between(Side::features)[modes.size_of[c] * k + m];
  };
  Index best = y;
  double least = 0;
  for (Index c = 0; c < classes; c++) {
    if (c == y || !(apart[c] < reach)) continue;
    double product = along(c, root(c)) - along(y, root(y));
    for (Index m = 0; m < k && modes.size_of[c] != modes.size_of[y]; m++)
      product += along(classes + m, between(c, m) - between(y, m));
    const double value =
        std::exp(2 * apart[c] - weights.rest_log - size) - std::copysign(2 * product, product * weights.at.rest);
    if (value < least || (value == least && c < best)) {
      least = value;
      best = c;
    }
  }
  return best;
}

template <class T>
void Trajectory<T>::Logits::measure(const Trajectory& of, const Classes* centres, const std::vector<Time>& times,
                                    const MeasureColumns& to, const Control& control) const {
  using enum TrajectoryMeasure;
  const auto column = [&](TrajectoryMeasure which) { return to[static_cast<size_t>(which)]; };
  const bool wants_logits = column(accuracy) || column(minMargin) || column(meanMargin) || column(nc4),
             wants_means = column(withinClassVariation) || column(logWithinClassVariation);
  const Modes& modes = of.modes_;
  const Index n = of.start_.samples(), classes = modes.classes(), rows = modes.rows(), k = modes.sizes(),
              count = std::ssize(times), blocks = std::ssize(blocks_);
  std::vector<std::unique_ptr<Weights>> weights(count);
  const Buffer<double> of_class(count * classes * classes);
  parallel_for(count, even_grain(count, 1), control, [&](Index begin, Index end) {
    const Buffer<double> means(classes * width_);
    for (Index t = begin; t < end; t++) {
      weights[t] = std::make_unique<Weights>(of, *this, times[t], &of_class[t * classes * classes], means.get());
      if (wants_means || column(nc4)) weights[t]->means = centres->centred_means(of, times[t].at);
      if (column(nc4)) weights[t]->apart = centres->distances(of, times[t].at, *weights[t]->means);
    }
  });

  // Σ_i ‖h_i − h̄‖ of a block, over e^log.
  const auto to_global = [&](const Weights& at, const Block& block, const double* q, double& log) {
    const Index y = block.label, s = modes.size_of[y];
    const double own = 1 / of.root_counts_[y];
    log = std::max(at.rest_log + std::log(of.within_[y]) / 2, at.means->log[y]);
    if (!std::isfinite(log)) {
      if (!std::isnan(log)) log = 0;
      return 0.0;
    }
    std::vector<double> along(width_);
    const auto add = [&](Index r, double factor) {
      const PairPropagator& pair = at.at.pairs[modes.group_of(r)];
      if (factor == 0 || of.origin_.groups[modes.group_of(r)].norm() == 0) return;
      const double scale = factor * std::exp(pair.log - log);
      along[r] = scale * pair.p.hh;
      along[rows + r] = scale * pair.p.hw;
    };
    add(y, own);
    for (Index m = 0; m < k; m++) add(classes + m, centres->centred_factor(s, m));
    const double rest = std::copysign(std::exp(at.rest_log - log), at.at.rest), mean = std::exp(at.means->log[y] - log);
    double sum = 0;
    for (Index i = block.begin; i < block.end; i++, q += width_) {
      const double length = rest * of.lengths_[order_[i]];
      sum += std::sqrt(std::max(0.0, length * length + 2 * rest * dot(q, along.data(), width_) + mean * mean));
    }
    return sum;
  };

  std::vector<Sums> sums(blocks * count);
  const auto decide_samples = LP_SELECT(decide_samples);
  parallel_for(blocks, 1, control, [&](Index begin, Index end) {
    std::vector<Decision> decided(kBlock);
    const Index z_stride = column(nc4) ? classes : 0;
    Buffer<double> formed, z(column(nc4) ? kBlock * classes : classes);
    for (Index b = begin; b < end; b++) {
      const Block& block = blocks_[b];
      const Index samples = block.end - block.begin, y = block.label;
      const double* q = products_.size() > 0 ? &products_[block.begin * width_] : nullptr;
      if (!q) {
        if (formed.size() == 0) formed = Buffer<double>(kBlock * width_);
        if (of.origin_.rest > 0)
          fill(of, block, formed.get());
        else
          std::fill(formed.begin(), formed.end(), 0.0);
        q = formed.get();
      }
      for (Index t = 0; t < count; t++) {
        if (t % 16 == 0) control.poll();
        const Weights& w = *weights[t];
        Sums& sum = sums[b * count + t];
        if (wants_means) sum.to_global = to_global(w, block, q, sum.global_log);
        if (!wants_logits) continue;
        const std::vector<double> shared = w.between(modes, q, samples, width_);
        decide_samples({q, q + rows, width_, classes, k, w.rest[y], w.x.data(), w.y.data(),
                        shared.empty() ? nullptr : shared.data(), modes.size_of.data(), &w.of_class[y * classes]},
                       y, samples, z.get(), z_stride, decided.data());
        for (Index i = 0; i < samples; i++) {
          sum.decisions.add(decided[i]);
          if (!column(nc4)) continue;
          const double* row = &z[i * classes];
          sum.disagree += std::max_element(row, row + classes) - row != nearest(of, w, block, i, q + i * width_);
        }
      }
    }
  });

  for (Index t = 0; t < count; t++) {
    const Weights& w = *weights[t];
    const Index place = times[t].place;
    double correct = 0, disagree = 0, log = -kInfinity, global_log = -kInfinity;
    for (Index b = 0; b < blocks; b++) {
      const Sums& sum = sums[b * count + t];
      correct += sum.decisions.correct;
      disagree += sum.disagree;
      log = std::max(log, w.log[blocks_[b].label]);
      if (!(sum.global_log <= global_log)) global_log = sum.global_log;
    }
    double margins = 0, to_global_sum = 0;
    Scaled least{kInfinity, 0};
    for (Index b = 0; b < blocks; b++) {
      const Sums& sum = sums[b * count + t];
      margins += sum.decisions.margins * weight(w.log[blocks_[b].label] - log);
      if (wants_means) to_global_sum += sum.to_global * std::exp(sum.global_log - global_log);
      const Scaled margin{sum.decisions.min_margin, w.log[blocks_[b].label]};
      const bool less = margin.log == least.log || margin.value * least.value <= 0
                            ? margin.value < least.value
                            : (margin.log_abs() < least.log_abs()) == (margin.value > 0);
      if (b == 0 || less) least = margin;
    }
    const auto put = [&](TrajectoryMeasure which, double value) {
      if (double* values = column(which)) values[place] = value;
    };
    put(accuracy, correct / static_cast<double>(n));
    put(nc4, disagree / static_cast<double>(n));
    put(minMargin, least.plain());
    put(meanMargin, Scaled{margins / static_cast<double>(n), log}.plain());
    if (!wants_means) continue;
    double lengths = 0;
    for (const double length : of.lengths_) lengths += length;
    const double ratio = w.rest_log + std::log(lengths) - global_log - std::log(to_global_sum);
    put(withinClassVariation, std::exp(ratio));
    put(logWithinClassVariation, ratio);
  }
}

template <class T>
std::shared_ptr<const typename Trajectory<T>::Logits> Trajectory<T>::logits(const Control& control) {
  {
    std::lock_guard lock(mutex_);
    if (logits_) return logits_;
  }
  auto made = std::make_shared<const Logits>(*this, control);
  std::lock_guard lock(mutex_);
  return logits_ = made;
}

template class Trajectory<float>::Logits;
template class Trajectory<double>::Logits;
template std::shared_ptr<const Trajectory<float>::Logits> Trajectory<float>::logits(const Control&);
template std::shared_ptr<const Trajectory<double>::Logits> Trajectory<double>::logits(const Control&);

}  // namespace lp
