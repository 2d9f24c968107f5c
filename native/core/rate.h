// A rate η(t) of a flow and its integral ζ(t) = ∫₀ᵗ η, as Chebyshev series on consecutive pieces of time.
//
// src/dynamics/rates.ts packs them, a piece in kPieceSize numbers: start, end, ζ(start), c_0 … c_15, with
// η(t) = Σ_j c_j T_j(x), x running over [−1, 1] on the piece. Pieces begin where the rate or its slope jumps.
#pragma once

#include <vector>

#include "core/array.h"

namespace lp {

class Rate {
 public:
  // Throws LP_SHAPE unless `packed` holds whole pieces, the first of which starts at 0.
  explicit Rate(std::vector<double> packed);

  // At an end between two pieces, the value of the later one. Times beyond the last end are taken as that end.
  double value(double t) const;
  double integral(double t) const;

  // On from + s length, s = 0 … 1, inside the piece of `from`: η = Σ_j out_j s^j, kTerms numbers.
  void powers(double from, double length, double* out) const;

  size_t bytes() const { return bytes_of(packed_); }
  double horizon() const { return packed_.empty() ? 0 : piece(pieces() - 1)[1]; }
  Index pieces() const { return static_cast<Index>(packed_.size()) / kPieceSize; }
  double start(Index i) const { return piece(i)[0]; }

  static constexpr Index kTerms = 16;
  static constexpr Index kPieceSize = 3 + kTerms;

 private:
  const double* piece(Index i) const { return packed_.data() + i * kPieceSize; }
  const double* find(double t) const;

  std::vector<double> packed_;
};

}  // namespace lp
