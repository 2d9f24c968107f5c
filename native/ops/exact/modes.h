// Singular modes of the unhinged loss. Under −∂L/∂H = MᵀW, −∂L/∂W = M H (UL Eq. 5), M = ((1+γ) Y − γ 11ᵀ)/n, only the
// class sums of the features couple: with ĥ_c = S_c/√n_c the model is the one of the reduced C×C matrix
//
//   M̂ = ((1+γ) diag(√n_c) − γ 1 √nᵀ)/n = U Σ Vᵀ,    h_k = v_kᵀ ĥ,  w_k = u_kᵀ W,    each (h_k, w_k) moving by itself.
//
// Classes of equal size can be exchanged, which leaves no factorization of M̂ to do but a small one. Let there be K
// different sizes, C_s classes of size n_s (balanced: K = 1):
//
//   within a size   differences between its classes, C_s − 1 of them: u = v, σ = (1+γ)√n_s/n
//   between sizes   K modes constant on every size: the singular triples of the K×K matrix
//                   ((1+γ) diag(√n_s) − γ √C_s √(C_s n_s)ᵀ)/n
//
// Balanced these are E1^± with σ = (1+γ)/(C√N), and E2^± with the signed σ = (1+γ−γC)/(C√N) (UL Eq. 8, Lemmas 13–17).
//
// Modal rows (C + K, p): rows 0 … C−1 hold a class minus the mean over its size, row C + k the k-th mode between sizes.
// They are an isometry of (C, p). Group g < K is what happens within size g, group K + k the k-th mode between.
#pragma once

#include <vector>

#include "core/array.h"

namespace lp {

enum class Side { features, prototypes };  // which of v_k, u_k

class Modes {
 public:
  Modes(const std::vector<Index>& counts, double gamma);

  Index classes() const { return static_cast<Index>(size_of.size()); }
  Index sizes() const { return static_cast<Index>(counts.size()); }
  Index rows() const { return classes() + sizes(); }
  Index groups() const { return 2 * sizes(); }
  Index group_of(Index row) const { return row < classes() ? size_of[row] : sizes() + row - classes(); }

  // (C, p) → (C + K, p) and back; ĥ for the features, W for the prototypes. `from_rows` takes the rows apart in place:
  // the first C of them become the classes.
  void to_rows(Side side, Matrix<const double> classes, Matrix<double> rows) const;
  void from_rows(Side side, Matrix<double> rows) const;

  std::vector<double> sigma;   // (2K) of each group
  std::vector<Index> counts;   // (K) samples of a class of each size, ascending
  std::vector<Index> members;  // (K) classes of each size
  std::vector<Index> size_of;  // (C)

  // (K, K), row s, column k: v_k or u_k on a class of size s.
  const std::vector<double>& between(Side side) const { return side == Side::features ? v_ : u_; }

 private:
  std::vector<double> u_, v_;
};

}  // namespace lp
