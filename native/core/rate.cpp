#include "core/rate.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace lp {
namespace {

double position(const double* piece, double t) {
  return std::clamp(2 * (t - piece[0]) / (piece[1] - piece[0]) - 1, -1.0, 1.0);
}

// Σ_j c(j) T_j(x), j < terms
template <class Coefficient>
double clenshaw(double x, Index terms, Coefficient c) {
  double b1 = 0, b2 = 0;
  for (Index j = terms - 1; j > 0; j--) b2 = std::exchange(b1, 2 * x * b1 - b2 + c(j));
  return x * b1 - b2 + c(0);
}

}  // namespace

Rate::Rate(std::vector<double> packed) : packed_(std::move(packed)) {
  const bool whole = packed_.size() % kPieceSize == 0 && !packed_.empty() && packed_[0] == 0;
  if (!whole) throw Error("LP_SHAPE", "A rate must come in whole pieces from time 0 on.");
}

const double* Rate::find(double t) const {
  Index low = 0, high = pieces() - 1;
  while (low < high) {
    const Index middle = (low + high + 1) / 2;
    if (start(middle) <= t)
      low = middle;
    else
      high = middle - 1;
  }
  return piece(low);
}

double Rate::value(double t) const {
  const double* at = find(t);
  return clenshaw(position(at, t), kTerms, [c = at + 3](Index j) { return c[j]; });
}

// ∫ T_j = ½ (T_{j+1}/(j+1) − T_{j−1}/(j−1)); the constant makes the integral ζ(start) at the start.
double Rate::integral(double t) const {
  const double* at = find(t);
  const auto c = [=](Index j) { return j < kTerms ? at[3 + j] : 0.0; };
  const auto term = [=](Index j) { return j == 0 ? 0.0 : ((j == 1 ? 2 * c(0) : c(j - 1)) - c(j + 1)) / (2 * j); };
  const double rise = clenshaw(position(at, t), kTerms + 1, term) - clenshaw(-1.0, kTerms + 1, term);
  return at[2] + (at[1] - at[0]) / 2 * rise;
}

// T_{j+1} = 2 x T_j − T_{j−1} on polynomials in s, x = start + slope s. Their coefficients grow like 6^j, but those of
// a series that is resolved fall faster.
void Rate::powers(double from, double length, double* out) const {
  const double* at = find(from);
  const double start = position(at, from), slope = 2 * length / (at[1] - at[0]);
  double before[kTerms] = {1}, now[kTerms] = {start, slope};
  for (Index i = 0; i < kTerms; i++) out[i] = at[3] * before[i] + at[4] * now[i];
  for (Index j = 2; j < kTerms; j++) {
    double next[kTerms];
    for (Index i = 0; i < kTerms; i++) next[i] = 2 * (start * now[i] + (i > 0 ? slope * now[i - 1] : 0)) - before[i];
    for (Index i = 0; i < kTerms; i++) {
      before[i] = now[i];
      now[i] = next[i];
      out[i] += at[3 + j] * now[i];
    }
  }
}

}  // namespace lp
