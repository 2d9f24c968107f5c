#include "ops/collapse/collapse.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/blas/blas.h"
#include "core/dispatch.h"
#include "core/finite.h"
#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/linear/class_sums.h"
#include "ops/linear/matmul.h"
#include "ops/loss/row.h"

LP_DECLARE(template <class T> void multiply(const T* x, Index rows, const T* f, Index cols, Index depth, T* out,
                                            Index ld, const T* next, Index ahead);)
LP_DECLARE(template <class T> double subtract(const T* x, T scale, const T* high, const T* low, Index size, T* out);)
LP_DECLARE(template <class T> double largest_of(const T* x, Index size);)
LP_DECLARE(template <class T> Best best_other(const T* values, const double* offsets, Index size, Index own);)

namespace lp {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Residuals of a panel of rows stay in the second-level cache, and what is derived from those of a block.
constexpr Index kPanelBytes = 1 << 14, kBlockBytes = 1 << 18;
// What `multiply` asks of rows and their length.
constexpr Index kRowUnit = 4, kLengthBytes = 64;
// What `best_other` asks of the number of classes.
constexpr Index kClassUnit = 8;
// Rows between additions of Σ q qᵀ in the dtype to its sum in double.
constexpr Index kFlushRows = 1024;
// Of a C×C matrix so many bytes of rows are made at a time: all of one of up to 1448 classes.
constexpr Index kTableBytes = 1 << 24;

// Rows of a table with so many columns.
Index rows_at_a_time(Index columns) { return std::max<Index>(1, kTableBytes / (columns * sizeof(double))); }

// The length of rows of T that are padded for `multiply`.
template <class T>
Index padded(Index length) {
  return round_up(length, kLengthBytes / sizeof(T));
}

template <class T>
Buffer<T> zeros(Index size) {
  Buffer<T> buffer(size);
  std::fill(buffer.begin(), buffer.end(), T(0));
  return buffer;
}

// The rows of a bᵀ of a (m, k) and b (n, k), in order and some at a time: take(first row, rows of it).
template <class Take>
void for_each_product(const std::vector<double>& a, const std::vector<double>& b, Index k, const Control& control,
                      Take take) {
  MatmulPlan plan;
  plan.n = std::ssize(b) / k;
  plan.k = k;
  plan.transpose_b = true;
  const Index rows = std::ssize(a) / k, step = std::min(rows, rows_at_a_time(plan.n));
  std::vector<double> out(step * plan.n);
  for (Index first = 0; first < rows; first += step) {
    plan.m = std::min(step, rows - first);
    matmul(plan, &a[first * k], b.data(), out.data(), control);
    take(first, Matrix<const double>{out.data(), plan.m, plan.n});
  }
}

// The exponent of the power of two that numbers up to this size are divided by; it and its inverse are numbers of T.
template <class T>
int exponent_of(double largest) {
  constexpr int kMost = sizeof(T) == 4 ? 126 : 1000;
  return largest > 0 ? std::clamp(std::ilogb(largest), -kMost, kMost) : 0;
}

double largest_of(const std::vector<double>& x) { return LP_SELECT(largest_of<double>)(x.data(), std::ssize(x)); }

void shift(std::vector<double>& x, int exponent) {
  for (double& value : x) value = std::scalbn(value, exponent);
}

// How long a vector may be that is made of the rounding of means of numbers of this size.
double rounding_of(double size, Index length) {
  return 16 * std::numeric_limits<double>::epsilon() * size * std::sqrt(static_cast<double>(length));
}

// Mean of the rows of x (rows, cols).
std::vector<double> row_mean(const std::vector<double>& x, Index cols) {
  std::vector<double> mean(cols);
  const Index rows = std::ssize(x) / cols;
  for (Index i = 0; i < rows; i++)
    for (Index j = 0; j < cols; j++) mean[j] += x[i * cols + j] / rows;
  return mean;
}

// Rows less one of them all. What is no more than the rounding of numbers of this size is zero.
std::vector<double> subtract_row(std::vector<double> x, const std::vector<double>& row, double size) {
  const Index cols = std::ssize(row);
  for (Index i = 0; i < std::ssize(x); i++) x[i] -= row[i % cols];
  const double least = rounding_of(size, cols);
  for (Index i = 0; i < std::ssize(x); i += cols)
    if (norm(&x[i], cols) <= least) std::fill_n(&x[i], cols, 0.0);
  return x;
}

std::vector<double> row_norms(const std::vector<double>& x, Index cols) {
  std::vector<double> norms(x.size() / cols);
  for (Index i = 0; i < std::ssize(norms); i++) norms[i] = norm(&x[i * cols], cols);
  return norms;
}

double variation(const std::vector<double>& values, int ddof) {
  const double size = values.size();
  double mean = 0, square = 0;
  for (double value : values) mean += value / size;
  for (double value : values) square += (value - mean) * (value - mean);
  return std::sqrt(square / (size - ddof)) / mean;
}

// Rows scaled to unit length; NaN where the length is 0.
std::vector<double> directions(std::vector<double> x, const std::vector<double>& norms) {
  const Index cols = std::ssize(x) / std::ssize(norms);
  for (Index i = 0; i < std::ssize(x); i++) x[i] /= norms[i / cols];
  return x;
}

// The cosines of the pairs of some directions, rows of x (C, p); `matrix` (C, C) gets all of them unless it is null.
// Returns mean_{c<d} |cos + 1/(C−1)|.
double compare_pairs(const std::vector<double>& x, Index p, const Control& control, PairCosines& pairs,
                     std::vector<double>* matrix) {
  const Index C = std::ssize(x) / p;
  double sum = 0;
  pairs = {kInfinity, -kInfinity, std::vector<double>(PairCosines::kBins)};
  if (matrix) matrix->resize(C * C);
  for_each_product(x, x, p, control, [&](Index first, Matrix<const double> cosines) {
    if (matrix) std::copy_n(cosines.data, cosines.size(), matrix->data() + first * C);
    for (Index c = first; c < first + cosines.rows; c++) {
      for (Index d = c + 1; d < C; d++) {
        const double cosine = cosines.row(c - first)[d];
        sum += std::abs(cosine + 1.0 / (C - 1));
        pairs.smallest = std::min(pairs.smallest, cosine);
        pairs.largest = std::max(pairs.largest, cosine);
        const double place = PairCosines::kBins * (std::clamp(cosine, -1.0, 1.0) + 1) / 2;
        if (place >= 0) pairs.histogram[std::min(static_cast<Index>(place), PairCosines::kBins - 1)]++;
      }
    }
  });
  if (std::isnan(sum)) pairs = {kNaN, kNaN, {}};
  return sum / (C * (C - 1) / 2);
}

// ‖X/‖X‖_F − (I − 11ᵀ/C)/√(C−1)‖_F of X = a bᵀ.
double simplex_distance(const std::vector<double>& a, const std::vector<double>& b, Index p, const Control& control) {
  const Index C = std::ssize(a) / p;
  const double scale = 1 / std::sqrt(C - 1.0);
  double length = 0, square = 0;
  for_each_product(a, b, p, control,
                   [&](Index, Matrix<const double> x) { length = std::hypot(length, norm(x.data, x.size())); });
  for_each_product(a, b, p, control, [&](Index first, Matrix<const double> x) {
    for (Index c = first; c < first + x.rows; c++) {
      for (Index d = 0; d < C; d++) {
        const double rest = x.row(c - first)[d] / length - scale * ((c == d) - 1.0 / C);
        square += rest * rest;
      }
    }
  });
  return std::sqrt(square);
}

}  // namespace

// What one thread gathers in the second sweep, and the memory it works in.
template <class T>
struct Collapse<T>::Part {
  Part(Index panel, Index block, Index classes, Index dim, Index rank)
      : residuals(zeros<T>(panel * padded<T>(dim))),
        whitened(zeros<T>(block * padded<T>(rank))),
        logits(zeros<T>(block * round_up(classes, kClassUnit))),
        near(zeros<T>(block * round_up(classes, kClassUnit))),
        recent(rank * rank),
        square(block),
        second(rank * rank),
        within(classes),
        counts(classes) {}

  // Of the rows at hand; r and q are padded.
  Buffer<T> residuals;    // (panel, p) r
  Buffer<T> whitened;     // (block, rank) q = B r
  Buffer<T> logits;       // (block, C) W r, rows padded with zeros
  Buffer<T> near;         // (block, C) M r, likewise
  Buffer<T> recent;       // (rank, rank) Σ q qᵀ of the last rows, lower triangle
  Buffer<double> square;  // (block) ‖r‖²
  Index recent_rows = 0;
  std::vector<double> second;  // (rank, rank) Σ q qᵀ, lower triangle
  std::vector<double> within;  // (C) Σ ‖r‖² of each class
  std::vector<Index> counts;   // (C) its rows
  double trace = 0;            // Σ ‖q‖²
  double to_class = 0;         // Σ ‖r‖
  double to_global = 0;        // Σ ‖h − h̄‖
  Decisions decisions;
  Index samples = 0, disagree = 0;

  size_t bytes() const { return bytes_of(residuals, whitened, logits, near, recent, square, second, within, counts); }

  void flush(Index rank) {
    for (Index i = 0; i < rank && recent_rows > 0; i++)
      for (Index j = 0; j <= i; j++) second[i * rank + j] += recent[i * rank + j];
    recent_rows = 0;
  }
};

template <class T>
Collapse<T>::Collapse(Index classes, Index dim, const T* prototypes, const T* biases, CollapseOptions options)
    : classes_(classes),
      dim_(dim),
      options_(options),
      has_prototypes_(prototypes != nullptr),
      biases_(classes),
      counts_(classes),
      means_(classes * dim) {
  if (prototypes) {
    check_finite<T>({prototypes, classes, dim}, "prototypes");
    prototypes_.assign(prototypes, prototypes + classes * dim);
    head_exponent_ = exponent_of<double>(LP_SELECT(largest_of<T>)(prototypes, classes * dim));
    shift(prototypes_, -head_exponent_);
  }
  if (biases) {
    check_finite<T>({biases, classes, 1}, "biases");
    biases_.assign(biases, biases + classes);
  }
}

template <class T>
Collapse<T>::~Collapse() = default;

template <class T>
void Collapse<T>::sum(Matrix<const T> features, const int32_t* labels, const Control& control) {
  const ByClass by_class(labels, features.rows, classes_);
  const Buffer<double> sums(classes_ * dim_);  // (C, p) of this chunk
  T largest;
  class_sums(features, by_class, {sums.get(), classes_, dim_}, control, &largest);
  if (!all_finite({sums.get(), classes_, dim_})) check_finite(features, "features", samples_);
  largest_ = std::max(largest_, static_cast<double>(largest));
  for (Index i = 0; i < sums.size(); i++) means_[i] += sums[i];
  for (Index c = 0; c < classes_; c++) counts_[c] += by_class.count(c);
  samples_ += features.rows;
}

template <class T>
void Collapse<T>::refer(Matrix<const double> means, const int32_t* counts) {
  check_finite(means, "reference.classMeans");
  means_.assign(means.data, means.data + means.size());
  counts_.assign(counts, counts + classes_);
  samples_ = std::accumulate(counts_.begin(), counts_.end(), Index{0});
  largest_ = lp::largest_of(means_);
  referred_ = true;
}

template <class T>
void Collapse<T>::center(const Control& control) {
  const Index C = classes_, p = dim_;
  // means_ (C, p): S_c → μ_c; global_ (p): h̄.
  exponent_ = exponent_of<T>(largest_);
  shift(means_, -exponent_);
  global_.assign(p, 0);
  for (Index c = 0; c < C; c++) {
    if (counts_[c] <= 0) {
      throw Error("LP_BALANCE", "Class " + std::to_string(c) + " of " + std::to_string(C) +
                                    " has no samples; every class needs at least one.");
    }
    const double share = options_.global_mean_of_samples ? static_cast<double>(counts_[c]) / samples_ : 1.0 / C;
    for (Index j = 0; j < p; j++) {
      if (!referred_) means_[c * p + j] /= counts_[c];
      global_[j] += share * means_[c * p + j];
    }
  }
  if (!all_finite({means_.data(), C, p})) {
    throw Error("LP_OVERFLOW", "Sums of features exceed the range of float64; scale the features down.");
  }
  // (C, p) M, (C) ‖M_c‖².
  centered_ = subtract_row(means_, global_, std::scalbn(largest_, -exponent_));
  squares_.resize(C);
  for (Index c = 0; c < C; c++) squares_[c] = dot(&centered_[c * p], &centered_[c * p], p);

  // M = V diag(√g) Qᵀ from the smaller of MᵀM (p, p) = Q diag(g) Qᵀ and M Mᵀ (C, C) = V diag(g) Vᵀ. Eigenvectors, one
  // a row; eigenvalues ascending, of which the last min(C−1, p) can differ from 0.
  const bool narrow = p < C;
  const Index size = std::min(C, p);
  MatmulPlan plan;
  plan.m = plan.n = size;
  plan.k = std::max(C, p);
  plan.transpose_a = narrow;
  plan.transpose_b = !narrow;
  std::vector<double> vectors(size * size), values(size);
  matmul(plan, centered_.data(), centered_.data(), vectors.data(), control);
  blas::eigh(size, vectors.data(), values.data());
  const double least = std::numeric_limits<double>::epsilon() * std::max(C, p) * values[size - 1];
  rank_ = 0;
  while (rank_ < std::min(C - 1, p) && values[size - 1 - rank_] > least) rank_++;

  // Of the eigenvectors that count, Qᵀ (rank, p) and Vᵀ (rank, C): one of them at hand, the other, as M's product with
  // it, with its lengths √g.
  const std::vector<double> kept(vectors.end() - rank_ * size, vectors.end());
  std::vector<double> other(rank_ * plan.k);
  plan.m = rank_;
  plan.n = plan.k;
  plan.k = size;
  plan.transpose_a = false;
  plan.transpose_b = narrow;
  matmul(plan, kept.data(), centered_.data(), other.data(), control);
  const auto &q = narrow ? kept : other, &v = narrow ? other : kept;
  // B = √C diag(1/√g) Qᵀ (rank, p), T = V diag(√g)/√C (C, rank).
  whitening_ = zeros<T>(rank_ * padded<T>(p));
  recovery_ = zeros<T>(C * padded<T>(rank_));
  for (Index k = 0; k < rank_; k++) {
    const double value = values[size - rank_ + k];
    const double factor = narrow ? std::sqrt(C / value) : std::sqrt(C) / value;
    for (Index j = 0; j < p; j++) whitening_[k * padded<T>(p) + j] = static_cast<T>(q[k * p + j] * factor);
    for (Index c = 0; c < C; c++) recovery_[c * padded<T>(rank_) + k] = static_cast<T>(v[k * C + c] / factor);
  }
  // μ = high + low to twice the digits of T, from which h − μ has no rounding but its own.
  high_means_ = Buffer<T>(C * p);
  low_means_ = Buffer<T>(C * p);
  for (Index i = 0; i < C * p; i++) {
    high_means_[i] = static_cast<T>(means_[i]);
    low_means_[i] = static_cast<T>(means_[i] - static_cast<double>(high_means_[i]));
  }
  slot_.assign(C, 0);
  // Logits over the size of their products, or of biases that would leave the range of numbers over it.
  const double bias = largest_of(biases_);
  logit_exponent_ = exponent_ + head_exponent_;
  if (bias > 0) logit_exponent_ = std::max(logit_exponent_, std::ilogb(bias) - 900);
  shift(biases_, -logit_exponent_);
  if (has_prototypes_) {
    const int smaller = exponent_ + head_exponent_ - logit_exponent_;
    heads_ = zeros<T>(C * padded<T>(p));
    for (Index c = 0; c < C; c++) {
      for (Index j = 0; j < p; j++)
        heads_[c * padded<T>(p) + j] = static_cast<T>(std::scalbn(prototypes_[c * p + j], smaller));
    }
  }
}

template <class T>
void Collapse<T>::tabulate(std::vector<Index> classes, const Control& control) {
  if (classes == tabulated_) return;
  tabulated_ = std::move(classes);
  const Index C = classes_, p = dim_, row = round_up(C, kClassUnit), rows = std::ssize(tabulated_);
  for (Index i = 0; i < rows; i++) slot_[tabulated_[i]] = i;
  const auto chosen = [&](const std::vector<double>& x) {
    std::vector<double> y;
    for (Index c : tabulated_) y.insert(y.end(), &x[c * p], &x[c * p] + p);
    return y;
  };
  const auto table = [&](const std::vector<double>& a, const std::vector<double>& b, auto finish) {
    std::vector<double> out(rows * row, -kInfinity);
    for_each_product(chosen(a), b, p, control, [&](Index first, Matrix<const double> x) {
      for (Index i = 0; i < x.rows; i++)
        for (Index c = 0; c < C; c++) out[(first + i) * row + c] = finish(x.row(i)[c], c);
    });
    return out;
  };
  scores_ = table(centered_, centered_, [&](double product, Index c) { return product - squares_[c] / 2; });
  if (!has_prototypes_) return;
  const int smaller = exponent_ + head_exponent_ - logit_exponent_;
  logits_ =
      table(means_, prototypes_, [&](double product, Index c) { return std::scalbn(product, smaller) + biases_[c]; });
}

template <class T>
void Collapse<T>::measure(Matrix<const T> features, const int32_t* labels, const Control& control) {
  // Rows that no first sweep has seen.
  if (referred_) check_finite(features, "features", measured_);
  measured_ += features.rows;
  const Index most = rows_at_a_time(classes_);
  std::vector<Index> classes, rows;
  if (classes_ <= most) {  // one table for all, made once
    classes.resize(classes_);
    rows.resize(features.rows);
    std::iota(classes.begin(), classes.end(), 0);
    std::iota(rows.begin(), rows.end(), 0);
    tabulate(std::move(classes), control);
    measure_rows(features, labels, rows, control);
    return;
  }
  const ByClass by_class(labels, features.rows, classes_);
  for (Index c = 0; c < classes_;) {
    classes.clear();
    const Index begin = by_class.start[c];
    for (; c < classes_ && std::ssize(classes) < most; c++)
      if (by_class.count(c) > 0) classes.push_back(c);
    if (classes.empty()) continue;
    tabulate(classes, control);
    measure_rows(features, labels, {&by_class.order[begin], &by_class.order[0] + by_class.start[c]}, control);
  }
}

template <class T>
void Collapse<T>::measure_rows(Matrix<const T> features, const int32_t* labels, std::span<const Index> rows,
                               const Control& control) {
  const Index panel = round_up(std::clamp<Index>(kPanelBytes / (dim_ * sizeof(T)), 1, 256), kRowUnit);
  const Index block =
      round_up(std::clamp<Index>(kBlockBytes / ((rank_ + 2 * classes_) * sizeof(T)), panel, kFlushRows), panel);
  if (parts_.empty()) parts_.resize(thread_count());
  const Index size = std::ssize(rows), share = divide_up(size, std::ssize(parts_));
  parallel_for(size, std::max<Index>(1, share), control, [&](Index begin, Index end) {
    auto& part = parts_[begin / share];
    if (!part) part = std::make_unique<Part>(panel, block, classes_, dim_, rank_);
    for (Index at = begin; at < end; at += block) {
      control.poll();
      measure_block(*part, panel, std::min(block, end - at), features, labels, rows.subspan(at, end - at));
    }
  });
}

template <class T>
void Collapse<T>::measure_block(Part& part, Index panel, Index rows, Matrix<const T> features, const int32_t* labels,
                                std::span<const Index> order) {
  const auto multiply = LP_SELECT(multiply<T>);
  const auto subtract = LP_SELECT(subtract<T>);
  const auto best_other = LP_SELECT(best_other<T>);
  const Index C = classes_, p = dim_, depth = padded<T>(p), rank_depth = padded<T>(rank_);
  const Index class_row = round_up(C, kClassUnit);
  const T scale = std::scalbn(T(1), -exponent_);

  // A panel of rows at a time: r (panel, p), from it q = B r (panel, rank) and W r (panel, C). Rows of r beyond `count`
  // are what an earlier panel left there: their products are made, and not looked at.
  for (Index first = 0; first < rows; first += panel) {
    const Index count = std::min(panel, rows - first), filled = round_up(count, kRowUnit);
    for (Index i = 0; i < count; i++) {
      const Index row = order[first + i], y = labels[row];
      part.square[first + i] =
          subtract(features.row(row), scale, &high_means_[y * p], &low_means_[y * p], p, &part.residuals[i * depth]);
    }
    const Index rest = std::ssize(order) - first - count;
    const T *residuals = part.residuals.get(), *next = rest > 0 ? features.row(order[first + count]) : features.data;
    const Index ahead = std::min(panel, rest) * p * sizeof(T), half = ahead / 2;
    multiply(residuals, filled, whitening_.get(), rank_, depth, part.whitened.get() + first * rank_depth, rank_depth,
             next, has_prototypes_ ? half : ahead);
    if (has_prototypes_) {
      multiply(residuals, filled, heads_.get(), C, depth, &part.logits[first * class_row], class_row,
               next + half / sizeof(T), ahead - half);
    }
  }
  // Of the block: M r = T q (rows, C), tr(Σ_W Σ_B⁺) and, in T for a while, Σ q qᵀ (rank, rank).
  if (rank_ > 0) {
    const T* whitened = part.whitened.get();
    multiply(whitened, round_up(rows, kRowUnit), recovery_.get(), C, rank_depth, part.near.get(), class_row, whitened,
             0);
    part.trace += squared_norm(whitened, rows * rank_depth);
    blas::syrk<T>(rank_, rows, 1, whitened, rank_depth, part.recent_rows > 0, part.recent.get(), rank_);
    part.recent_rows += rows;
    if (part.recent_rows >= kFlushRows) part.flush(rank_);
  }

  for (Index i = 0; i < rows; i++) {
    const Index y = labels[order[i]], slot = slot_[y];
    const T *logits = &part.logits[i * class_row], *near = &part.near[i * class_row];
    // ‖r‖, and ‖h − h̄‖² = ‖r + M_y‖² = ‖r‖² + 2 r·M_y + ‖M_y‖².
    part.within[y] += part.square[i];
    part.counts[y]++;
    part.to_class += std::sqrt(part.square[i]);
    part.to_global += std::sqrt(std::max(0.0, part.square[i] + 2.0 * near[y] + squares_[y]));
    if (!has_prototypes_) continue;

    // Logits z_c = W_c·r + (W_c·μ_y + b_c); ‖h − μ_c‖² is smallest where M_c·r + (M_c·M_y − ‖M_c‖²/2) is largest.
    const double *offsets = &logits_[slot * class_row], *scores = &scores_[slot * class_row];
    const Best rival = best_other(logits, offsets, class_row, y), closest = best_other(near, scores, class_row, y);
    const double own = logits[y] + offsets[y];
    const Index decided = predicted(y, own, rival.index, rival.value);
    const Index nearest = predicted(y, near[y] + scores[y], closest.index, closest.value);
    part.decisions.add(Decision{own, rival.value, decided == y});
    part.disagree += decided != nearest;
  }
  part.samples += rows;
}

template <class T>
CollapseResult Collapse<T>::result(const Control& control) {
  CollapseResult result;
  result.class_norms = row_norms(centered_, dim_);
  result.measures["featureNormVariation"] = variation(result.class_norms, options_.ddof);
  result.measures["featureCosine"] =
      compare_pairs(directions(centered_, result.class_norms), dim_, control, result.feature_pairs,
                    options_.cosines ? &result.feature_cosines : nullptr);
  if (has_prototypes_) add_prototype_measures(result, control);
  if (!parts_.empty()) add_sweep_measures(result, control);
  result.class_means = means_;
  shift(result.class_means, exponent_);
  shift(result.class_norms, exponent_);
  shift(result.prototype_norms, head_exponent_);
  shift(result.centered_prototype_norms, head_exponent_);
  return result;
}

template <class T>
void Collapse<T>::add_prototype_measures(CollapseResult& result, const Control& control) const {
  const Index C = classes_, p = dim_;
  const auto centered = subtract_row(prototypes_, row_mean(prototypes_, p), largest_of(prototypes_));
  const auto norms = row_norms(prototypes_, p), centered_norms = row_norms(centered, p);
  const auto unit = directions(centered, centered_norms), unit_means = directions(centered_, result.class_norms);
  auto& measures = result.measures;
  measures["prototypeNormVariation"] = variation(norms, options_.ddof);
  measures["centeredPrototypeNormVariation"] = variation(centered_norms, options_.ddof);
  measures["centeredPrototypeCosine"] = compare_pairs(unit, p, control, result.centered_prototype_pairs,
                                                      options_.cosines ? &result.prototype_cosines : nullptr);
  compare_pairs(directions(prototypes_, norms), p, control, result.prototype_pairs, nullptr);
  measures["nc2"] = simplex_distance(centered, centered, p, control);
  measures["nc2Zhu"] = simplex_distance(prototypes_, prototypes_, p, control);
  measures["nc3"] = simplex_distance(centered, centered_, p, control);
  measures["nc3Zhu"] = simplex_distance(prototypes_, centered_, p, control);

  const double prototypes_norm = norm(prototypes_.data(), C * p), means_norm = norm(centered_.data(), C * p);
  double alignment = 0, duality = 0, frobenius = 0;
  std::vector<double> logits(C);  // of h̄
  for (Index c = 0; c < C; c++) {
    alignment += dot(&prototypes_[c * p], &centered_[c * p], p) / (norms[c] * result.class_norms[c]);
    double square = 0, logit = 0;
    for (Index i = c * p; i < (c + 1) * p; i++) {
      const double rest = unit_means[i] - unit[i],
                   difference = prototypes_[i] / prototypes_norm - centered_[i] / means_norm;
      square += rest * rest;
      frobenius += difference * difference;
      logit += prototypes_[i] * global_[i - c * p];
    }
    duality += std::sqrt(square);
    logits[c] = std::scalbn(logit, exponent_ + head_exponent_ - logit_exponent_) + biases_[c];
  }
  measures["alignment"] = alignment / C;
  measures["selfDuality"] = duality / C;
  measures["dualityFrobenius"] = frobenius;
  measures["nc4Zhu"] = std::scalbn(norm(logits.data(), C), logit_exponent_);
  result.prototype_norms = norms;
  result.centered_prototype_norms = centered_norms;
}

template <class T>
void Collapse<T>::add_sweep_measures(CollapseResult& result, const Control& control) const {
  const Index C = classes_, p = dim_;
  Part all(0, 0, C, p, rank_);
  for (const auto& part : parts_) {
    if (!part) continue;
    part->flush(rank_);
    for (Index i = 0; i < rank_ * rank_; i++) all.second[i] += part->second[i];
    for (Index c = 0; c < C; c++) {
      all.within[c] += part->within[c];
      all.counts[c] += part->counts[c];
    }
    all.trace += part->trace;
    all.to_class += part->to_class;
    all.to_global += part->to_global;
    all.decisions.add(part->decisions);
    all.samples += part->samples;
    all.disagree += part->disagree;
  }
  if (!std::isfinite(all.to_global)) {
    throw Error("LP_OVERFLOW", "Products of features exceed the range of their dtype; scale the features down.");
  }
  const double n = all.samples;
  for (double& value : all.second) value /= n;
  result.spectrum.resize(rank_);
  if (rank_ > 0) blas::eigh(rank_, all.second.data(), result.spectrum.data());
  std::reverse(result.spectrum.begin(), result.spectrum.end());
  for (double& value : result.spectrum) value = std::max(0.0, value);

  auto& measures = result.measures;
  const double trace = rank_ > 0 ? all.trace / n : kNaN;
  double within = 0, between = 0, distance_normalized = 0;
  // A mean is rounded by the size of its own class's features, which may be far below that of others.
  std::vector<double> roundings(C);
  for (Index c = 0; c < C; c++)
    roundings[c] = rounding_of(std::sqrt(all.within[c] / all.counts[c] + squared_norm(&means_[c * p], p)), p);
  for_each_product(centered_, centered_, p, control, [&](Index first, Matrix<const double> products) {
    for (Index c = first; c < first + products.rows; c++) {
      within += all.within[c] / n;
      between += squares_[c] / C;
      for (Index d = c + 1; d < C; d++) {
        const double lengths = squares_[c] + squares_[d];
        double square = lengths - 2 * products.row(c - first)[d];
        if (square < 1e-3 * lengths) {  // close means: the difference of lengths has lost its digits
          square = 0;
          for (Index j = 0; j < p; j++) square += std::pow(means_[c * p + j] - means_[d * p + j], 2);
          if (square <= std::pow(std::max(roundings[c], roundings[d]), 2)) square = 0;
        }
        distance_normalized += (all.within[c] / all.counts[c] + all.within[d] / all.counts[d]) / (2 * square);
      }
    }
  });
  measures["nc1"] = trace / C;
  measures["nc1Papyan"] = trace;
  measures["nc1TraceRatio"] = within / between;
  measures["nc1Cdnv"] = distance_normalized / (C * (C - 1) / 2);
  measures["withinClassVariation"] = all.to_class / all.to_global;
  if (!has_prototypes_) return;
  measures["nc4"] = all.disagree / n;
  measures["accuracy"] = all.decisions.correct / n;
  measures["minMargin"] = std::scalbn(all.decisions.min_margin, logit_exponent_);
  measures["meanMargin"] = std::scalbn(all.decisions.margins / n, logit_exponent_);
}

template <class T>
size_t Collapse<T>::bytes() const {
  size_t sum = bytes_of(prototypes_, biases_, counts_, means_, centered_, global_, whitening_, heads_, recovery_,
                        high_means_, low_means_, tabulated_, slot_, squares_, scores_, logits_);
  for (const auto& part : parts_) sum += part ? part->bytes() : 0;
  return sum;
}

template class Collapse<float>;
template class Collapse<double>;

}  // namespace lp
