#include "ops/exact/logits.h"

#include <algorithm>
#include <cmath>

#include "core/blas/blas.h"
#include "core/thread_pool.h"
#include "ops/exact/rows.h"

namespace lp {
namespace {

constexpr Index kBlock = 128;            // samples
constexpr Index kKept = Index{1} << 25;  // numbers of products that are kept: 256 MiB

Index blocks_of(Index samples) { return divide_up(samples, kBlock); }

}  // namespace

// What turns products into logits at one time.
template <class T>
struct Trajectory<T>::Logits::Weights {
  std::vector<double> x, y;      // (C + K)
  std::vector<double> of_class;  // (C, C) logits of the classes' shifts, and biases
  double rest;
  double log;  // of the logits' scale

  Weights(const Trajectory& of, const Logits& logits, const LogitTime& time) {
    const Modes& modes = of.modes_;
    const Index classes = modes.classes(), rows = modes.rows(), width = logits.width_;
    const std::vector<T>& biases = of.start_.biases;
    // Logits shrink and grow like the state's square. Where they are far below the biases, only those count.
    log = biases.empty() ? 2 * time.log : std::max(2 * time.log, -600.0);
    rest = of.rest_factor(time.at, time.log);
    // (C + K) P_wh and P_ww of each modal row: prototypes at this time, over the scale.
    for (Index r = 0; r < rows; r++) {
      const PairPropagator& pair = time.at.pairs[modes.group_of(r)];
      const bool absent = of.origin_.groups[modes.group_of(r)].norm() == 0;
      const double scale = absent ? 0 : std::exp((pair.log - time.log) + (2 * time.log - log));
      x.push_back(absent ? 0 : scale * pair.p.wh);
      y.push_back(absent ? 0 : scale * pair.p.ww);
    }
    // (C, 2 (C + K)) products of the classes' shifts with the modal rows, from the Gram matrix; then (C, C) row i the
    // logits of the shift of class i. Biases less that of class 0, which moves no margin.
    of_class.resize(classes * classes);
    const Buffer<double> shift(classes * width);
    of.class_rows(time.at, time.log, {logits.gram_.get(), rows, width},
                  {logits.gram_.get() + rows * width, rows, width}, shift.get(), nullptr);
    const std::vector<double> shared = between(modes, shift.get(), classes, width);
    const double bias_scale = biases.empty() ? 0 : std::exp(-log);
    for (Index i = 0; i < classes; i++) {
      const double* q = shift.get() + i * width;
      for (Index c = 0; c < classes; c++) {
        double z = x[c] * q[c] + y[c] * q[rows + c];
        if (!shared.empty()) z += shared[i * modes.sizes() + modes.size_of[c]];
        if (!biases.empty()) {
          z += bias_scale * (time.at.keep * (static_cast<double>(biases[c]) - static_cast<double>(biases[0])) +
                             time.at.gain * (of.pull_[c] - of.pull_[0]));
        }
        of_class[i * classes + c] = z;
      }
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

template <class T>
Trajectory<T>::Logits::Logits(const Trajectory& of, const Control& control) : width_(2 * of.modes_.rows()) {
  const Index p = of.start_.dim, n = of.start_.samples();
  rows_ = Buffer<double>(width_ * p);
  std::copy(of.x_.begin(), of.x_.end(), rows_.begin());
  std::copy(of.y_.begin(), of.y_.end(), rows_.begin() + of.x_.size());
  gram_ = Buffer<double>(width_ * width_);
  parallel_for(width_, 64, control, [&](Index begin, Index end) {
    blas::gemm<double>(false, true, end - begin, width_, p, 1, &rows_[begin * p], p, rows_.get(), p, 0,
                       &gram_[begin * width_], width_);
  });
  if (n * width_ > kKept || of.origin_.rest == 0) return;
  products_ = Buffer<double>(n * width_);
  parallel_for(blocks_of(n), 1, control, [&](Index begin, Index end) {
    for (Index block = begin; block < end; block++) fill(of, block, &products_[block * kBlock * width_]);
  });
}

template <class T>
void Trajectory<T>::Logits::fill(const Trajectory& of, Index block, double* out) const {
  const Index p = of.start_.dim, first = block * kBlock, count = std::min(kBlock, of.start_.samples() - first);
  const T* features = of.start_.features.get() + first * p;
  const Buffer<double> wide(count * p);
  std::copy(features, features + count * p, wide.begin());
  blas::gemm<double>(false, true, count, width_, p, 1, wide.get(), p, rows_.get(), p, 0, out, width_);
}

template <class T>
Index Trajectory<T>::Logits::times_at_once(Index classes) {
  return std::clamp<Index>((Index{1} << 20) / (classes * classes), 1, 256);
}

template <class T>
void Trajectory<T>::Logits::measure(const Trajectory& of, const std::vector<LogitTime>& times,
                                    const LogitColumns& columns, const Control& control) const {
  const Modes& modes = of.modes_;
  const Index n = of.start_.samples(), classes = modes.classes(), count = std::ssize(times), blocks = blocks_of(n);
  std::vector<std::unique_ptr<Weights>> weights(count);
  parallel_for(count, 1, control, [&](Index begin, Index end) {
    for (Index t = begin; t < end; t++) weights[t] = std::make_unique<Weights>(of, *this, times[t]);
  });

  std::vector<Decisions> sums(blocks * count);
  const auto decide_samples = LP_SELECT(decide_samples);
  parallel_for(blocks, 1, control, [&](Index begin, Index end) {
    const Buffer<double> scratch(classes), a(classes), b(classes);
    std::vector<Decision> decided(kBlock);
    Buffer<double> formed;
    for (Index block = begin; block < end; block++) {
      const Index first = block * kBlock, samples = std::min(kBlock, n - first);
      const double* q = products_.size() > 0 ? &products_[first * width_] : nullptr;
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
        // ρ P_wh and ρ P_ww (C), and what is shared by the classes of a size (samples, K): logits of the rest's share
        // of where the samples began. `of_class` adds those of their classes' shifts.
        const Weights& w = *weights[t];
        for (Index c = 0; c < classes; c++) {
          a[c] = w.rest * w.x[c];
          b[c] = w.rest * w.y[c];
        }
        std::vector<double> shared = w.between(modes, q, samples, width_);
        for (double& value : shared) value *= w.rest;
        decide_samples(
            {q, q + modes.rows(), width_, classes, modes.sizes(), a.get(), b.get(),
             shared.empty() ? nullptr : shared.data(), modes.size_of.data(), w.of_class.data(), scratch.get()},
            of.start_.labels.data() + first, samples, decided.data());
        for (Index i = 0; i < samples; i++) sums[block * count + t].add(decided[i]);
      }
    }
  });

  for (Index t = 0; t < count; t++) {
    Decisions all;
    for (Index block = 0; block < blocks; block++) all.add(sums[block * count + t]);
    const Index place = times[t].place;
    const double samples = static_cast<double>(n), log = weights[t]->log;
    if (columns.accuracy) columns.accuracy[place] = all.correct / samples;
    if (columns.min_margin) columns.min_margin[place] = Scaled{all.min_margin, log}.plain();
    if (columns.mean_margin) columns.mean_margin[place] = Scaled{all.margins / samples, log}.plain();
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
