// What is measured sample by sample along a trajectory. A sample is its class's mean and a residual r_i, which only
// decays: h_i = ρ r_i + μ_{y_i}. With q the products of r_i with the modal rows x, y of the start, its logits at a time
// are, P the propagator of a row's group and r running over the modes between sizes,
//
//   z_c = ρ (P_wh q^x_c + P_ww q^y_c + Σ_r U_cr (P_wh q^x_r + P_ww q^y_r)) + ⟨μ_{y_i}, w_c⟩
//
// without the factor p; the products of the means come from the Gram matrix of the rows. What all classes of a sample
// share is left out, as it moves no margin. Samples of one class go together, over the size e^log of their own logits;
// blocks of them serve all times of a batch, and their products are kept if there is room.
//
// A sample is nearest to the class whose ‖μ_c − μ_y‖² − 2 ρ r_i·(μ_c − μ_y) is smallest, over the size of the farthest
// mean that can be; ‖h_i − h̄‖² = ρ² ‖r_i‖² + 2 ρ r_i·M_y + ‖M_y‖².
#pragma once

#include <vector>

#include "ops/exact/classes.h"
#include "ops/exact/trajectory.h"

namespace lp {

template <class T>
class Trajectory<T>::Logits {
 public:
  Logits(const Trajectory& of, const Control& control);

  struct Time {
    Index place;  // in the columns
    Propagation at;
  };
  // `centres` may be left out where no class means are wanted.
  void measure(const Trajectory& of, const Classes* centres, const std::vector<Time>& times, const MeasureColumns& to,
               const Control& control) const;
  static Index times_at_once(Index classes);
  size_t bytes() const { return bytes_of(rows_, gram_, products_, lengths_, order_, blocks_); }

 private:
  // Samples of one class, by their places in `order_`.
  struct Block {
    Index label, begin, end;
  };
  struct Weights;
  struct Sums;
  void fill(const Trajectory& of, const Block& block, double* out) const;
  Index nearest(const Trajectory& of, const Weights& weights, const Block& block, Index i, const double* q) const;

  Index width_;  // 2 (C + K)
  std::vector<Index> order_;
  std::vector<Block> blocks_;
  Buffer<double> rows_;          // (width, p) x above y
  Buffer<double> gram_;          // (width, width)
  std::vector<double> lengths_;  // (width) of the rows
  Buffer<double> products_;      // (n, width) in order, or empty where that is too large
};

}  // namespace lp
