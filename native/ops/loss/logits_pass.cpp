#include "ops/loss/logits_pass.h"

#include <algorithm>
#include <bit>

#include "core/blas/blas.h"
#include "core/thread_pool.h"
#include "core/vector.h"

namespace lp {
namespace {

// Logits of a block: enough rows that adding its part to the gradient of the prototypes is little beside computing it.
constexpr Index kBlockLogits = 1 << 22, kLeastRows = 512;
// Rows whose logits one thread makes and turns into gradients while they stay in its cache.
constexpr Index kTile = 256;
// The part of the gradient of the prototypes that one thread makes at a time.
constexpr Index kPartClasses = 256, kPartColumns = 256;
// Prototypes of at most this size have their gradient made in so many lanes at once; numbers of a tile of one.
constexpr Index kThin = 1 << 16, kLanes = 16, kThinTile = 1 << 17, kLeastThinRows = 32;

template <class U>
void grow(Buffer<U>& buffer, Index size) {
  if (buffer.size() < size) buffer = Buffer<U>(size);
}

}  // namespace

template <class T>
LossTally LogitsPass<T>::run(const LossTask<T>& task) {
  return classes_ * p_ <= kThin ? run_thin(task) : run_wide(task);
}

// ---- the order of the work ------------------------------------------------------------------------------------------

// Many prototypes: G of a block of tiles, then its part of ∂L/∂W, whose parts the threads own, then the moves.
template <class T>
LossTally LogitsPass<T>::run_wide(const LossTask<T>& task) {
  const Index rows = std::min(task.count, std::max(kLeastRows, kBlockLogits / classes_));
  reserve(task, rows, 1);
  tallies_.assign(divide_up(rows, kTile), {});

  LossTally total;
  for (Index first = 0; first < task.count; first += rows) {
    const Index count = std::min(rows, task.count - first), tiles = divide_up(count, kTile);
    const auto tile_of = [&](Index k) {
      return tile_at(task, first + k * kTile, std::min(kTile, count - k * kTile), k * kTile);
    };
    parallel_for(tiles, 1, task.control, [&](Index k, Index) { tallies_[k] = make_tile(task, tile_of(k)); });
    for (Index k = 0; k < tiles; k++) total.add(tallies_[k]);
    add_products(task, first, count, tile_of(0).u);
    if (!task.move) continue;
    parallel_for(tiles, 1, task.control, [&](Index k, Index) {
      const Tile tile = tile_of(k);
      task.move(tile.first, tile.first + tile.rows, tile.slopes);
    });
  }
  for (Index c = 0; c < classes_ && task.biases; c++) task.biases[c] = static_cast<T>(bias_sums_[c]);
  return total;
}

// Few prototypes: a tile is done with while it is in the cache, and its parts of ∂L/∂W and ∂L/∂b are added to those of
// its lane. The lanes follow from the number of samples, so their sum is the same on any number of threads.
template <class T>
LossTally LogitsPass<T>::run_thin(const LossTask<T>& task) {
  const Index most = std::clamp(kThinTile / (classes_ + p_), kLeastThinRows, kTile);
  Index tiles = divide_up(task.count, most);
  if (tiles < kLanes) tiles = static_cast<Index>(std::bit_ceil(static_cast<uint64_t>(tiles)));
  const Index lanes = std::min(tiles, kLanes), rows = divide_up(task.count, tiles), size = classes_ * p_;
  reserve(task, lanes * rows, lanes);
  if (task.prototypes.data) grow(prototype_sums_, lanes * size);
  tallies_.assign(lanes, {});

  parallel_for(lanes, 1, task.control, [&](Index lane, Index) {
    const Index begin = tiles * lane / lanes, end = tiles * (lane + 1) / lanes;
    for (Index k = begin; k < end; k++) {
      const Index first = std::min(task.count, k * rows), count = std::min(rows, task.count - first);
      if (count == 0 && k > begin) break;
      task.control.poll();
      const Tile tile = tile_at(task, first, count, lane * rows);
      tallies_[lane].add(make_tile(task, tile));
      if (task.prototypes.data) {  // of the lane, (C, p) = Gᵀ U, and += from its second tile on
        T* sum = prototype_sums_.get() + lane * size;
        if (count == 0) std::fill_n(sum, size, T(0));
        blas::gemm<T>(true, false, classes_, p_, count, 1, tile.g, classes_, tile.u, p_, k > begin, sum, p_);
      }
      if (task.biases) LP_SELECT(add_rows<T>)(tile.g, count, classes_, bias_sums_.get() + lane * classes_);
      if (task.move) task.move(first, first + count, tile.slopes);
    }
  });
  add_lanes(task, lanes);

  LossTally total;
  for (const LossTally& tally : tallies_) total.add(tally);
  return total;
}

// Makes room for the numbers of `rows` samples; the sums of ∂L/∂b are zero.
template <class T>
void LogitsPass<T>::reserve(const LossTask<T>& task, Index rows, Index bias_lanes) {
  if (copies(task)) grow(inputs_, rows * p_);
  grow(logits_, rows * classes_);
  if (task.move) grow(slopes_, rows * p_);
  grow(lengths_, rows);
  if (!task.biases) return;
  grow(bias_sums_, bias_lanes * classes_);
  std::fill_n(bias_sums_.get(), bias_lanes * classes_, 0.0);
}

// The samples first … first + rows − 1 of a task, with their numbers from row `at` of the memory on.
template <class T>
typename LogitsPass<T>::Tile LogitsPass<T>::tile_at(const LossTask<T>& task, Index first, Index rows, Index at) const {
  T* copy = copies(task) ? inputs_.get() + at * p_ : nullptr;
  return {first,
          rows,
          copy ? copy : task.state.features.row(first),
          copy,
          logits_.get() + at * classes_,
          task.move ? slopes_.get() + at * p_ : nullptr,
          lengths_.get() + at};
}

// ---- a tile ---------------------------------------------------------------------------------------------------------

// From features to G, and to ∂L/∂H where it is wanted.
template <class T>
LossTally LogitsPass<T>::make_tile(const LossTask<T>& task, const Tile& tile) const {
  if (tile.rows == 0) return {};
  const T* w = task.state.prototypes.data;
  enter(task, tile);
  // Z (rows, C) = U Wᵀ, yet without biases
  blas::gemm<T>(false, true, tile.rows, classes_, p_, 1, tile.u, p_, w, p_, 0, tile.g, classes_);
  const LossTally tally = differentiate(task, tile);
  if (tile.slopes) {
    // ∂L/∂U (rows, p) = G W
    blas::gemm<T>(false, false, tile.rows, p_, classes_, 1, tile.g, classes_, w, p_, 0, tile.slopes, p_);
    leave(task, tile);
  }
  return tally;
}

// ‖h‖, and u = r h/‖h‖ or a copy of h.
template <class T>
void LogitsPass<T>::enter(const LossTask<T>& task, const Tile& tile) const {
  const auto combine = LP_SELECT(combine_row<T>);
  for (Index i = 0; i < tile.rows; i++) {
    const T* h = task.features(tile.first + i);
    if (loss_.normalized || loss_.regularization != 0) tile.lengths[i] = norm(h, p_);
    if (!tile.copies) continue;
    if (loss_.normalized && tile.lengths[i] == 0) refuse_zero("features", task.sample(tile.first + i));
    const double scale = loss_.normalized ? loss_.radius / tile.lengths[i] : 1;
    combine(h, h, p_, scale, 0, tile.copies + i * p_, 0, nullptr);
  }
}

// Z to G, and what the logits are worth.
template <class T>
LossTally LogitsPass<T>::differentiate(const LossTask<T>& task, const Tile& tile) const {
  const auto transform = LP_SELECT(transform_row<T>);
  const RowLoss row{loss_.kind == LossKind::mse     ? RowLoss::mse
                    : loss_.kind == LossKind::hinge ? RowLoss::hinge
                                                    : RowLoss::cross_entropy,
                    loss_.smoothing, loss_.margin};
  LossTally tally;
  for (Index i = 0; i < tile.rows; i++) {
    const Index sample = task.sample(tile.first + i), y = task.state.labels[sample];
    const double* soft = loss_.soft_labels.empty() ? nullptr : loss_.soft_labels.data() + sample * classes_;
    const double weight = sample_weight(loss_, y, task.count);
    const RowResult result = transform(row, tile.g + i * classes_, classes_, y, task.state.biases, soft, weight);
    tally.value += weight * result.value;
    tally.decisions.add(result.decision);
    if (loss_.regularization != 0) tally.squares += tile.lengths[i] * tile.lengths[i];
  }
  return tally;
}

// ∂L/∂h from d = ∂L/∂u: itself, or (r/‖h‖) (d − û ûᵀd) where features are normalized; and 2ρ h.
template <class T>
void LogitsPass<T>::leave(const LossTask<T>& task, const Tile& tile) const {
  const auto combine = LP_SELECT(combine_row<T>);
  for (Index i = 0; i < tile.rows; i++) {
    T* d = tile.slopes + i * p_;
    if (loss_.normalized) {
      const T* u = tile.u + i * p_;
      const double scale = loss_.radius / tile.lengths[i];
      combine(d, u, p_, scale, -scale * dot(u, d, p_) / (loss_.radius * loss_.radius), d, 0, nullptr);
    }
    if (loss_.regularization != 0) {
      combine(d, task.features(tile.first + i), p_, 1, 2 * loss_.regularization, d, 0, nullptr);
    }
  }
}

// ---- gradients of the prototypes and biases -------------------------------------------------------------------------

// Adds the part of a block: ∂L/∂W += Gᵀ U and ∂L/∂b += Gᵀ 1. Each thread owns its part of the result.
template <class T>
void LogitsPass<T>::add_products(const LossTask<T>& task, Index first, Index count, const T* u) const {
  const Index parts = divide_up(classes_, kPartClasses), columns = divide_up(p_, kPartColumns);
  const T* g = logits_.get();
  const Index matrix_tasks = task.prototypes.data ? parts * columns : 0, bias_tasks = task.biases ? 1 : 0;
  parallel_for(matrix_tasks + bias_tasks, 1, task.control, [&](Index k, Index) {
    if (k == matrix_tasks) return LP_SELECT(add_rows<T>)(g, count, classes_, bias_sums_.get());
    const Index c = k / columns * kPartClasses, j = k % columns * kPartColumns;
    blas::gemm<T>(true, false, std::min(kPartClasses, classes_ - c), std::min(kPartColumns, p_ - j), count, 1, g + c,
                  classes_, u + j, p_, first > 0, task.prototypes.row(c) + j, p_);
  });
}

// ∂L/∂W and ∂L/∂b as the sums over the lanes, in their order.
template <class T>
void LogitsPass<T>::add_lanes(const LossTask<T>& task, Index lanes) const {
  const Index size = classes_ * p_;
  if (task.prototypes.data) {
    parallel_for(size, 1 << 14, task.control, [&](Index begin, Index end) {
      T* sum = task.prototypes.data;
      std::copy(prototype_sums_.get() + begin, prototype_sums_.get() + end, sum + begin);
      for (Index lane = 1; lane < lanes; lane++) {
        const T* part = prototype_sums_.get() + lane * size;
        for (Index k = begin; k < end; k++) sum[k] += part[k];
      }
    });
  }
  for (Index c = 0; c < classes_ && task.biases; c++) {
    double sum = 0;
    for (Index lane = 0; lane < lanes; lane++) sum += bias_sums_[lane * classes_ + c];
    task.biases[c] = static_cast<T>(sum);
  }
}

template class LogitsPass<float>;
template class LogitsPass<double>;

}  // namespace lp
