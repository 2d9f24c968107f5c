#include "ops/loss/losses.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "core/blas/blas.h"
#include "core/finite.h"
#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/linear/class_sums.h"
#include "ops/loss/rows.h"

namespace lp {
namespace {

// Logits of a block: enough rows that adding its part to the gradient of the prototypes is little beside computing it.
constexpr Index kBlockLogits = 1 << 22, kLeastRows = 512;
// Rows whose logits one thread makes and turns into gradients while they stay in its cache.
constexpr Index kTile = 256;
// The part of the gradient of the prototypes that one thread makes at a time.
constexpr Index kPartClasses = 256, kPartColumns = 256;
// Prototypes of at most this size have their gradient made in so many lanes at once; numbers of a tile of one.
constexpr Index kThin = 1 << 16, kLanes = 16, kThinTile = 1 << 17;

[[noreturn]] void refuse_zero(const char* name, Index i) {
  throw Error("LP_OPTION", name + ("[" + std::to_string(i)) +
                               "] is zero and has no direction; expected non-zero rows, as they are normalized.");
}

// Whether the loss sees more of the prototypes than the own one and a sum, so that logits have to be made.
bool dense(LossKind kind) {
  return kind == LossKind::cross_entropy || kind == LossKind::mse || kind == LossKind::hinge;
}

// A unit vector orthogonal to the unit vector x: an axis without what it has of x.
template <class T>
void orthogonal(const double* x, Index p, T* out) {
  const Index axis = p > 1 && x[0] * x[0] > 0.5 ? 1 : 0;
  const double norm = std::sqrt(std::max(0.0, 1 - x[axis] * x[axis]));
  for (Index j = 0; j < p; j++) out[j] = static_cast<T>(norm > 0 ? ((j == axis) - x[axis] * x[j]) / norm : 0);
}

// What the samples of a stretch add to the summary.
struct Tally {
  double value = 0, squares = 0;
  Decisions decisions;

  void add(const Tally& other) {
    value += other.value;
    squares += other.squares;
    decisions.add(other.decisions);
  }
};

}  // namespace

template <class T>
struct LossPass<T>::Workspace {
  Workspace(const Loss& loss, Index samples, Index classes, Index p)
      : loss(loss), samples(samples), classes(classes), p(p) {}

  const Loss loss;
  const Index samples, classes, p;

  // One run over the samples, as its parts see it.
  struct Task {
    const State<const T>& state;
    const Index* chosen;
    Index count;
    Matrix<T> prototypes;
    T* biases;
    const Move& move;
    bool measure;
    const Control& control;

    Index sample(Index i) const { return chosen ? chosen[i] : i; }
  };

  double weight(Index label, Index count) const {
    const double own = loss.class_weights.empty() ? 1 : loss.class_weights[label];
    return loss.sum ? own : own / static_cast<double>(count);
  }

  LossSummary run(const Task& task) {
    Tally tally = dense(loss.kind) ? run_dense(task) : run_rows(task);
    LossSummary summary;
    summary.regularizer = loss.regularization * tally.squares;
    summary.value = tally.value + summary.regularizer;
    if (task.measure && !dense(loss.kind)) tally = measure(task);
    summary.min_margin = tally.decisions.min_margin;
    summary.accuracy = tally.decisions.correct / static_cast<double>(task.count);
    return summary;
  }

  // ---- losses of all logits -----------------------------------------------------------------------------------------

  // A stretch of the samples, and where its numbers are: u (rows, p), z and then ∂/∂z (rows, C), ∂/∂u and then ∂/∂h
  // (rows, p), ‖h‖ (rows).
  struct Tile {
    Index first, rows;
    const T* u;
    T *copy, *z, *g;
    double* lengths;
  };

  Buffer<T> inputs, logits, gradients;
  Buffer<double> lengths, bias_sums;
  Buffer<T> prototype_sums;  // (lanes, C, p)
  std::vector<Tally> tallies;

  // Makes room for the numbers of `rows` samples.
  void reserve(const Task& task, Index rows) {
    if ((loss.normalized || task.chosen) && inputs.size() < rows * p) inputs = Buffer<T>(rows * p);
    if (logits.size() < rows * classes) logits = Buffer<T>(rows * classes);
    if (task.move && gradients.size() < rows * p) gradients = Buffer<T>(rows * p);
    if (lengths.size() < rows) lengths = Buffer<double>(rows);
  }

  // The samples first … first + rows − 1 of a task, with the numbers from row `at` on.
  Tile tile_at(const Task& task, Index first, Index rows, Index at) {
    const bool copied = loss.normalized || task.chosen;
    T* copy = copied ? inputs.get() + at * p : nullptr;
    return {first,
            rows,
            copied ? copy : task.state.features.row(first),
            copy,
            logits.get() + at * classes,
            task.move ? gradients.get() + at * p : nullptr,
            lengths.get() + at};
  }

  Tally run_dense(const Task& task) { return classes * p <= kThin ? run_thin(task) : run_wide(task); }

  // Many prototypes: a block of logits, then its part of their gradient, then the moves.
  Tally run_wide(const Task& task) {
    const Index rows = std::min(task.count, std::max(kLeastRows, kBlockLogits / classes)), tile = kTile;
    reserve(task, rows);
    if (task.biases) {
      if (bias_sums.size() < classes) bias_sums = Buffer<double>(classes);
      std::fill(bias_sums.begin(), bias_sums.end(), 0.0);
    }
    tallies.assign(divide_up(rows, tile), {});

    Tally total;
    for (Index first = 0; first < task.count; first += rows) {
      const Index count = std::min(rows, task.count - first), tiles = divide_up(count, tile);
      const auto tile_of = [&](Index k) {
        return tile_at(task, first + k * tile, std::min(tile, count - k * tile), k * tile);
      };
      parallel_for(tiles, 1, task.control, [&](Index k, Index) { tallies[k] = make_tile(task, tile_of(k)); });
      for (Index k = 0; k < tiles; k++) total.add(tallies[k]);
      add_products(task, first, count, tile_of(0).u);
      if (!task.move) continue;
      parallel_for(tiles, 1, task.control, [&](Index k, Index) {
        const Tile one = tile_of(k);
        task.move(one.first, one.first + one.rows, one.g);
      });
    }
    for (Index c = 0; c < classes && task.biases; c++) task.biases[c] = static_cast<T>(bias_sums[c]);
    return total;
  }

  // Few prototypes: a tile is done with while it is in the cache, and its part of their gradient added to that of its
  // lane. The lanes follow from the number of samples, so the sum is the same on any number of threads.
  Tally run_thin(const Task& task) {
    const Index most = std::clamp(kThinTile / (classes + p), Index(32), kTile);
    Index tiles = divide_up(task.count, most);
    if (tiles < kLanes) tiles = static_cast<Index>(std::bit_ceil(static_cast<uint64_t>(tiles)));
    const Index lanes = std::min(tiles, kLanes), rows = divide_up(task.count, tiles), size = classes * p;
    reserve(task, lanes * rows);
    if (task.prototypes.data && prototype_sums.size() < lanes * size) prototype_sums = Buffer<T>(lanes * size);
    if (task.biases) {
      if (bias_sums.size() < lanes * classes) bias_sums = Buffer<double>(lanes * classes);
      std::fill_n(bias_sums.get(), lanes * classes, 0.0);
    }
    tallies.assign(lanes, {});

    parallel_for(lanes, 1, task.control, [&](Index lane, Index) {
      for (Index k = tiles * lane / lanes; k < tiles * (lane + 1) / lanes; k++) {
        const Index first = std::min(task.count, k * rows), count = std::min(rows, task.count - first);
        const bool begins = k == tiles * lane / lanes;
        if (count == 0 && !begins) break;
        task.control.poll();
        const Tile tile = tile_at(task, first, count, lane * rows);
        tallies[lane].add(make_tile(task, tile));
        if (task.prototypes.data) {
          T* sum = prototype_sums.get() + lane * size;
          if (count == 0) std::fill_n(sum, size, T(0));
          blas::gemm<T>(true, false, classes, p, count, 1, tile.z, classes, tile.u, p, begins ? 0 : 1, sum, p);
        }
        if (task.biases) LP_SELECT(add_rows<T>)(tile.z, count, classes, bias_sums.get() + lane * classes);
        if (task.move) task.move(first, first + count, tile.g);
      }
    });

    Tally total;
    for (const Tally& tally : tallies) total.add(tally);
    if (task.prototypes.data) {
      parallel_for(size, 1 << 14, task.control, [&](Index begin, Index end) {
        T* sum = task.prototypes.data;
        std::copy(prototype_sums.get() + begin, prototype_sums.get() + end, sum + begin);
        for (Index lane = 1; lane < lanes; lane++) {
          const T* part = prototype_sums.get() + lane * size;
          for (Index k = begin; k < end; k++) sum[k] += part[k];
        }
      });
    }
    for (Index c = 0; c < classes && task.biases; c++) {
      double sum = 0;
      for (Index lane = 0; lane < lanes; lane++) sum += bias_sums[lane * classes + c];
      task.biases[c] = static_cast<T>(sum);
    }
    return total;
  }

  // Logits of a tile, what they are worth, and the gradient of its features.
  Tally make_tile(const Task& task, const Tile& tile) {
    const auto transform = LP_SELECT(transform_row<T>);
    Tally tally;
    if (tile.rows == 0) return tally;
    if (tile.copy) {
      gather(task, tile);
    } else if (loss.regularization != 0) {
      measure_lengths(task, tile);
    }
    blas::gemm<T>(false, true, tile.rows, classes, p, 1, tile.u, p, task.state.prototypes.data, p, 0, tile.z, classes);

    const RowLoss row{loss.kind == LossKind::mse     ? RowLoss::mse
                      : loss.kind == LossKind::hinge ? RowLoss::hinge
                                                     : RowLoss::cross_entropy,
                      loss.smoothing, loss.margin};
    for (Index i = 0; i < tile.rows; i++) {
      const Index sample = task.sample(tile.first + i), y = task.state.labels[sample];
      const double* soft = loss.soft_labels.empty() ? nullptr : loss.soft_labels.data() + sample * classes;
      const double share = weight(y, task.count);
      const RowResult result = transform(row, tile.z + i * classes, classes, y, task.state.biases, soft, share);
      tally.value += share * result.value;
      tally.decisions.add(result.decision);
      if (loss.regularization != 0) tally.squares += tile.lengths[i] * tile.lengths[i];
    }
    if (task.move) {
      blas::gemm<T>(false, false, tile.rows, p, classes, 1, tile.z, classes, task.state.prototypes.data, p, 0, tile.g,
                    p);
      finish(task, tile);
    }
    return tally;
  }

  void measure_lengths(const Task& task, const Tile& tile) {
    for (Index i = 0; i < tile.rows; i++) {
      tile.lengths[i] = norm(task.state.features.row(task.sample(tile.first + i)), p);
    }
  }

  // u of the rows, and ‖h‖.
  void gather(const Task& task, const Tile& tile) {
    const auto combine = LP_SELECT(combine_row<T>);
    measure_lengths(task, tile);
    for (Index i = 0; i < tile.rows; i++) {
      const Index sample = task.sample(tile.first + i);
      const T* h = task.state.features.row(sample);
      if (loss.normalized && tile.lengths[i] == 0) refuse_zero("features", sample);
      combine(h, h, p, loss.normalized ? loss.radius / tile.lengths[i] : 1, 0, tile.copy + i * p, 0, nullptr);
    }
  }

  // From ∂/∂u to ∂/∂h.
  void finish(const Task& task, const Tile& tile) {
    if (!loss.normalized && loss.regularization == 0) return;
    const auto combine = LP_SELECT(combine_row<T>);
    for (Index i = 0; i < tile.rows; i++) {
      const T* h = task.state.features.row(task.sample(tile.first + i));
      T* g = tile.g + i * p;
      double scale = 1, back = 2 * loss.regularization;
      if (loss.normalized) {
        scale = loss.radius / tile.lengths[i];
        back -= scale * (dot(h, g, p) / tile.lengths[i]) / tile.lengths[i];
      }
      combine(g, h, p, scale, back, g, 0, nullptr);
    }
  }

  // Adds the block's ∂/∂W = Gᵀ U and ∂/∂b = Gᵀ 1. Each thread owns its part of the result.
  void add_products(const Task& task, Index first, Index count, const T* u) {
    const Index parts = divide_up(classes, kPartClasses), columns = divide_up(p, kPartColumns);
    const T* g = logits.get();
    const Index matrix_tasks = task.prototypes.data ? parts * columns : 0, bias_tasks = task.biases ? 1 : 0;
    parallel_for(matrix_tasks + bias_tasks, 1, task.control, [&](Index k, Index) {
      if (k == matrix_tasks) return LP_SELECT(add_rows<T>)(g, count, classes, bias_sums.get());
      const Index c = k / columns * kPartClasses, j = k % columns * kPartColumns;
      blas::gemm<T>(true, false, std::min(kPartClasses, classes - c), std::min(kPartColumns, p - j), count, 1, g + c,
                    classes, u + j, p, first > 0, task.prototypes.row(c) + j, p);
    });
  }

  // ---- losses of the own prototype and a sum of all -----------------------------------------------------------------
  //
  // For these ∂ℓ/∂u_i = slope · v_y with one vector v_c a class, so ∂ℓ/∂h_i is a combination of v_y and h_i, and
  // ∂ℓ/∂W needs class sums of c_i u_i alone.

  struct ClassVectors {
    Buffer<T> pulls;              // (C, p) v
    std::vector<double> offsets;  // (C) what biases add to the loss
  };

  ClassVectors vectors(const Task& task) const {
    const State<const T>& state = task.state;
    ClassVectors out;
    out.pulls = Buffer<T>(classes * p);
    out.offsets.assign(classes, 0);
    std::vector<double> sum(p);
    double biases = 0;
    const bool regression = loss.kind == LossKind::dot_regression;
    for (Index c = 0; c < classes && !regression; c++) {
      for (Index j = 0; j < p; j++) sum[j] += static_cast<double>(state.prototypes(c, j));
      if (state.biases) biases += static_cast<double>(state.biases[c]);
    }
    for (Index c = 0; c < classes; c++) {
      double scale = 1;
      if (!loss.prototype_lengths.empty()) {
        const double length = norm(state.prototypes.row(c), p);
        if (length == 0) refuse_zero("prototypes", c);
        scale = loss.prototype_lengths[c] / length;
      }
      for (Index j = 0; j < p; j++) {
        const double w = static_cast<double>(state.prototypes(c, j));
        out.pulls[c * p + j] = static_cast<T>(regression ? scale * w : loss.gamma * sum[j] - (1 + loss.gamma) * w);
      }
      if (state.biases && !regression) {
        out.offsets[c] = loss.gamma * biases - (1 + loss.gamma) * static_cast<double>(state.biases[c]);
      }
    }
    return out;
  }

  Tally run_rows(const Task& task) {
    const ClassVectors all = vectors(task);
    std::vector<int32_t> labels(task.count);
    for (Index i = 0; i < task.count; i++) labels[i] = task.state.labels[task.sample(i)];
    const ByClass by_class(labels.data(), task.count, classes);
    const bool wanted = task.prototypes.data && loss.prototype_lengths.empty();
    const bool adjusts = loss.kind == LossKind::adjusted_margin;
    const Buffer<double> memory((1 + adjusts) * classes * p);
    const Matrix<double> sums{memory.get(), classes, p}, adjusted{memory.get() + classes * p, classes, p};
    const ClassRuns runs(by_class, sums);
    const ClassRuns adjusted_runs = adjusts ? ClassRuns(by_class, adjusted) : ClassRuns(ByClass(nullptr, 0, 0), {});
    tallies.assign(runs.list.size(), {});
    parallel_for(std::ssize(runs.list), runs.grain(), task.control, [&](Index begin, Index end) {
      const Buffer<T> scratch(2 * p);
      for (Index r = begin; r < end; r++) {
        const auto& run = runs.list[r];
        double* added = adjusts ? adjusted_runs.list[r].sum : nullptr;
        if (wanted) std::fill_n(run.sum, p, 0.0);
        if (added) std::fill_n(added, p, 0.0);
        for (Index k = run.begin; k < run.end; k++) {
          tallies[r].add(pull(task, all, run.label, by_class.order[k], wanted ? run.sum : nullptr, added, scratch));
        }
      }
    });
    Tally total;
    for (const Tally& tally : tallies) total.add(tally);
    if (wanted) {
      runs.combine(0, p);
      if (adjusts) adjusted_runs.combine(0, p);
      prototype_gradient(task, sums, adjusted);
    } else if (task.prototypes.data) {
      std::fill_n(task.prototypes.data, task.prototypes.size(), T(0));
    }
    if (task.biases) bias_gradient(task, by_class);
    return total;
  }

  // The sample i of the list, of class y: its loss, its gradient, and what it adds to the class sums.
  Tally pull(const Task& task, const ClassVectors& all, Index y, Index i, double* sum, double* adjusted,
             const Buffer<T>& scratch) const {
    const auto combine = LP_SELECT(combine_row<T>);
    const Index sample = task.sample(i);
    const T *h = task.state.features.row(sample), *v = &all.pulls[y * p];
    double cross = dot(h, v, p);
    const double length = norm(h, p), share = weight(y, task.count);
    if (length == 0 && (loss.normalized || loss.own_length)) refuse_zero("features", sample);
    const double scale = loss.normalized ? loss.radius / length : 1;

    double value, slope;  // ℓ, and ∂ℓ/∂u = slope v
    T* out = scratch.get();
    if (loss.kind == LossKind::dot_regression) {
      const double size = loss.own_length ? scale * length : 1;
      const double rest = scale * cross - loss.targets[y] * size;
      slope = loss.curvatures[y] / size * rest;
      value = slope * rest / 2;
    } else {
      slope = 1;
      value = scale * cross;
      if (adjusted && length > 0) {
        T* turned = scratch.get() + p;
        double along;
        if (adjust(task.state.prototypes.row(y), h, length, turned, &along)) {
          v = turned;
          value = scale * along;
          cross = along;
          combine(h, h, p, 0, 0, out, share * scale, adjusted);
        }
      }
    }
    // ∂/∂h = scale (1 − ĥĥᵀ) ∂/∂u where features are normalized.
    const double pulled = share * slope * scale;
    const double back = loss.normalized ? -pulled * (cross / length) / length : 0;
    const double coefficient = share * (loss.kind == LossKind::dot_regression ? slope : 1) * scale;
    if (sum || task.move) combine(h, v, p, back + 2 * loss.regularization, pulled, out, coefficient, sum);
    if (task.move) task.move(i, i + 1, out);
    Tally tally;
    tally.value = share * (value + all.offsets[y]);
    tally.squares = length * length;
    return tally;
  }

  // Where cos∠(w, h) < −1 + ε: v = −(1+γ)(w + δ) and vᵀh. w + δ has what w has along h, and aside of it so much that
  // the cosine is −1 + ε; at the cosine −1 any direction aside will do.
  bool adjust(const T* w, const T* h, double length_h, T* v, double* along_h) const {
    const double cross = dot(w, h, p), along = cross / length_h, length = norm(w, p), near = 1 - loss.epsilon;
    if (!(along < -near * length)) return false;
    std::vector<double> unit(p), aside(p);
    for (Index j = 0; j < p; j++) {
      unit[j] = static_cast<double>(h[j]) / length_h;
      aside[j] = static_cast<double>(w[j]) - along * unit[j];
    }
    double size = norm(aside.data(), p);
    const double rounding = std::numeric_limits<T>::epsilon() * 16;
    if (size <= rounding * length) orthogonal(unit.data(), p, aside.data()), size = 1;
    const double wanted = -along * std::sqrt(1 - near * near) / near / size;
    for (Index j = 0; j < p; j++) v[j] = static_cast<T>(-(1 + loss.gamma) * (along * unit[j] + wanted * aside[j]));
    *along_h = -(1 + loss.gamma) * cross;
    return true;
  }

  void prototype_gradient(const Task& task, Matrix<double> sums, Matrix<double> adjusted) const {
    const bool contrasts = loss.kind != LossKind::dot_regression;
    std::vector<double> total(p);  // γ times what the other classes get from all samples
    for (Index c = 0; c < classes && contrasts; c++) {
      for (Index j = 0; j < p; j++) {
        total[j] += loss.gamma * (sums(c, j) - (loss.kind == LossKind::adjusted_margin ? adjusted(c, j) : 0));
      }
    }
    for (Index c = 0; c < classes; c++) {
      for (Index j = 0; j < p; j++) {
        task.prototypes(c, j) = static_cast<T>(contrasts ? total[j] - (1 + loss.gamma) * sums(c, j) : sums(c, j));
      }
    }
  }

  void bias_gradient(const Task& task, const ByClass& by_class) const {
    std::vector<double> own(classes);
    double total = 0;
    for (Index c = 0; c < classes; c++) {
      own[c] = weight(c, task.count) * static_cast<double>(by_class.count(c));
      total += own[c];
    }
    for (Index c = 0; c < classes; c++) {
      const bool regression = loss.kind == LossKind::dot_regression;
      task.biases[c] = static_cast<T>(regression ? 0 : loss.gamma * total - (1 + loss.gamma) * own[c]);
    }
  }

  // Accuracy and margins of losses that need no logits: by those of the mean squares, which share them.
  Tally measure(const Task& task) {
    Loss plain;
    plain.kind = LossKind::mse;
    plain.normalized = loss.normalized;
    plain.radius = loss.radius;
    Workspace other(plain, samples, classes, p);
    const State<const T> state{task.state.features, task.state.prototypes,
                               loss.kind == LossKind::dot_regression ? nullptr : task.state.biases, task.state.labels};
    return other.run_dense({state, task.chosen, task.count, {}, nullptr, Move(), true, task.control});
  }
};

template <class T>
LossPass<T>::LossPass(const Loss& loss, Index samples, Index classes, Index p)
    : workspace_(std::make_unique<Workspace>(loss, samples, classes, p)) {}

template <class T>
LossPass<T>::~LossPass() = default;

template <class T>
LossSummary LossPass<T>::run(const State<const T>& state, const Index* chosen, Index count, Matrix<T> prototypes,
                             T* biases, const Move& move, bool measure, const Control& control) {
  return workspace_->run({state, chosen, count, prototypes, biases, move, measure, control});
}

template <class T>
LossSummary loss_and_gradient(const Loss& loss, const State<const T>& state, const State<T>& gradient, bool measure,
                              const Control& control) {
  const Index n = state.samples(), p = state.dim();
  LossPass<T> pass(loss, n, state.classes(), p);
  typename LossPass<T>::Move move;
  if (gradient.features.data) {
    move = [&](Index begin, Index end, const T* rows) {
      std::copy_n(rows, (end - begin) * p, gradient.features.row(begin));
    };
  }
  const LossSummary summary = pass.run(state, nullptr, n, gradient.prototypes, gradient.biases, move, measure, control);
  if (!std::isfinite(summary.value)) {
    check_finite(state.features, "features");
    check_finite(state.prototypes, "prototypes");
    if (state.biases) check_finite<T>({state.biases, state.classes(), 1}, "biases");
    throw Error("LP_OVERFLOW", "The loss of this state exceeds the range of its dtype; scale the state down.");
  }
  return summary;
}

template class LossPass<float>;
template class LossPass<double>;
template LossSummary loss_and_gradient(const Loss&, const State<const float>&, const State<float>&, bool,
                                       const Control&);
template LossSummary loss_and_gradient(const Loss&, const State<const double>&, const State<double>&, bool,
                                       const Control&);

}  // namespace lp
