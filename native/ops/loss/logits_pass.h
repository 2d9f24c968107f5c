// The pass of losses that couple all classes: cross-entropy, mean squares, hinge. A tile of r samples at a time, with
// U (r, p) their features h, or r h/‖h‖ where these are normalized,
//
//   Z = U Wᵀ + 1bᵀ (r, C)     G = ∂L/∂Z, in the place of Z     ∂L/∂U = G W (r, p)     ∂L/∂W += Gᵀ U     ∂L/∂b += Gᵀ 1
//
// and ∂L/∂H from ∂L/∂U. Logits exist a tile or a block of tiles at a time, and samples may move as soon as nobody needs
// their features any more.
#pragma once

#include <vector>

#include "ops/loss/pass.h"

namespace lp {

template <class T>
class LogitsPass {
 public:
  // The loss must outlive the pass.
  LogitsPass(const Loss& loss, Index classes, Index p) : loss_(loss), classes_(classes), p_(p) {}

  LossTally run(const LossTask<T>& task);

  size_t bytes() const { return bytes_of(inputs_, logits_, slopes_, lengths_, prototype_sums_, bias_sums_, tallies_); }

 private:
  // A stretch of the samples, and where its numbers are.
  struct Tile {
    Index first, rows;  // of the task's list
    const T* u;         // (rows, p)
    T* copies;          // (rows, p) where u is not the features themselves, else null
    T* g;               // (rows, C) Z, then G
    T* slopes;          // (rows, p) ∂L/∂U, then ∂L/∂H; null where nobody wants it
    double* lengths;    // (rows) ‖h‖, where anything asks for it
  };

  LossTally run_wide(const LossTask<T>& task);
  LossTally run_thin(const LossTask<T>& task);
  void reserve(const LossTask<T>& task, Index rows, Index bias_lanes);
  Tile tile_at(const LossTask<T>& task, Index first, Index rows, Index at) const;

  LossTally make_tile(const LossTask<T>& task, const Tile& tile) const;
  void enter(const LossTask<T>& task, const Tile& tile) const;
  LossTally differentiate(const LossTask<T>& task, const Tile& tile) const;
  void leave(const LossTask<T>& task, const Tile& tile) const;
  void add_products(const LossTask<T>& task, Index first, Index count, const T* u) const;
  void add_lanes(const LossTask<T>& task, Index lanes) const;

  bool copies(const LossTask<T>& task) const { return loss_.normalized || task.chosen; }

  const Loss& loss_;
  const Index classes_, p_;
  // Memory that is kept from one run to the next.
  Buffer<T> inputs_, logits_, slopes_;
  Buffer<double> lengths_;
  Buffer<T> prototype_sums_;  // (lanes, C, p)
  Buffer<double> bias_sums_;  // (lanes, C)
  std::vector<LossTally> tallies_;
};

}  // namespace lp
