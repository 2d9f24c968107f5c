// Measures of neural collapse of features (n, p) with labels, and of prototypes (C, p) and biases (C) where given:
// src/collapse/measures.ts lists their formulas and sources.
//
// Two sweeps over the features, each in as many chunks of rows as wanted, so that a chunk is all that has to be in
// memory.
//
//   sum      S_c = Σ_{y_i=c} h_i in double
//   center   μ_c = S_c/n_c, M_c = μ_c − h̄, and from the singular values √g of M = V diag(√g) Qᵀ (rank r ≤ min(C−1, p))
//              B = √C diag(1/√g) Qᵀ = √C diag(1/g) Vᵀ M   (r, p)     so that Σ_B⁺ = Bᵀ B
//              T = V diag(g)/√C = M Q diag(√g)/√C         (C, r)     so that T B = M
//            with g, and V or Q, the eigenvalues and eigenvectors of the smaller of M Mᵀ (C×C) and MᵀM (p×p)
//   measure  r_i = h_i − μ_{y_i}, q_i = B r_i, and W r_i: one product with [B; W] for a block of rows in cache
//              tr(Σ_W Σ_B⁺) = mean ‖q_i‖²; the eigenvalues of Σ_W Σ_B⁺ are those of (1/n) Σ q_i q_iᵀ
//              M_c·r_i = (T q_i)_c gives distances to class centres and to h̄;  z_i = W r_i + (W μ_{y_i} + b) the logits
//
// Whatever is C×C is made some rows at a time, so memory grows like C (p + 1) however many classes there are.
//
// Features are taken over the power of two of the largest of them, and prototypes over that of theirs, so that no
// square under- or overflows: what does not depend on the scale does not change with it. Means that differ from their
// mean, and prototypes from theirs, by no more than rounding do not differ.
//
// Nothing is a difference of large numbers: residuals r_i are formed in double and may then be rounded to float32,
// however far from the origin the features lie or however collapsed they are. `Σ_W` itself (p×p) is never formed.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/array.h"
#include "core/control.h"

namespace lp {

struct CollapseOptions {
  bool global_mean_of_samples = false;  // h̄: the mean of all samples instead of the mean of the class means
  int ddof = 0;                         // std has the divisor C − ddof
  bool cosines = true;                  // whether the result has the matrices of cosines
};

// Cosines of rows c < d of a matrix: NaN, and no histogram, where a row is 0.
struct PairCosines {
  static constexpr Index kBins = 200;
  double smallest = 0, largest = 0;
  std::vector<double> histogram;  // (kBins) pairs by their cosine, in bins of equal width over −1 … 1
};

struct CollapseResult {
  std::map<std::string, double> measures;  // by the names of src/collapse/measures.ts; NaN where undefined (0/0)
  std::vector<double> spectrum;            // (r) eigenvalues of Σ_W Σ_B⁺ that can differ from 0, descending
  PairCosines feature_pairs, prototype_pairs, centered_prototype_pairs;  // of M, W and W − w̄
  std::vector<double> feature_cosines;                                   // (C, C) of M, where asked for
  std::vector<double> class_norms;                                       // (C) ‖M_c‖
  std::vector<double>
      prototype_cosines;                // (C, C) of W − w̄, likewise; this and the next two are empty without prototypes
  std::vector<double> prototype_norms;  // (C) ‖w_c‖
  std::vector<double> centered_prototype_norms;
  std::vector<double> class_means;  // (C, p) μ
};

// The measurement of one set of features. Calls in order: sum for each chunk, center, measure for each chunk of the
// same rows (left out, the measures that need it are absent), result. Or refer in place of the sums: then μ are the
// means of other samples, such as those that a network is trained on, and the rows that are measured, whose classes
// need not all be there, are held against them.
template <class T>
class Collapse {
 public:
  // prototypes (C, p) and biases (C) or null; both are copied.
  Collapse(Index classes, Index dim, const T* prototypes, const T* biases, CollapseOptions options);
  ~Collapse();

  void sum(Matrix<const T> features, const int32_t* labels, const Control& control);
  // Means (C, p) of so many samples each (C).
  void refer(Matrix<const double> means, const int32_t* counts);
  void center(const Control& control);
  void measure(Matrix<const T> features, const int32_t* labels, const Control& control);
  CollapseResult result(const Control& control);

  size_t bytes() const;

 private:
  struct Part;
  // Fills the tables for these classes.
  void tabulate(std::vector<Index> classes, const Control& control);
  // Measures the rows of the features that are listed, whose classes the tables have.
  void measure_rows(Matrix<const T> features, const int32_t* labels, std::span<const Index> rows,
                    const Control& control);
  // … a panel at a time the first `count` of them; the others come next.
  void measure_block(Part& part, Index panel, Index count, Matrix<const T> features, const int32_t* labels,
                     std::span<const Index> rows);
  void add_sweep_measures(CollapseResult& result, const Control& control) const;
  void add_prototype_measures(CollapseResult& result, const Control& control) const;

  const Index classes_, dim_;
  const CollapseOptions options_;
  bool has_prototypes_;
  std::vector<double> prototypes_, biases_;  // biases are 0 where none are given
  Index samples_ = 0, measured_ = 0;         // of the first sweep, and of the second
  std::vector<Index> counts_;
  double largest_ = 0;     // |h| of the first sweep
  bool referred_ = false;  // whether means_ are means from the beginning
  // Features are over 2^exponent_, prototypes over 2^head_exponent_, logits, which biases belong to, over
  // 2^logit_exponent_.
  int exponent_ = 0, head_exponent_ = 0, logit_exponent_ = 0;
  std::vector<double> means_;     // (C, p) sums until `center`, then μ
  std::vector<double> centered_;  // (C, p) M
  std::vector<double> squares_;   // (C) ‖M_c‖²
  std::vector<double> global_;    // (p) h̄
  Index rank_ = 0;
  Buffer<T> whitening_;                       // (rank, p) B; this and the next two have rows padded with zeros
  Buffer<T> heads_;                           // (C, p) W
  Buffer<T> recovery_;                        // (C, rank) T
  Buffer<T> high_means_, low_means_;          // (C, p) μ as the sum of two
  std::vector<Index> tabulated_;              // the classes whose rows the tables have
  std::vector<Index> slot_;                   // (C) where among them a class stands
  std::vector<double> scores_;                // (·, C) row of y: M_y·M_c − ‖M_c‖²/2; rows padded with −∞
  std::vector<double> logits_;                // (·, C) row of y: w_c·μ_y + b_c; likewise
  std::vector<std::unique_ptr<Part>> parts_;  // of the second sweep, one a thread
};

// Plain loops over the definitions: the oracle. All measures; against the means of another state where one is given.
template <class T>
CollapseResult collapse_ref(const State<const T>& state, CollapseOptions options,
                            const State<const T>* reference = nullptr);

// The largest of some sums over the classes.
struct Best {
  double value;
  Index index;
};

}  // namespace lp
