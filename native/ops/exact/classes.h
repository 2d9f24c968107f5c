// Measures of neural collapse along a trajectory (src/collapse/measures.ts has their formulas), from its modes: what a
// state in any dtype has lost, since its parts differ by more than the digits there are, is there still.
//
// With x_r, y_r the modal rows of the start and P the propagator of a row's group, class means, centred class means and
// prototypes, centred or not, are each
//
//   a_c = Σ_r α_cr (P_hh x_r + P_hw y_r)    or    Σ_r β_cr (P_wh x_r + P_ww y_r)
//
// over the row r = c within the class's size and the rows between sizes; centring subtracts from the latter's factors
// alone, since what is within a size has the mean zero. Every row is kept over its own length, whose logarithm stands
// beside it (`Graded`), and so are differences of rows: nothing under- or overflows, however late. A row in which more
// than the digits of a double cancel is NaN.
//
//   a/‖a‖ − b/‖b‖   where they agree: from d = a − κ b, κ = P_hw/P_ww of the leading row, whose share of d is
//                   (det P/P_ww) x, since h − (P_hw/P_ww) w = (det P/P_ww) x for (h, w) = P (x, y)
//   tr(Σ_W Σ_B⁺)    from C − 1 rows Z = D L Q that span the centred means orthonormally (ZᵀZ = MᵀM), D their sizes, L
//                   lower triangular, Q orthonormal: pivoted Gram–Schmidt of rows over their lengths, so that no part
//                   is rounded against a larger one
//
// All vectors are in coordinates (m) of an orthonormal basis of the modal rows, m ≤ min(p, 2 (C + K)).
#pragma once

#include <array>
#include <vector>

#include "ops/exact/trajectory.h"

namespace lp {

// Rows (count, cols) over their own lengths, and the logarithms of these; of a zero row −∞, of one that is lost NaN.
struct Graded {
  Graded(Index count, Index cols) : cols(cols), values(count * cols), log(count) {}
  double* row(Index i) const { return values.get() + i * cols; }

  Index cols;
  Buffer<double> values;
  std::vector<double> log;
};

template <class T>
class Trajectory<T>::Classes {
 public:
  Classes(const Trajectory& of, const Control& control);

  // to[measure][place] of those that are wanted and need no look at the samples.
  void measure(const Trajectory& of, const Propagation& at, const MeasureColumns& to, Index place,
               const Control& control) const;
  // M (C, m)
  Graded centred_means(const Trajectory& of, const Propagation& at) const;
  // log ‖μ_c − μ_d‖, (C, C)
  std::vector<double> distances(const Trajectory& of, const Propagation& at, const Graded& means) const;
  // Factors of the modal row between sizes k in a class of size s, (K, K): of means, and of centred means.
  double mean_factor(Index s, Index k) const { return mean_factor_[s * sizes_ + k]; }
  double centred_factor(Index s, Index k) const { return centred_factor_[s * sizes_ + k]; }

  size_t bytes() const;

 private:
  struct Term;
  struct Part;
  enum class Of { means, prototypes };

  void combine(const std::vector<Term>& terms, double* out, double& log) const;
  void add(std::vector<Term>& terms, const Trajectory& of, const Propagation& at, Of side, Index r,
           double factor) const;
  std::vector<Part> parts(const Modes& modes, Index c, bool centred) const;
  Graded rows(const Trajectory& of, const Propagation& at, Of side, bool centred) const;
  // κ, and how it is made, from the part of the prototypes that leads.
  struct Lead;
  Lead lead(const Trajectory& of, const Propagation& at, const Part& part) const;
  // a_c − κ b_c of class c
  void difference(const Trajectory& of, const Propagation& at, Index c, bool centred, double kappa, double* out,
                  double& log) const;
  double duality(const Trajectory& of, const Propagation& at, const Graded& means, const Graded& centred) const;
  double frobenius(const Trajectory& of, const Propagation& at, const Graded& means, const Graded& prototypes) const;
  double length_variation(const Trajectory& of, const Propagation& at, const Graded& prototypes,
                          const Graded& centred) const;
  double whitened_trace(const Trajectory& of, const Propagation& at, const Control& control) const;

  Index sizes_ = 0, cols_ = 0;
  Buffer<double> x_, y_;                 // (C + K, m)
  std::vector<double> x_size_, y_size_;  // (C + K) lengths
  Buffer<double> spread_;                // (m, m) (1/n) Σ_i r_i r_iᵀ of the start's residuals
  std::vector<double> mean_factor_, centred_factor_, centred_prototype_factor_;  // (K, K)
  // (C − K, m) contrasts of the modal rows within each size, orthonormal ones.
  Buffer<double> x_contrasts_, y_contrasts_;
  std::vector<Index> contrast_size_;  // (C − K)
};

}  // namespace lp
