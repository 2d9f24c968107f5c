// Losses on the device: see losses.h, and the passes of the CPU for the formulas (ops/loss/logits_pass,
// ops/loss/class_pass, transform_row in ops/loss/losses.kernel.cpp).
//
// Of losses that couple all classes, a chunk of rows at a time: U Wᵀ, one kernel that turns logits into their gradients
// in place and takes value, margin and decision with it, then G W and Gᵀ U. Of the others, one kernel over the samples,
// then sums over classes. What samples add up to is summed by blocks of fixed rows and joined in their order: no
// atomics, results repeat. Numbers of a row are summed in its type, those of many rows in double.
#include "ops/loss/losses.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/finite.h"
#include "cuda/launch.h"
#include "ops/linear/class_sums.h"
#include "ops/linear/matmul.h"
#include "ops/loss/pass.h"

namespace lp::cuda {

constexpr int kRowThreads = 256, kRowWarps = kRowThreads / kWarp;
constexpr Index kBlockRows = 64;      // of a block whose warps take a row each
constexpr Index kWarpClasses = 4096;  // more logits than these are a block's
constexpr Index kChunkBytes =
    Index{32} << 20;  // of logits, or of features beside them: they stay in the second-level cache
constexpr Index kBiasBlocks = 256,
                kBiasRows = 64;  // sums of columns: at most so many blocks of rows, each at least so many

// What the rows of a block add up to.
struct RowTally {
  double value, squares, correct, min_margin;
};

// The threads that share a row: a warp, or the block.
template <int kSize>
struct Group {
  double* shared;  // (kRowWarps), of a block

  __device__ __forceinline__ int lane() const { return static_cast<int>(threadIdx.x) % kSize; }
  __device__ __forceinline__ void sync() const {
    if constexpr (kSize == kWarp) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }
  template <class T, class F>
  __device__ __forceinline__ T reduce(T x, F join) const {
    x = warp_reduce(x, join);
    if constexpr (kSize > kWarp) {
      T* const parts = reinterpret_cast<T*>(shared);
      if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = x;
      __syncthreads();
      x = parts[0];
      for (int w = 1; w < kRowWarps; w++) x = join(x, parts[w]);
      __syncthreads();
    }
    return x;
  }
  template <class T>
  __device__ __forceinline__ T sum(T x) const {
    return reduce(x, [](T a, T b) { return a + b; });
  }
  template <class T>
  __device__ __forceinline__ T most(T x) const {
    return reduce(x, [](T a, T b) { return a > b ? a : b; });
  }
};

constexpr size_t kTallyShared = kRowWarps * (sizeof(double) + sizeof(RowTally));

// Calls row(i, group, tally) for the rows of the block, `share` of `rows`, by its groups of kSize; the first thread of
// each keeps the tally, in shared memory, as a row's own numbers fill the registers, and these are joined in their
// order.
template <int kSize, class F>
__device__ __forceinline__ void for_rows(Index rows, Index share, RowTally* tallies, F row) {
  double* const shared = shared_memory<double>();
  const Group<kSize> group{shared};
  RowTally* const all = reinterpret_cast<RowTally*>(shared + kRowWarps);
  const Index first = static_cast<Index>(blockIdx.x) * share, end = first + share < rows ? first + share : rows;
  const int at = static_cast<int>(threadIdx.x) / kSize, groups = kRowThreads / kSize;
  if (group.lane() == 0) all[at] = {0, 0, 0, static_cast<double>(INFINITY)};
  for (Index i = first + at; i < end; i += groups) row(i, group, all[at]);
  __syncthreads();
  if (threadIdx.x != 0) return;
  RowTally tally = all[0];
  for (int g = 1; g < groups; g++) {
    tally.value += all[g].value;
    tally.squares += all[g].squares;
    tally.correct += all[g].correct;
    if (all[g].min_margin < tally.min_margin) tally.min_margin = all[g].min_margin;
  }
  tallies[blockIdx.x] = tally;
}

// ‖x‖ of a warp's row. Where squares leave the type's range, x is divided by its largest element.
template <class T>
__device__ __forceinline__ double row_norm(const T* x, Index p) {
  constexpr bool kFloat = sizeof(T) == 4;
  constexpr T kLeast = static_cast<T>(kFloat ? 1e-24 : 1e-280), kMost = static_cast<T>(kFloat ? 1e36 : 1e300);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  T sum = 0;
  for (Index j = lane; j < p; j += kWarp) sum += x[j] * x[j];
  sum = warp_sum(sum);
  if ((sum > kLeast && sum < kMost) || sum != sum) return sqrt(static_cast<double>(sum));
  T most = 0;
  for (Index j = lane; j < p; j += kWarp) {
    const T size = x[j] < 0 ? -x[j] : x[j];
    most = size > most ? size : most;
  }
  most = warp_max(most);
  if (most == 0) return 0;
  sum = 0;
  for (Index j = lane; j < p; j += kWarp) sum += x[j] / most * (x[j] / most);
  return static_cast<double>(most) * sqrt(static_cast<double>(warp_sum(sum)));
}

template <class T>
__device__ __forceinline__ T row_dot(const T* x, const T* y, Index p) {
  T sum = 0;
  for (Index j = static_cast<int>(threadIdx.x) % kWarp; j < p; j += kWarp) sum += x[j] * y[j];
  return warp_sum(sum);
}

// ---- losses with logits ---------------------------------------------------------------------------------------------

// lengths (rows) = ‖h‖; and u = r h/‖h‖ unless null, where the first row that is zero leaves its place, counted from
// `first`, in *zero. A warp a row.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    enter_kernel(const T* h, Index rows, Index p, double radius, double* lengths, T* u, Index first,
                 unsigned long long* zero) {
  const Index i = static_cast<Index>(blockIdx.x) * kRowWarps + threadIdx.x / kWarp;
  if (i >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const double length = row_norm(h + i * p, p);
  if (lane == 0) {
    lengths[i] = length;
    if (zero && length == 0) atomicMin(zero, static_cast<unsigned long long>(first + i));
  }
  if (!u) return;
  const T scale = static_cast<T>(radius / length);
  for (Index j = lane; j < p; j += kWarp) u[i * p + j] = scale * h[i * p + j];
}

// d = ∂L/∂h from ∂L/∂u in its place; u null: features are not normalized. A warp a row.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    leave_kernel(const T* h, const T* u, const double* lengths, Index rows, Index p, double radius, T decay, T* d) {
  const Index i = static_cast<Index>(blockIdx.x) * kRowWarps + threadIdx.x / kWarp;
  if (i >= rows) return;
  T scale = 1, back = 0;
  if (u) {
    const double whole = radius / lengths[i];
    scale = static_cast<T>(whole);
    back = static_cast<T>(-whole * static_cast<double>(row_dot(u + i * p, d + i * p, p)) / (radius * radius));
  }
  for (Index j = static_cast<int>(threadIdx.x) % kWarp; j < p; j += kWarp) {
    const Index at = i * p + j;
    d[at] = scale * d[at] + (u ? back * u[at] : T(0)) + decay * h[at];
  }
}

template <class T>
struct Rows {
  RowLoss::Kind kind;
  T smoothing, margin;
  Index rows, classes, share;
  const int32_t* labels;
  const T* biases;        // (C) or null
  const double* weights;  // (C) of classes
  const double* soft;     // (rows, C) or null
  const double* lengths;  // (rows), where their squares are summed, or null
  bool keep;              // G is wanted
};

// z (rows, C), products with the prototypes, to G in place.
template <class T, int kSize>
__global__ void __launch_bounds__(kRowThreads, 3) rows_kernel(T* logits, Rows<T> of, RowTally* tallies) {
  for_rows<kSize>(of.rows, of.share, tallies, [&](Index i, const Group<kSize>& group, RowTally& tally) {
    T* const z = logits + i * of.classes;
    const int label = of.labels[i];
    const double whole = of.weights[label];
    const T weight = static_cast<T>(whole);
    const auto logit = [&](Index j) { return of.biases ? z[j] + of.biases[j] : z[j]; };
    const auto each = [&](auto take) {
      for (Index j = group.lane(); j < of.classes; j += kSize) take(j);
    };
    const T own = logit(label);
    T below = -static_cast<T>(INFINITY), above = below;  // the largest of the others, before and after the label
    each([&](Index j) {
      const T x = logit(j);
      if (j < label && x > below) below = x;
      if (j > label && x > above) above = x;
    });
    group.sync();  // nobody has yet to read what is written below
    below = group.most(below);
    above = group.most(above);
    const T rival = above > below ? above : below;

    T value = 0;
    if (of.kind == RowLoss::mse) {
      each([&](Index j) {
        const T rest = logit(j) - (j == label ? T(1) : T(0));
        value += rest * rest;
        if (of.keep) z[j] = 2 * weight * rest;
      });
      value = group.sum(value);
    } else if (of.kind == RowLoss::hinge) {
      T count = 0;
      each([&](Index j) {
        const T excess = logit(j) - (own - of.margin);
        const bool off = j == label || excess <= 0;  // a NaN counts
        value += off ? T(0) : excess;
        count += off ? T(0) : T(1);
        if (of.keep && j != label) z[j] = off ? T(0) : weight;
      });
      value = group.sum(value);
      count = group.sum(count);
      if (of.keep && group.lane() == label % kSize) z[label] = -weight * count;  // by whom it was read
    } else {
      const double* const soft = of.soft ? of.soft + i * of.classes : nullptr;
      const bool plain = !soft && of.smoothing == 0;
      const T top = own > rival ? own : rival;
      T rest = 0, total = 0;  // of the other classes alone, which keeps all digits of 1 − p_y
      each([&](Index j) {
        const T x = logit(j) - top, e = j == label ? T(0) : static_cast<T>(exp(x));
        rest += e;
        if (!plain) total += soft ? static_cast<T>(soft[j]) * x : x;
        if (of.keep) z[j] = e;
      });
      rest = group.sum(rest);
      if (!plain) total = group.sum(total);
      const T ahead = own - top, mine = static_cast<T>(exp(ahead)), sum = rest + mine, scale = weight / sum;
      const T log_sum = static_cast<T>(mine == 1 ? log1p(rest) : log(sum));
      const T even = of.smoothing / static_cast<T>(of.classes);
      value = plain ? log_sum - ahead : soft ? log_sum - total : log_sum - (1 - of.smoothing) * ahead - even * total;
      if (of.keep) {
        each([&](Index j) {
          const T target = soft ? static_cast<T>(soft[j]) : even + (j == label ? 1 - of.smoothing : T(0));
          if (plain) {
            z[j] = j == label ? -scale * rest : scale * z[j];
          } else {
            z[j] = scale * (j == label ? mine : z[j]) - weight * target;
          }
        });
      }
    }
    if (group.lane() != 0) return;
    const double margin = static_cast<double>(own) - static_cast<double>(rival);
    tally.value += whole * static_cast<double>(value);
    tally.correct += own > below && own >= above;  // as `predicted` of ops/loss/row.h
    if (margin < tally.min_margin) tally.min_margin = margin;
    if (of.lengths) tally.squares += of.lengths[i] * of.lengths[i];
  });
}

// parts (·, C) = or += sums of columns of g (rows, C): thread t of a block has column t % width of the tile blockIdx.y,
// and every so many rows.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    column_sums_kernel(const T* g, Index rows, Index classes, int width, bool more, double* parts) {
  const int lanes = kRowThreads / width, lane = static_cast<int>(threadIdx.x) / width;
  const Index column = static_cast<Index>(blockIdx.y) * width + threadIdx.x % width;
  if (lane >= lanes || column >= classes) return;
  const Index part = static_cast<Index>(blockIdx.x) * lanes + lane, step = static_cast<Index>(gridDim.x) * lanes;
  double sum = more ? parts[part * classes + column] : 0;
  for (Index i = part; i < rows; i += step) sum += static_cast<double>(g[i * classes + column]);
  parts[part * classes + column] = sum;
}

// out (C) = Σ parts (count, C). A block a class.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    join_columns_kernel(const double* parts, Index count, Index classes, T* out) {
  const Group<kRowThreads> group{shared_memory<double>()};
  double sum = 0;
  for (Index part = threadIdx.x; part < count; part += kRowThreads) sum += parts[part * classes + blockIdx.x];
  sum = group.sum(sum);
  if (threadIdx.x == 0) out[blockIdx.x] = static_cast<T>(sum);
}

// ---- losses without logits ------------------------------------------------------------------------------------------

// v (C, p) = γ total − (1+γ) w; or w, at its length where that is stated: `total` (p), `lengths` and `stated` (C) or
// null.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    pulls_kernel(const T* w, Index size, Index p, double gamma, const double* total, const double* lengths,
                 const double* stated, T* v) {
  const Index at = static_cast<Index>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (at >= size) return;
  const double own = static_cast<double>(w[at]), scale = stated ? stated[at / p] / lengths[at / p] : 1;
  v[at] = static_cast<T>(total ? gamma * total[at % p] - (1 + gamma) * own : scale * own);
}

template <class T>
struct Pulling {
  Index rows, p;
  const T *features, *prototypes;
  const int32_t* labels;
  const T* v;                          // (C, p)
  const double* offsets;               // (C) what biases add to the loss
  const double* weights;               // (C) of classes
  const double *targets, *curvatures;  // (C), of dot regression, or null
  const double* prototype_lengths;     // (C), where prototypes are turned
  bool normalized, own_length;
  double radius, decay, gamma, near;  // decay: 2ρ; near: 1 − ε
  T* slopes;                          // (n, p) ∂L/∂h or null
  double *factors, *turned;           // (n) of h in the class sums, and in those of turned prototypes
  unsigned long long* zero;           // the first feature that is zero and must not be
};

// A warp a sample: ClassPass::pull. kTurns: adjusted margin.
template <class T, bool kTurns>
__global__ void __launch_bounds__(kRowThreads, kTurns ? 2 : 3) pull_kernel(Pulling<T> of, RowTally* tallies) {
  for_rows<kWarp>(of.rows, kBlockRows, tallies, [&](Index i, const Group<kWarp>& group, RowTally& tally) {
    const Index p = of.p, y = of.labels[i];
    const T *const h = of.features + i * p, *const v = of.v + y * p, *const w = of.prototypes + y * p;
    const auto each = [&](auto take) {
      for (Index j = group.lane(); j < p; j += kWarp) take(j);
    };
    const bool measured = of.normalized || of.own_length || kTurns || of.decay != 0;
    const double length = measured ? row_norm(h, p) : 0, weight = of.weights[y];
    if (length == 0 && (of.normalized || of.own_length) && group.lane() == 0) {
      atomicMin(of.zero, static_cast<unsigned long long>(i));
    }
    const double scale = of.normalized ? of.radius / length : 1;
    const T factor = static_cast<T>(scale);  // u = factor h

    // Where the cosine of w and h is below −1 + ε: v = −(1+γ)(along ĥ + wanted aside), aside what w has across ĥ, or,
    // where that is lost in rounding, what an axis has; that is v = of_h ĥ + beside w, or the axis for w. In double:
    // aside is a small difference.
    bool turned = false;
    int axis = -1;
    double exact = length, of_h = 0, beside = 0;
    if constexpr (kTurns) {
      const double length_of_w = of.prototype_lengths[y];
      turned = length > 0 && static_cast<double>(row_dot(w, h, p)) / length < -of.near * length_of_w;
      if (turned) {
        if constexpr (sizeof(T) == 4) {
          double squares = 0;
          each([&](Index j) { squares += static_cast<double>(h[j]) * static_cast<double>(h[j]); });
          exact = sqrt(warp_sum(squares));
        }
        double along_h = 0;
        each([&](Index j) { along_h += static_cast<double>(w[j]) * (static_cast<double>(h[j]) / exact); });
        along_h = warp_sum(along_h);
        double size = 0;
        each([&](Index j) {
          const double aside = static_cast<double>(w[j]) - along_h * (static_cast<double>(h[j]) / exact);
          size += aside * aside;
        });
        size = sqrt(warp_sum(size));
        constexpr double kRounding = (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52) * 16;
        double own = along_h;  // what w, or the axis, has along ĥ
        if (size <= kRounding * length_of_w) {
          const double first = static_cast<double>(h[0]) / exact;
          axis = p > 1 && first * first > 0.5 ? 1 : 0;
          own = static_cast<double>(h[axis]) / exact;
          const double rest = 1 - own * own;
          size = rest > 0 ? sqrt(rest) : 0.0;
        }
        const double wanted = size > 0 ? -along_h * sqrt(1 - of.near * of.near) / of.near / size : 0.0;
        of_h = -(1 + of.gamma) * (along_h - wanted * own);
        beside = -(1 + of.gamma) * wanted;
      }
    }
    const auto direction = [&](Index j) {
      if constexpr (kTurns) {
        if (turned) {
          const double other = axis < 0 ? static_cast<double>(w[j]) : j == axis ? 1.0 : 0.0;
          return static_cast<T>(of_h * (static_cast<double>(h[j]) / exact) + beside * other);
        }
      }
      return v[j];
    };

    T product = 0;
    each([&](Index j) { product += factor * h[j] * direction(j); });
    const double along = static_cast<double>(warp_sum(product));
    double value = along, s = 1;
    if (of.targets) {
      const double size = of.own_length ? (of.normalized ? of.radius : length) : 1;
      const double rest = along - of.targets[y] * size;
      s = of.curvatures[y] / size * rest;
      value = s * rest / 2;
    }
    const double pulled = weight * s * scale;
    if (of.slopes) {
      const T back = static_cast<T>(of.normalized ? -pulled * along / (of.radius * of.radius) : 0);
      const T pull = static_cast<T>(pulled), decay = static_cast<T>(of.decay);
      each([&](Index j) { of.slopes[i * p + j] = back * (factor * h[j]) + pull * direction(j) + decay * h[j]; });
    }
    if (group.lane() != 0) return;
    if (of.factors) of.factors[i] = pulled;
    if (of.turned) of.turned[i] = turned ? pulled : 0;
    tally.value += weight * (value + of.offsets[y]);
    if (of.decay != 0) tally.squares += length * length;
  });
}

// out (C, p) = γ (total − turned total) − (1+γ) sums; of dot regression, where there is no total, the sums.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    prototype_gradient_kernel(const double* sums, Index size, Index p, double gamma, const double* total,
                              const double* turned_total, T* out) {
  const Index at = static_cast<Index>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (at >= size) return;
  double value = sums[at];
  if (total) {
    const double others = total[at % p] - (turned_total ? turned_total[at % p] : 0);
    value = gamma * others - (1 + gamma) * value;
  }
  out[at] = static_cast<T>(value);
}

namespace {

// A place that kernels lower: ~0 until then.
class Place {
 public:
  explicit Place(Job& job) : job_(job), place_(job.scratch<unsigned long long>(1)) {
    check(cudaMemsetAsync(place_, 0xff, sizeof *place_, stream_of(job)), "cudaMemsetAsync");
  }
  unsigned long long* get() const { return place_; }
  void refuse_zero(const char* name) const {
    const auto place = static_cast<Index>(job_.downloaded(place_));
    if (place >= 0) lp::refuse_zero(name, place);
  }

 private:
  Job& job_;
  unsigned long long* place_;
};

template <class T>
class Pass {
 public:
  Pass(Job& job, Precision precision, const Loss& loss, const State<const T>& state, const int32_t* labels)
      : job_(job),
        precision_(precision),
        loss_(loss),
        state_(state),
        labels_(labels),
        n_(state.samples()),
        classes_(state.classes()),
        p_(state.dim()) {
    std::vector<double> weights(classes_);
    for (Index c = 0; c < classes_; c++) weights[c] = sample_weight(loss, c, n_);
    weights_ = job.uploaded(weights.data(), classes_);
  }

  LossTally with_logits(const State<T>& gradient);
  LossTally by_classes(const State<T>& gradient);

 private:
  const double* uploaded(const std::vector<double>& numbers) {
    return numbers.empty() ? nullptr : job_.uploaded(numbers.data(), std::ssize(numbers));
  }
  template <class Kernel, class... A>
  void by_elements(Kernel kernel, Index size, A... arguments) {
    launch(job_, kernel, dim3(blocks_for(size, kRowThreads)), dim3(kRowThreads), 0, arguments...);
  }
  template <class Kernel, class... A>
  void by_warps(Kernel kernel, Index rows, A... arguments) {
    launch(job_, kernel, dim3(blocks_for(rows, kRowWarps)), dim3(kRowThreads), 0, arguments...);
  }
  LossTally joined(const RowTally* tallies, Index count);
  double* total_of(Matrix<const double> sums) {
    double* const total = job_.scratch<double>(p_);
    class_sums<double>(job_, sums, ClassRuns(job_, classes_), {total, 1, p_});
    return total;
  }
  void bias_gradient(const ByClass& by_class, T* biases);

  Job& job_;
  Precision precision_;
  const Loss& loss_;
  const State<const T>& state_;
  const int32_t* labels_;  // the device's
  Index n_, classes_, p_;
  const double* weights_;
};

template <class T>
LossTally Pass<T>::joined(const RowTally* tallies, Index count) {
  std::vector<RowTally> parts(count);
  job_.download(parts.data(), tallies, count * sizeof(RowTally));
  LossTally all;
  for (const RowTally& part : parts) {
    all.value += part.value;
    all.squares += part.squares;
    all.decisions.correct += part.correct;
    all.decisions.min_margin = std::min(all.decisions.min_margin, part.min_margin);
  }
  return all;
}

template <class T>
LossTally Pass<T>::with_logits(const State<T>& gradient) {
  const bool regularized = loss_.regularization != 0, sized = loss_.normalized || regularized;
  const Index wide = loss_.normalized ? std::max(classes_, p_) : classes_;
  const Index chunk = std::clamp<Index>(kChunkBytes / (wide * static_cast<Index>(sizeof(T))), 1, n_);
  const bool by_blocks = classes_ > kWarpClasses;
  const Index share = by_blocks ? 1 : kBlockRows, blocks = divide_up(chunk, share);

  T* const z = job_.scratch<T>(chunk * classes_);
  T* const inputs = loss_.normalized ? job_.scratch<T>(chunk * p_) : nullptr;
  double* const lengths = sized ? job_.scratch<double>(chunk) : nullptr;
  double* const soft = loss_.soft_labels.empty() ? nullptr : job_.scratch<double>(chunk * classes_);
  RowTally* const tallies = job_.scratch<RowTally>(divide_up(n_, chunk) * blocks);
  const Place zero(job_);
  // Sums of columns of G.
  const int width = static_cast<int>(std::min<Index>(classes_, kRowThreads)), lanes = kRowThreads / width;
  const Index stacks = std::clamp<Index>(chunk / (kBiasRows * lanes), 1, kBiasBlocks);
  double* const parts = gradient.biases ? job_.scratch<double>(stacks * lanes * classes_) : nullptr;

  Rows<T> of{};
  of.kind = loss_.kind == LossKind::mse     ? RowLoss::mse
            : loss_.kind == LossKind::hinge ? RowLoss::hinge
                                            : RowLoss::cross_entropy;
  of.smoothing = static_cast<T>(loss_.smoothing);
  of.margin = static_cast<T>(loss_.margin);
  of.classes = classes_;
  of.share = share;
  of.biases = state_.biases;
  of.weights = weights_;
  of.soft = soft;
  of.lengths = regularized ? lengths : nullptr;
  of.keep = gradient.features.data || gradient.prototypes.data || gradient.biases;

  Multiplier multiplier(job_, precision_);
  const T* const w = state_.prototypes.data;
  Index tallied = 0;
  for (Index first = 0; first < n_; first += chunk) {
    const Index rows = std::min(chunk, n_ - first);
    const T *const h = state_.features.row(first), *const u = inputs ? inputs : h;
    if (sized) {
      by_warps(enter_kernel<T>, rows, h, rows, p_, loss_.radius, lengths, inputs, first, inputs ? zero.get() : nullptr);
    }
    multiplier.gemm<T>(rows, classes_, p_, 1, {u, p_}, {w, p_, true}, 0, {z, classes_});
    if (soft) job_.upload(soft, loss_.soft_labels.data() + first * classes_, rows * classes_ * sizeof(double));
    of.rows = rows;
    of.labels = labels_ + first;
    launch(job_, by_blocks ? rows_kernel<T, kRowThreads> : rows_kernel<T, kWarp>, dim3(blocks_for(rows, share)),
           dim3(kRowThreads), kTallyShared, z, of, tallies + tallied);
    tallied += divide_up(rows, share);
    if (T* const slopes = gradient.features.data ? gradient.features.row(first) : nullptr) {
      multiplier.gemm<T>(rows, p_, classes_, 1, {z, classes_}, {w, p_}, 0, {slopes, p_});
      if (sized) {
        by_warps(leave_kernel<T>, rows, h, static_cast<const T*>(inputs), lengths, rows, p_, loss_.radius,
                 static_cast<T>(2 * loss_.regularization), slopes);
      }
    }
    if (gradient.prototypes.data) {
      multiplier.gemm<T>(classes_, p_, rows, 1, {z, classes_, true}, {u, p_}, first > 0 ? 1 : 0,
                         {gradient.prototypes.data, p_});
    }
    if (gradient.biases) {
      launch(job_, column_sums_kernel<T>, dim3(blocks_for(stacks, 1), blocks_for(classes_, width)), dim3(kRowThreads),
             0, z, rows, classes_, width, first > 0, parts);
    }
    job_.pace();
  }
  if (gradient.biases) {
    launch(job_, join_columns_kernel<T>, dim3(blocks_for(classes_, 1)), dim3(kRowThreads), kTallyShared, parts,
           stacks * lanes, classes_, gradient.biases);
  }
  if (inputs) zero.refuse_zero("features");
  return joined(tallies, tallied);
}

template <class T>
LossTally Pass<T>::by_classes(const State<T>& gradient) {
  const bool regression = loss_.kind == LossKind::dot_regression, turns = loss_.kind == LossKind::adjusted_margin;
  const bool fixed = !loss_.prototype_lengths.empty(), wanted = gradient.prototypes.data && !fixed;
  const Index size = classes_ * p_;
  const T* const w = state_.prototypes.data;
  const double* const total = regression ? nullptr : job_.scratch<double>(p_);
  if (total) class_sums<T>(job_, state_.prototypes, ClassRuns(job_, classes_), {const_cast<double*>(total), 1, p_});
  double* const lengths = fixed || turns ? job_.scratch<double>(classes_) : nullptr;
  if (lengths) {
    const Place zero(job_);
    by_warps(enter_kernel<T>, classes_, w, classes_, p_, 1.0, lengths, nullptr, 0, fixed ? zero.get() : nullptr);
    if (fixed) zero.refuse_zero("prototypes");
  }
  T* const v = job_.scratch<T>(size);
  by_elements(pulls_kernel<T>, size, w, size, p_, loss_.gamma, total, lengths, uploaded(loss_.prototype_lengths), v);

  std::vector<double> offsets(classes_);
  if (state_.biases && !regression) {
    std::vector<T> biases(classes_);
    job_.download(biases.data(), state_.biases, classes_ * sizeof(T));
    double sum = 0;
    for (const T bias : biases) sum += static_cast<double>(bias);
    for (Index c = 0; c < classes_; c++) {
      offsets[c] = loss_.gamma * sum - (1 + loss_.gamma) * static_cast<double>(biases[c]);
    }
  }

  const Place zero(job_);
  Pulling<T> of{};
  of.rows = n_;
  of.p = p_;
  of.features = state_.features.data;
  of.prototypes = w;
  of.labels = labels_;
  of.v = v;
  of.offsets = uploaded(offsets);
  of.weights = weights_;
  if (regression) of.targets = uploaded(loss_.targets), of.curvatures = uploaded(loss_.curvatures);
  of.prototype_lengths = lengths;
  of.normalized = loss_.normalized;
  of.own_length = loss_.own_length;
  of.radius = loss_.radius;
  of.decay = 2 * loss_.regularization;
  of.gamma = loss_.gamma;
  of.near = 1 - loss_.epsilon;
  of.slopes = gradient.features.data;
  of.factors = wanted ? job_.scratch<double>(n_) : nullptr;
  of.turned = wanted && turns ? job_.scratch<double>(n_) : nullptr;
  of.zero = zero.get();
  const Index blocks = divide_up(n_, kBlockRows);
  RowTally* const tallies = job_.scratch<RowTally>(blocks);
  launch(job_, turns ? pull_kernel<T, true> : pull_kernel<T, false>, dim3(blocks_for(n_, kBlockRows)),
         dim3(kRowThreads), kTallyShared, of, tallies);

  const ByClass by_class(state_.labels, n_, classes_);
  if (wanted) {
    const ClassRuns runs(job_, by_class);
    const auto sums_of = [&](const double* factors) {
      const Matrix<double> sums{job_.scratch<double>(size), classes_, p_};
      class_sums<T>(job_, state_.features, runs, sums, factors);
      return sums;
    };
    const Matrix<double> sums = sums_of(of.factors);
    by_elements(prototype_gradient_kernel<T>, size, sums.data, size, p_, loss_.gamma,
                regression ? nullptr : total_of(sums), turns ? total_of(sums_of(of.turned)) : nullptr,
                gradient.prototypes.data);
  } else if (gradient.prototypes.data) {
    job_.zero(gradient.prototypes.data, size * sizeof(T));
  }
  if (gradient.biases) bias_gradient(by_class, gradient.biases);
  if (loss_.normalized || loss_.own_length) zero.refuse_zero("features");
  return joined(tallies, blocks);
}

// As ClassPass::bias_gradient.
template <class T>
void Pass<T>::bias_gradient(const ByClass& by_class, T* biases) {
  std::vector<double> own(classes_);
  double total = 0;
  for (Index c = 0; c < classes_; c++) {
    own[c] = sample_weight(loss_, c, n_) * static_cast<double>(by_class.count(c));
    total += own[c];
  }
  std::vector<T> out(classes_);
  for (Index c = 0; c < classes_ && loss_.kind != LossKind::dot_regression; c++) {
    out[c] = static_cast<T>(loss_.gamma * total - (1 + loss_.gamma) * own[c]);
  }
  job_.upload(biases, out.data(), classes_ * sizeof(T));
}

// As `decisions` of losses.cpp.
template <class T>
Decisions decisions(Job& job, Precision precision, const Loss& loss, State<const T> state, const int32_t* labels) {
  Loss plain;
  plain.kind = LossKind::mse;
  plain.normalized = loss.normalized;
  plain.radius = loss.radius;
  if (loss.kind == LossKind::dot_regression) state.biases = nullptr;
  return Pass<T>(job, precision, plain, state, labels).with_logits({}).decisions;
}

}  // namespace

template <class T>
LossSummary loss_and_gradient(Job& job, Precision precision, const Loss& loss, const State<const T>& state,
                              const State<T>& gradient, bool measure) {
  const int32_t* const labels = job.uploaded(state.labels, state.samples());
  Pass<T> pass(job, precision, loss, state, labels);
  LossTally tally;
  if (loss.kind == LossKind::cross_entropy || loss.kind == LossKind::mse || loss.kind == LossKind::hinge) {
    tally = pass.with_logits(gradient);
  } else {
    tally = pass.by_classes(gradient);
    tally.decisions = measure ? decisions(job, precision, loss, state, labels) : Decisions();
  }
  LossSummary summary;
  summary.regularizer = loss.regularization == 0 ? 0 : loss.regularization * tally.squares;
  summary.value = tally.value + summary.regularizer;
  summary.min_margin = tally.decisions.min_margin;
  summary.accuracy = tally.decisions.correct / static_cast<double>(state.samples());
  if (!std::isfinite(summary.value)) {
    check_finite(job, state.features, "features");
    check_finite(job, state.prototypes, "prototypes");
    if (state.biases) check_finite<T>(job, {state.biases, state.classes(), 1}, "biases");
    throw Error("LP_OVERFLOW", "The loss of this state exceeds the range of its dtype; scale the state down.");
  }
  return summary;
}

template LossSummary loss_and_gradient(Job&, Precision, const Loss&, const State<const float>&, const State<float>&,
                                       bool);
template LossSummary loss_and_gradient(Job&, Precision, const Loss&, const State<const double>&, const State<double>&,
                                       bool);

}  // namespace lp::cuda
