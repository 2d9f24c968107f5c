// Accuracy and margins along a trajectory. With q the products of a sample with the modal rows x, y of the start, its
// logits at a time are, P the propagator of a row's group and r running over the modes between sizes,
//
//   z_c = P_wh q^x_c + P_ww q^y_c + Σ_r U_cr (P_wh q^x_r + P_ww q^y_r)
//
// without the factor p. A sample at a time is the rest's share of where it began plus its class's shift: the shifts'
// products come from the Gram matrix of the rows. What all classes of a sample share is left out, as it moves no
// margin. Blocks of samples serve all times of a batch, and their products are kept if there is room.
#pragma once

#include <vector>

#include "ops/exact/trajectory.h"

namespace lp {

struct LogitTime {
  Index place;  // in the columns
  Propagation at;
  double log;  // of the state's size
};

struct LogitColumns {
  double *accuracy, *min_margin, *mean_margin;  // any may be null
};

template <class T>
class Trajectory<T>::Logits {
 public:
  Logits(const Trajectory& of, const Control& control);

  void measure(const Trajectory& of, const std::vector<LogitTime>& times, const LogitColumns& columns,
               const Control& control) const;
  static Index times_at_once(Index classes);
  size_t bytes() const { return bytes_of(rows_, gram_, products_); }

 private:
  struct Weights;
  void fill(const Trajectory& of, Index block, double* out) const;

  Index width_;              // 2 (C + K)
  Buffer<double> rows_;      // (width, p) x above y
  Buffer<double> gram_;      // (width, width)
  Buffer<double> products_;  // (n, width), or empty where that is too large
};

}  // namespace lp
