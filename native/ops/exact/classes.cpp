#include "ops/exact/classes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/blas/blas.h"
#include "core/thread_pool.h"
#include "core/vector.h"

namespace lp {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
// A vector shorter than this share of what it is a difference of has no more than three digits left, and is lost.
constexpr double kLost = 1e4 * kEpsilon;
// Directions closer than this are told apart by what they do not share; where that is not known (det P is not), by
// their difference, up to where it has lost its digits.
constexpr double kClose = 1e-3, kClosest = 1e-10;

// log Σ e^l
double log_sum(const std::vector<double>& logs) {
  double most = -kInfinity, sum = 0;
  for (const double log : logs) {
    if (std::isnan(log)) return kNaN;
    most = std::max(most, log);
  }
  if (!std::isfinite(most)) return most;
  for (const double log : logs) sum += std::exp(log - most);
  return most + std::log(sum);
}

double log_of(double x) { return std::log(std::abs(x)); }

// std/mean of e^l.
double variation(const std::vector<double>& logs) {
  const double most = *std::max_element(logs.begin(), logs.end()), size = std::ssize(logs);
  double mean = 0, square = 0;
  for (const double log : logs) mean += std::exp(log - most) / size;
  for (const double log : logs) square += std::pow(std::exp(log - most) - mean, 2);
  return std::sqrt(square / size) / mean;
}

double cosine(const Graded& a, Index i, const Graded& b, Index j) {
  return std::isfinite(a.log[i]) && std::isfinite(b.log[j]) ? dot(a.row(i), b.row(j), a.cols) : kNaN;
}

// a bᵀ of the rows, or of the rows over the longest.
Buffer<double> products(const Graded& a, const Graded& b, bool sized) {
  const auto sizes = [&](const Graded& x) {
    Buffer<double> out(x.values.size());
    const double most = *std::max_element(x.log.begin(), x.log.end());
    for (Index i = 0; i < out.size(); i++) out[i] = x.values[i] * (sized ? std::exp(x.log[i / x.cols] - most) : 1);
    return out;
  };
  const Index rows = std::ssize(a.log), cols = std::ssize(b.log);
  const Buffer<double> left = sizes(a), right = sizes(b);
  Buffer<double> out(rows * cols);
  blas::gemm<double>(false, true, rows, cols, a.cols, 1, left.get(), a.cols, right.get(), a.cols, 0, out.get(), cols);
  return out;
}

// mean_{c<d} |cos + 1/(C−1)|
double simplex_cosine(const Graded& x) {
  const Index classes = std::ssize(x.log);
  if (std::any_of(x.log.begin(), x.log.end(), [](double log) { return !std::isfinite(log); })) return kNaN;
  const Buffer<double> cosines = products(x, x, false);
  double sum = 0;
  for (Index c = 0; c < classes; c++)
    for (Index d = c + 1; d < classes; d++) sum += std::abs(cosines[c * classes + d] + 1.0 / (classes - 1));
  return sum / (classes * (classes - 1) / 2);
}

// ‖X/‖X‖ − (I − 11ᵀ/C)/√(C−1)‖_F of X = a bᵀ.
double simplex_distance(const Graded& a, const Graded& b) {
  const Index classes = std::ssize(a.log);
  const Buffer<double> x = products(a, b, true);
  const double length = norm(x.get(), x.size()), scale = 1 / std::sqrt(classes - 1.0);
  double square = 0;
  for (Index c = 0; c < classes; c++)
    for (Index d = 0; d < classes; d++)
      square += std::pow(x[c * classes + d] / length - scale * ((c == d) - 1.0 / classes), 2);
  return std::sqrt(square);
}

// log ‖â − b̂‖ of b = a − d, where d is short beside a: ‖a‖, ‖d‖ by their logarithms, `along` = â·d̂.
double log_turn(double log_a, double log_d, double along) {
  if (log_d == -kInfinity) return -kInfinity;
  const double relative = std::exp(log_d - log_a), across = std::sqrt(std::max(0.0, 1 - along * along));
  const double length = std::sqrt(std::pow(1 - relative * along, 2) + std::pow(relative * across, 2));  // ‖b‖/‖a‖
  const double cosine = (1 - relative * along) / length;
  return log_d - log_a + std::log(across / length * std::sqrt(2 / (1 + cosine)));
}

}  // namespace

// factor · vector · e^log
template <class T>
struct Trajectory<T>::Classes::Term {
  const double* vector;
  double size;  // ‖vector‖
  double factor, log;
};

// The modal row r in a class, with its factors in centred means and prototypes.
template <class T>
struct Trajectory<T>::Classes::Part {
  Index row;
  double mean, prototype;
};

template <class T>
struct Trajectory<T>::Classes::Lead {
  double log;    // of the part's size
  double ratio;  // h − ratio w = rest · (x or y)
  const double* vector;
  double size, rest, rest_log;
};

template <class T>
Trajectory<T>::Classes::Classes(const Trajectory& of, const Control& control) : sizes_(of.modes_.sizes()) {
  const Modes& modes = of.modes_;
  const Index rows = modes.rows(), p = of.start_.dim, n = of.start_.samples(), width = 2 * rows;
  const auto modal = [&](Index i) { return i < rows ? &of.x_[i * p] : &of.y_[(i - rows) * p]; };

  // An orthonormal basis (m, p) of the modal rows: all of it where they are as many as dimensions.
  Buffer<double> basis;
  cols_ = p;
  if (width < p) {
    basis = Buffer<double>(width * p);
    cols_ = 0;
    for (Index i = 0; i < width; i++) {
      control.poll();
      double* row = &basis[cols_ * p];
      const double size = norm(modal(i), p);
      if (size == 0) continue;
      for (Index j = 0; j < p; j++) row[j] = modal(i)[j] / size;
      for (int pass = 0; pass < 2; pass++) {
        for (Index k = 0; k < cols_; k++) {
          const double along = dot(row, &basis[k * p], p);
          for (Index j = 0; j < p; j++) row[j] -= along * basis[k * p + j];
        }
      }
      const double left = norm(row, p);
      if (left < 1e-14) continue;
      for (Index j = 0; j < p; j++) row[j] /= left;
      cols_++;
    }
  }
  const auto coordinates = [&](const double* from, Index count, double* to) {
    if (basis.size() == 0)
      std::copy_n(from, count * p, to);
    else
      blas::gemm<double>(false, true, count, cols_, p, 1, from, p, basis.get(), p, 0, to, cols_);
  };
  x_ = Buffer<double>(rows * cols_);
  y_ = Buffer<double>(rows * cols_);
  coordinates(of.x_.get(), rows, x_.get());
  coordinates(of.y_.get(), rows, y_.get());
  for (Index r = 0; r < rows; r++) {
    x_size_.push_back(norm(&x_[r * cols_], cols_));
    y_size_.push_back(norm(&y_[r * cols_], cols_));
  }

  // (m, m) from blocks of residuals, in order.
  spread_ = Buffer<double>(cols_ * cols_);
  std::fill(spread_.begin(), spread_.end(), 0.0);
  constexpr Index kBlock = 256;
  const Buffer<double> residuals(kBlock * p), reduced(kBlock * cols_);
  for (Index first = 0; first < n && of.origin_.rest > 0 && cols_ > 0; first += kBlock) {
    control.poll();
    const Index count = std::min(kBlock, n - first);
    for (Index i = 0; i < count; i++) of.residual(first + i, &residuals[i * p]);
    coordinates(residuals.get(), count, reduced.get());
    blas::syrk<double>(cols_, count, 1.0 / static_cast<double>(n), reduced.get(), cols_, 1, spread_.get(), cols_);
  }
  for (Index i = 0; i < cols_; i++)
    for (Index j = 0; j < i; j++) spread_[j * cols_ + i] = spread_[i * cols_ + j];

  // Differences first: with one size the centred factors are zero to the last bit.
  const auto &v = modes.between(Side::features), &u = modes.between(Side::prototypes);
  const double classes = static_cast<double>(modes.classes());
  const auto root = [&](Index s) { return std::sqrt(static_cast<double>(std::max<Index>(modes.counts[s], 1))); };
  for (Index s = 0; s < sizes_; s++) {
    for (Index k = 0; k < sizes_; k++) {
      double of_mean = 0, of_prototype = 0;
      for (Index t = 0; t < sizes_; t++) {
        const double share = static_cast<double>(modes.members[t]) / classes;
        of_mean += share * (v[s * sizes_ + k] / root(s) - v[t * sizes_ + k] / root(t));
        of_prototype += share * (u[s * sizes_ + k] - u[t * sizes_ + k]);
      }
      mean_factor_.push_back(v[s * sizes_ + k] / root(s));
      centred_factor_.push_back(of_mean);
      centred_prototype_factor_.push_back(of_prototype);
    }
  }

  // Of each size with classes c_1 … c_k: (c_1 + … + c_j − j c_{j+1})/√(j (j+1)).
  std::vector<std::vector<Index>> of_size(sizes_);
  for (Index c = 0; c < modes.classes(); c++) of_size[modes.size_of[c]].push_back(c);
  const Index contrasts = modes.classes() - sizes_;
  x_contrasts_ = Buffer<double>(contrasts * cols_);
  y_contrasts_ = Buffer<double>(contrasts * cols_);
  std::vector<double> x_sum(cols_), y_sum(cols_);
  for (Index s = 0; s < sizes_; s++) {
    std::fill(x_sum.begin(), x_sum.end(), 0.0);
    std::fill(y_sum.begin(), y_sum.end(), 0.0);
    for (Index j = 1; j < std::ssize(of_size[s]); j++) {
      const Index before = of_size[s][j - 1] * cols_, next = of_size[s][j] * cols_, at = contrast_size_.size() * cols_;
      const double count = static_cast<double>(j), scale = 1 / std::sqrt(count * (count + 1));
      for (Index i = 0; i < cols_; i++) {
        x_sum[i] += x_[before + i];
        y_sum[i] += y_[before + i];
        x_contrasts_[at + i] = scale * (x_sum[i] - count * x_[next + i]);
        y_contrasts_[at + i] = scale * (y_sum[i] - count * y_[next + i]);
      }
      contrast_size_.push_back(s);
    }
  }
}

template <class T>
void Trajectory<T>::Classes::combine(const std::vector<Term>& terms, double* out, double& log) const {
  std::fill_n(out, cols_, 0.0);
  double most = -kInfinity, total = 0, growth = 0;
  for (const Term& term : terms) {
    if (term.factor == 0 || term.size == 0) continue;
    most = std::max(most, term.log + log_of(term.factor) + std::log(term.size));
    growth = std::max(growth, std::abs(term.log));  // e^log is right to |log| roundings
  }
  log = most;
  if (!std::isfinite(most)) return;
  for (const Term& term : terms) {
    if (term.factor == 0 || term.size == 0) continue;
    const double share = std::exp(term.log + log_of(term.factor) + std::log(term.size) - most);
    const double weight = std::copysign(share / term.size, term.factor);
    for (Index j = 0; j < cols_; j++) out[j] += weight * term.vector[j];
    total += share;
  }
  const double length = norm(out, cols_);
  log = length == 0 ? -kInfinity : length < kLost * (1 + growth / 8) * total ? kNaN : most + std::log(length);
  for (Index j = 0; j < cols_; j++) out[j] = length == 0 ? 0 : std::isnan(log) ? kNaN : out[j] / length;
}

template <class T>
void Trajectory<T>::Classes::add(std::vector<Term>& terms, const Trajectory& of, const Propagation& at, Of side,
                                 Index r, double factor) const {
  const Index g = of.modes_.group_of(r);
  if (of.origin_.groups[g].norm() == 0) return;
  const PairPropagator& pair = at.pairs[g];
  const double a = side == Of::means ? pair.p.hh : pair.p.wh, b = side == Of::means ? pair.p.hw : pair.p.ww;
  terms.push_back({&x_[r * cols_], x_size_[r], factor * a, pair.log});
  terms.push_back({&y_[r * cols_], y_size_[r], factor * b, pair.log});
}

template <class T>
auto Trajectory<T>::Classes::parts(const Modes& modes, Index c, bool centred) const -> std::vector<Part> {
  const Index s = modes.size_of[c];
  std::vector<Part> out{{c, 1 / std::sqrt(static_cast<double>(std::max<Index>(modes.counts[s], 1))), 1}};
  const auto& of_prototypes = centred ? centred_prototype_factor_ : modes.between(Side::prototypes);
  for (Index k = 0; k < sizes_; k++)
    out.push_back({modes.classes() + k, centred_factor(s, k), of_prototypes[s * sizes_ + k]});
  return out;
}

template <class T>
Graded Trajectory<T>::Classes::rows(const Trajectory& of, const Propagation& at, Of side, bool centred) const {
  Graded out(of.modes_.classes(), cols_);
  for (Index c = 0; c < of.modes_.classes(); c++) {
    std::vector<Term> terms;
    for (const Part& part : parts(of.modes_, c, centred))
      add(terms, of, at, side, part.row, side == Of::means ? part.mean : part.prototype);
    combine(terms, out.row(c), out.log[c]);
  }
  return out;
}

template <class T>
Graded Trajectory<T>::Classes::centred_means(const Trajectory& of, const Propagation& at) const {
  return rows(of, at, Of::means, true);
}

template <class T>
std::vector<double> Trajectory<T>::Classes::distances(const Trajectory& of, const Propagation& at,
                                                      const Graded& means) const {
  const Modes& modes = of.modes_;
  const Index classes = modes.classes();
  const Buffer<double> cosines = products(means, means, false);
  std::vector<double> out(classes * classes, -kInfinity), scratch(cols_);
  for (Index c = 0; c < classes; c++) {
    for (Index d = c + 1; d < classes; d++) {
      const double most = std::max(means.log[c], means.log[d]), a = std::exp(means.log[c] - most),
                   b = std::exp(means.log[d] - most), square = a * a + b * b - 2 * a * b * cosines[c * classes + d];
      double& log = out[c * classes + d];
      if (square > 1e-2) {
        log = most + std::log(square) / 2;
      } else {  // what the two share is left out
        std::vector<Term> terms;
        const Index s = modes.size_of[c], t = modes.size_of[d];
        const auto root = [&](Index size) { return std::sqrt(static_cast<double>(modes.counts[size])); };
        add(terms, of, at, Of::means, c, 1 / root(s));
        add(terms, of, at, Of::means, d, -1 / root(t));
        for (Index k = 0; k < sizes_ && s != t; k++)
          add(terms, of, at, Of::means, classes + k, mean_factor(s, k) - mean_factor(t, k));
        combine(terms, scratch.data(), log);
      }
      out[d * classes + c] = log;
    }
  }
  return out;
}

template <class T>
auto Trajectory<T>::Classes::lead(const Trajectory& of, const Propagation& at, const Part& part) const -> Lead {
  const Index g = of.modes_.group_of(part.row);
  const PairPropagator& pair = at.pairs[g];
  const double by_x = std::abs(pair.p.wh) * x_size_[part.row], by_y = std::abs(pair.p.ww) * y_size_[part.row];
  const double log =
      of.origin_.groups[g].norm() == 0 ? -kInfinity : pair.log + log_of(part.prototype) + std::log(by_x + by_y);
  if (by_y >= by_x) {
    return {log,
            pair.p.hw / pair.p.ww,
            &x_[part.row * cols_],
            x_size_[part.row],
            pair.det / pair.p.ww,
            pair.det_log - pair.log};
  }
  return {log,
          pair.p.hh / pair.p.wh,
          &y_[part.row * cols_],
          y_size_[part.row],
          -pair.det / pair.p.wh,
          pair.det_log - pair.log};
}

template <class T>
void Trajectory<T>::Classes::difference(const Trajectory& of, const Propagation& at, Index c, bool centred,
                                        double kappa, double* out, double& log) const {
  std::vector<Term> terms;
  const std::vector<Part> all = parts(of.modes_, c, centred);
  // Factors that differ by no more than rounding are equal.
  double rounding = 0;
  for (const Part& part : all) {
    const double ratio = lead(of, at, part).ratio;
    if (std::isfinite(ratio)) rounding = std::max(rounding, 64 * kEpsilon * std::abs(part.mean * ratio));
  }
  for (const Part& part : all) {
    const Lead exact = lead(of, at, part);
    if (exact.log == -kInfinity && part.mean == 0) continue;
    if (part.prototype == 0 || !std::isfinite(exact.ratio)) {
      add(terms, of, at, Of::means, part.row, part.mean);
      continue;
    }
    // α h − κ β w = α (h − ratio w) + (α ratio − κ β) w
    terms.push_back({exact.vector, exact.size, part.mean * exact.rest, exact.rest_log});
    const double left = part.mean * exact.ratio - kappa * part.prototype;
    if (std::abs(left) > rounding) add(terms, of, at, Of::prototypes, part.row, left);
  }
  combine(terms, out, log);
}

template <class T>
double Trajectory<T>::Classes::duality(const Trajectory& of, const Propagation& at, const Graded& means,
                                       const Graded& centred) const {
  std::vector<double> turns, d(cols_);
  for (Index c = 0; c < of.modes_.classes(); c++) {
    const double *a = means.row(c), *b = centred.row(c);
    if (!std::isfinite(means.log[c]) || !std::isfinite(centred.log[c])) return kNaN;
    const double direct = std::sqrt(squared_distance(a, b, cols_));
    turns.push_back(std::log(direct));
    if (direct > kClose) continue;
    turns.back() = kNaN;
    if (std::isnan(at.pairs[0].det)) {
      if (direct > kClosest) turns.back() = std::log(direct);
      continue;
    }
    Lead first{-kInfinity, 0, nullptr, 0, 0, 0};
    double mean = 0, prototype = 0;
    for (const Part& part : parts(of.modes_, c, true)) {
      const Lead one = lead(of, at, part);
      if (!(one.log > first.log)) continue;
      first = one;
      mean = part.mean;
      prototype = part.prototype;
    }
    double log_d;
    difference(of, at, c, true, mean * first.ratio / prototype, d.data(), log_d);
    turns.back() = log_turn(means.log[c], log_d, log_d == -kInfinity ? 0 : dot(a, d.data(), cols_));
  }
  return log_sum(turns) - std::log(static_cast<double>(turns.size()));
}

template <class T>
double Trajectory<T>::Classes::frobenius(const Trajectory& of, const Propagation& at, const Graded& means,
                                         const Graded& prototypes) const {
  const Index classes = of.modes_.classes();
  const auto log_norm = [](const Graded& x) {
    std::vector<double> squares;
    for (const double log : x.log) squares.push_back(2 * log);
    return log_sum(squares) / 2;
  };
  const double means_log = log_norm(means), prototypes_log = log_norm(prototypes);
  if (!std::isfinite(means_log) || !std::isfinite(prototypes_log)) return kNaN;
  double direct = 0;
  for (Index c = 0; c < classes; c++) {
    const double a = std::exp(means.log[c] - means_log), b = std::exp(prototypes.log[c] - prototypes_log);
    for (Index j = 0; j < cols_; j++) direct += std::pow(a * means.row(c)[j] - b * prototypes.row(c)[j], 2);
  }
  if (direct > kClose * kClose) return std::log(direct);
  if (std::isnan(at.pairs[0].det)) return direct > kClosest * kClosest ? std::log(direct) : kNaN;
  // The part that leads in all of the matrix.
  Lead first{-kInfinity, 0, nullptr, 0, 0, 0};
  double mean = 0, prototype = 0;
  for (Index c = 0; c < classes; c++) {
    for (const Part& part : parts(of.modes_, c, false)) {
      const Lead one = lead(of, at, part);
      if (!(one.log > first.log)) continue;
      first = one;
      mean = part.mean;
      prototype = part.prototype;
    }
  }
  Graded d(classes, cols_);
  std::vector<double> logs;
  for (Index c = 0; c < classes; c++) difference(of, at, c, false, mean * first.ratio / prototype, d.row(c), d.log[c]);
  const double log_d = log_norm(d);
  double along = 0;
  for (Index c = 0; c < classes; c++) {
    if (d.log[c] != -kInfinity)
      along += std::exp(means.log[c] - means_log + d.log[c] - log_d) * dot(means.row(c), d.row(c), cols_);
  }
  return 2 * log_turn(means_log, log_d, along);
}

// log of std/mean of ‖w_c‖, from ‖w_c‖ − ‖w̄‖ = (2 w̄ + v_c)·v_c/(‖w_c‖ + ‖w̄‖): where the mean takes over, lengths agree
// in all the digits they have.
template <class T>
double Trajectory<T>::Classes::length_variation(const Trajectory& of, const Propagation& at, const Graded& prototypes,
                                                const Graded& centred) const {
  const Modes& modes = of.modes_;
  const Index classes = modes.classes();
  Graded mean(1, cols_);
  std::vector<Term> terms;
  for (Index k = 0; k < sizes_; k++) {
    double factor = 0;
    for (Index s = 0; s < sizes_; s++)
      factor += static_cast<double>(modes.members[s]) * modes.between(Side::prototypes)[s * sizes_ + k];
    add(terms, of, at, Of::prototypes, classes + k, factor / static_cast<double>(classes));
  }
  combine(terms, mean.row(0), mean.log[0]);
  const double most = *std::max_element(prototypes.log.begin(), prototypes.log.end()),
               apart = *std::max_element(centred.log.begin(), centred.log.end());
  const double mean_length = std::exp(mean.log[0] - most);
  std::vector<double> longer;  // ‖w_c‖ − ‖w̄‖ over e^apart
  double length = 0, middle = 0, square = 0;
  for (Index c = 0; c < classes; c++) {
    const double v = std::exp(centred.log[c] - apart), own = std::exp(prototypes.log[c] - most);
    const double across = mean_length == 0 || v == 0 ? 0 : 2 * mean_length * dot(mean.row(0), centred.row(c), cols_);
    longer.push_back(v * (across + std::exp(centred.log[c] - most)) / (own + mean_length));
    length += own / static_cast<double>(classes);
  }
  for (const double value : longer) middle += value / static_cast<double>(classes);
  for (const double value : longer) square += (value - middle) * (value - middle) / static_cast<double>(classes);
  return apart - most + std::log(std::sqrt(square) / length);
}

// log tr(Σ_W Σ_B⁺) over what the rest has been multiplied by.
template <class T>
double Trajectory<T>::Classes::whitened_trace(const Trajectory& of, const Propagation& at,
                                              const Control& control) const {
  const Modes& modes = of.modes_;
  const Index classes = modes.classes(), within = std::ssize(contrast_size_), count = classes - 1;
  Graded z(count, cols_);
  for (Index i = 0; i < within; i++) {
    const Index s = contrast_size_[i];
    const PairPropagator& pair = at.pairs[s];
    const double share = 1 / std::sqrt(static_cast<double>(modes.counts[s]));
    const double *x = &x_contrasts_[i * cols_], *y = &y_contrasts_[i * cols_];
    std::vector<Term> terms;
    if (of.origin_.groups[s].norm() > 0) {
      terms = {{x, norm(x, cols_), share * pair.p.hh, pair.log}, {y, norm(y, cols_), share * pair.p.hw, pair.log}};
    }
    combine(terms, z.row(i), z.log[i]);
  }
  // Between sizes √C_s times the centred means of sizes, T H with the modes H in order of their size: T = Q R makes
  // rows of which each has the size of a mode.
  Graded h(sizes_, cols_);
  for (Index k = 0; k < sizes_; k++) {
    std::vector<Term> terms;
    add(terms, of, at, Of::means, classes + k, 1);
    combine(terms, h.row(k), h.log[k]);
  }
  std::vector<Index> order(sizes_);
  std::iota(order.begin(), order.end(), Index{0});
  std::sort(order.begin(), order.end(), [&](Index a, Index b) { return h.log[a] > h.log[b]; });
  std::vector<std::vector<double>> q, r;  // rows of Q, and of R by the modes' own places
  for (const Index k : order) {
    std::vector<double> column(sizes_);
    for (Index s = 0; s < sizes_; s++)
      column[s] = std::sqrt(static_cast<double>(modes.members[s])) * centred_factor(s, k);
    const double size = norm(column.data(), sizes_);
    for (size_t i = 0; i < q.size(); i++) {
      const double along = dot(q[i].data(), column.data(), sizes_);
      r[i][k] = along;
      for (Index s = 0; s < sizes_; s++) column[s] -= along * q[i][s];
    }
    const double left = norm(column.data(), sizes_);
    if (std::ssize(q) == sizes_ - 1 || !(left > kLost * size)) continue;
    for (double& value : column) value /= left;
    q.push_back(column);
    r.emplace_back(sizes_);
    r.back()[k] = left;
  }
  for (Index i = 0; i < sizes_ - 1; i++) {
    std::vector<Term> terms;
    for (Index k = 0; k < sizes_ && i < std::ssize(r); k++) terms.push_back({h.row(k), 1, r[i][k], h.log[k]});
    combine(terms, z.row(within + i), z.log[within + i]);
  }

  // Z = D L Q. `left` is what of the rows no q has yet, as a share of their lengths.
  const Index most = std::min(count, cols_);
  Buffer<double> frame(most * cols_), lower(count * most);
  std::fill(lower.begin(), lower.end(), 0.0);
  std::vector<double> left(count, 1);
  std::vector<Index> pivots, others(count);
  std::iota(others.begin(), others.end(), Index{0});
  Index rank = 0;
  for (; rank < most; rank++) {
    control.poll();
    std::vector<double> sizes;
    for (const Index i : others) {
      if (std::isnan(z.log[i])) return kNaN;
      sizes.push_back(left[i] > kLost ? z.log[i] + std::log(left[i]) : -kInfinity);
    }
    const auto pivot = std::max_element(sizes.begin(), sizes.end());
    if (*pivot == -kInfinity) break;
    const Index i = others[pivot - sizes.begin()];
    others.erase(others.begin() + (pivot - sizes.begin()));
    pivots.push_back(i);
    double* row = &frame[rank * cols_];
    std::copy_n(z.row(i), cols_, row);
    for (Index pass = 0; pass < 2; pass++) {
      for (Index k = 0; k < rank; k++) {
        const double along = dot(row, &frame[k * cols_], cols_);
        for (Index j = 0; j < cols_; j++) row[j] -= along * frame[k * cols_ + j];
      }
      const double length = norm(row, cols_);
      if (pass == 0) lower[i * most + rank] = length;
      for (Index j = 0; j < cols_; j++) row[j] /= length;
    }
    for (const Index o : others) {
      double* rest = z.row(o);
      const double along = dot(rest, row, cols_);
      lower[o * most + rank] = along;
      for (Index j = 0; j < cols_; j++) rest[j] -= along * row[j];
      left[o] = norm(rest, cols_);
    }
  }
  if (rank == 0) return kNaN;

  // S = Q Σ Qᵀ, then Y = L⁻ᵀ S L⁻¹ (rank, rank), L the pivots' rows.
  Buffer<double> half(rank * cols_), s(rank * rank);
  blas::gemm<double>(false, false, rank, cols_, cols_, 1, frame.get(), cols_, spread_.get(), cols_, 0, half.get(),
                     cols_);
  blas::gemm<double>(false, true, rank, rank, cols_, 1, half.get(), cols_, frame.get(), cols_, 0, s.get(), rank);
  const auto l = [&](Index i, Index j) { return lower[pivots[i] * most + j]; };
  // x L = b for each row b, from the last column on.
  const auto solve = [&](double* rows, Index number) {
    for (Index a = 0; a < number; a++) {
      double* row = rows + a * rank;
      for (Index j = rank - 1; j >= 0; j--) {
        for (Index i = j + 1; i < rank; i++) row[j] -= row[i] * l(i, j);
        row[j] /= l(j, j);
      }
    }
  };
  const auto transpose = [&] {
    for (Index i = 0; i < rank; i++)
      for (Index j = 0; j < i; j++) std::swap(s[i * rank + j], s[j * rank + i]);
  };
  solve(s.get(), rank);
  transpose();
  solve(s.get(), rank);

  // More rows than dimensions: E = D₂ L₂ L⁻¹ D⁻¹ of the others, and (I + EᵀE)⁻¹ = V diag(1/g) Vᵀ in place of I.
  std::vector<double> vectors(rank * rank), values(rank, 1);
  for (Index i = 0; i < rank; i++) vectors[i * rank + i] = 1;
  if (!others.empty()) {
    const Index number = std::ssize(others);
    Buffer<double> e(number * rank);
    for (Index a = 0; a < number; a++) std::copy_n(&lower[others[a] * most], rank, &e[a * rank]);
    solve(e.get(), number);
    for (Index a = 0; a < number; a++)
      for (Index j = 0; j < rank; j++) e[a * rank + j] *= std::exp(z.log[others[a]] - z.log[pivots[j]]);
    blas::syrk<double>(rank, number, 1, e.get(), rank, 1, vectors.data(), rank);
    blas::eigh(rank, vectors.data(), values.data());
  }
  // Σ_k (v_kᵀ D⁻¹ Y D⁻¹ v_k)/g_k, over the largest 1/D.
  double least = kInfinity, trace = 0;
  for (const Index i : pivots) least = std::min(least, z.log[i]);
  for (Index k = 0; k < rank; k++) {
    std::vector<double> scaled(rank);
    for (Index i = 0; i < rank; i++) scaled[i] = vectors[k * rank + i] * std::exp(least - z.log[pivots[i]]);
    double sum = 0;
    for (Index i = 0; i < rank; i++) sum += scaled[i] * dot(&s[i * rank], scaled.data(), rank);
    trace += sum / values[k];
  }
  return std::log(classes * trace) - 2 * least;
}

template <class T>
void Trajectory<T>::Classes::measure(const Trajectory& of, const Propagation& at, const MeasureColumns& to, Index place,
                                     const Control& control) const {
  using enum TrajectoryMeasure;
  const Modes& modes = of.modes_;
  const Index classes = modes.classes();
  const auto column = [&](TrajectoryMeasure which) { return to[static_cast<size_t>(which)]; };
  const auto put = [&](TrajectoryMeasure which, auto&& value) {
    if (double* values = column(which)) values[place] = value();
  };
  // Both of e^log and its logarithm.
  const auto put_log = [&](TrajectoryMeasure which, TrajectoryMeasure logarithm, auto&& value) {
    if (!column(which) && !column(logarithm)) return;
    const double log = value();
    put(which, [&] { return std::exp(log); });
    put(logarithm, [&] { return log; });
  };
  const Graded means = rows(of, at, Of::means, true), prototypes = rows(of, at, Of::prototypes, false),
               centred = rows(of, at, Of::prototypes, true);
  const double rest = of.origin_.rest > 0 ? at.rest_log + log_of(at.rest) : -kInfinity;  // log ρ

  put_log(nc1, logNc1, [&] { return 2 * rest + whitened_trace(of, at, control) - std::log(classes); });
  put_log(nc1Papyan, logNc1Papyan, [&] { return 2 * rest + whitened_trace(of, at, control); });
  put_log(nc1TraceRatio, logNc1TraceRatio, [&] {
    std::vector<double> between;
    for (const double log : means.log) between.push_back(2 * log - std::log(classes));
    return 2 * (rest + std::log(of.origin_.rest)) - std::log(of.start_.samples()) - log_sum(between);
  });
  put_log(nc1Cdnv, logNc1Cdnv, [&] {
    const std::vector<double> apart = distances(of, at, means);
    std::vector<double> pairs;
    for (Index c = 0; c < classes; c++) {
      for (Index d = c + 1; d < classes; d++) {
        const double spread =
            of.within_[c] / modes.counts[modes.size_of[c]] + of.within_[d] / modes.counts[modes.size_of[d]];
        pairs.push_back(2 * rest + std::log(spread / 2) - 2 * apart[c * classes + d]);
      }
    }
    return log_sum(pairs) - std::log(static_cast<double>(pairs.size()));
  });
  put(featureNormVariation, [&] { return variation(means.log); });
  put(featureCosine, [&] { return simplex_cosine(means); });
  put_log(prototypeNormVariation, logPrototypeNormVariation,
          [&] { return length_variation(of, at, prototypes, centred); });
  put(centeredPrototypeNormVariation, [&] { return variation(centred.log); });
  put(centeredPrototypeCosine, [&] { return simplex_cosine(centred); });
  put(nc2, [&] { return simplex_distance(centred, centred); });
  put(nc2Zhu, [&] { return simplex_distance(prototypes, prototypes); });
  put(nc3, [&] { return simplex_distance(centred, means); });
  put(nc3Zhu, [&] { return simplex_distance(prototypes, means); });
  put_log(dualityFrobenius, logDualityFrobenius, [&] { return frobenius(of, at, means, prototypes); });
  put_log(selfDuality, logSelfDuality, [&] { return duality(of, at, means, centred); });
  put(alignment, [&] {
    double sum = 0;
    for (Index c = 0; c < classes; c++) sum += cosine(means, c, prototypes, c);
    return sum / static_cast<double>(classes);
  });
  put(nc4Zhu, [&] {
    // h̄ is a combination of the rows between sizes, h̄' = η1 ((1+γ−γC) w̄/n − λ1 h̄): for γ = 1/(C−1) it only decays.
    Graded centre(1, cols_);
    std::vector<Term> terms;
    Propagation decayed;
    decayed.pairs.assign(at.pairs.size(), {{at.rest, 0, 0, 0}, at.rest_log});
    const bool decays = std::abs(1 + of.gamma_ - of.gamma_ * classes) <= 4 * kEpsilon * (1 + of.gamma_);
    for (Index k = 0; k < sizes_; k++) {
      double factor = 0;
      for (Index s = 0; s < sizes_; s++)
        factor += static_cast<double>(modes.members[s]) / static_cast<double>(classes) * mean_factor(s, k);
      add(terms, of, decays ? decayed : at, Of::means, classes + k, factor);
    }
    combine(terms, centre.row(0), centre.log[0]);
    const std::vector<T>& biases = of.start_.biases;
    const double scale = centre.log[0] + 2 * of.log_scale_,
                 most = *std::max_element(prototypes.log.begin(), prototypes.log.end()) + scale;
    const double log = biases.empty() ? most : std::max(most, 0.0);
    double square = 0;
    for (Index c = 0; c < classes && log > -kInfinity; c++) {
      double logit = std::exp(prototypes.log[c] + scale - log) * dot(prototypes.row(c), centre.row(0), cols_);
      if (!biases.empty()) logit += (at.keep * biases[c] + at.gain * of.pull_[c]) * std::exp(-log);
      square += logit * logit;
    }
    return Scaled{std::sqrt(square), log}.plain();
  });
}

template <class T>
size_t Trajectory<T>::Classes::bytes() const {
  return bytes_of(x_, y_, x_size_, y_size_, spread_, mean_factor_, centred_factor_, centred_prototype_factor_,
                  x_contrasts_, y_contrasts_, contrast_size_);
}

template <class T>
std::shared_ptr<const typename Trajectory<T>::Classes> Trajectory<T>::classes(const Control& control) {
  {
    std::lock_guard lock(mutex_);
    if (classes_) return classes_;
  }
  auto made = std::make_shared<const Classes>(*this, control);
  std::lock_guard lock(mutex_);
  return classes_ = made;
}

template class Trajectory<float>::Classes;
template class Trajectory<double>::Classes;
template std::shared_ptr<const Trajectory<float>::Classes> Trajectory<float>::classes(const Control&);
template std::shared_ptr<const Trajectory<double>::Classes> Trajectory<double>::classes(const Control&);

}  // namespace lp
