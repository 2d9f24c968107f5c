// Many runs of projected descent, a block each: see batched.h.
#include "ops/descent/batched.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "cuda/launch.h"

namespace lp::cuda {

constexpr int kMostThreads = SharedParts::kScratch * kWarp;
constexpr int kClassTile = 4;  // classes that share a feature once it is in a register

// What the kernel needs to know of a run.
template <class T>
struct RunPlan {
  LossKind kind;
  bool normalized, rescaled, moving;
  bool moves_features, moves_prototypes, moves_biases;
  T gamma, smoothing, margin, radius;
  MoveFactors features, prototypes, biases;  // their rates are those of the step
};

// What a block is to do: which run, its rates (3, steps) from `rates` on, and how many of these steps.
struct Errand {
  Index rates, stride;
  int run, steps;
};

template <class T>
struct Batch {
  int samples, classes, dim;
  bool biased;
  SharedParts parts;
  const RunPlan<T>* plans;  // of the runs
  const int32_t* labels;    // (runs, n)
  const T* weights;         // (runs, n): a_y/n, or a_y
  const Errand* errands;    // of the blocks
  const double* rates;
  T *states, *velocities;  // (blocks, (n + C) p + C)
  int* taken;              // of the blocks
};

// ∂ℓ/∂z of a row of C logits with label y, one after another: put(c, slope).
template <class T, class Put>
__device__ __forceinline__ void slopes_of(const RunPlan<T>& plan, const T* z, int classes, int y, T weight, Put put) {
  switch (plan.kind) {
    case LossKind::mse:
      for (int c = 0; c < classes; c++) put(c, 2 * weight * (z[c] - (c == y ? T(1) : T(0))));
      return;
    case LossKind::hinge: {
      const T edge = z[y] - plan.margin;
      T count = 0;
      for (int c = 0; c < classes; c++) count += c != y && z[c] > edge ? weight : T(0);
      for (int c = 0; c < classes; c++) put(c, c == y ? -count : z[c] > edge ? weight : T(0));
      return;
    }
    case LossKind::unhinged:
      for (int c = 0; c < classes; c++) put(c, weight * (c == y ? T(-1) : plan.gamma));
      return;
    default: {
      // softmax(z) − t: 1 − p_y is the sum of the others, which keeps its digits where y dominates.
      const T even = plan.smoothing / static_cast<T>(classes), certain = plan.smoothing - even;
      T top = z[0], rest = 0;
      for (int c = 1; c < classes; c++) top = z[c] > top ? z[c] : top;
      for (int c = 0; c < classes; c++) rest += c == y ? T(0) : std::exp(z[c] - top);
      const T scale = weight / (rest + std::exp(z[y] - top)), others = weight * even;
      const T of_own = weight * certain - scale * rest;
      for (int c = 0; c < classes; c++) put(c, c == y ? of_own : scale * std::exp(z[c] - top) - others);
    }
  }
}

// Σ of all threads' x, of which every thread gets it.
__device__ __forceinline__ double block_sum(double x, double* scratch) {
  const int warps = blockDim.x / kWarp;
  x = warp_sum(x);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  double all = 0;
  for (int w = 0; w < warps; w++) all += scratch[w];
  __syncthreads();
  return all;
}

// out(r, c) += Σ_k a(r, k) b(c, k) for kClassTile values c from `first` on, below `count`. a and b step by their
// strides.
template <class T>
__device__ __forceinline__ void dots(const T* a, int a_step, const T* b, int b_row, int b_step, int length, int first,
                                     int count, T (&sums)[kClassTile]) {
  const T* rows[kClassTile];
#pragma unroll
  for (int q = 0; q < kClassTile; q++) {
    rows[q] = b + (first + q < count ? first + q : count - 1) * b_row;
    sums[q] = 0;
  }
  for (int k = 0; k < length; k++) {
    const T x = a[k * a_step];
#pragma unroll
    for (int q = 0; q < kClassTile; q++) sums[q] += x * rows[q][k * b_step];
  }
}

// Moves rows of p elements with velocities v, a warp a row, by the rule of ops/descent/move, and projects them;
// gradient(i, j), and of a row its rate(i) and decay(i). All threads of the block call it.
template <class T, class Gradient, class Rate, class Decay>
__device__ __forceinline__ void move_rows(T* x, T* v, int rows, int p, int stride, const MoveFactors& factors,
                                          double* scratch, Gradient gradient, Rate rate, Decay decay) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
  const T momentum = static_cast<T>(factors.momentum), radius = static_cast<T>(factors.constraint.radius);
  const Constraint::Kind kind = factors.constraint.kind;
  const bool moving = factors.momentum != 0, ahead = factors.nesterov;
  double all = 0;
  for (int i = warp; i < rows; i += warps) {
    T square = 0;
    const T step = rate(i), shrink = decay(i);
    for (int j = lane; j < p; j += kWarp) {
      const int at = i * stride + j;
      const T d = gradient(i, j) + shrink * x[at];
      T by = d;
      if (moving) {
        const T speed = momentum * v[at] + d;
        v[at] = speed;
        by = ahead ? d + momentum * speed : speed;
      }
      const T moved = x[at] - step * by;
      x[at] = moved;
      square += moved * moved;
    }
    if (kind == Constraint::none) continue;
    square = warp_sum(square);
    if (kind == Constraint::frobenius) {
      if (lane == 0) all += static_cast<double>(square);
    } else if (square > radius * radius || (kind == Constraint::sphere && square > 0)) {
      const T factor = radius / std::sqrt(square);
      for (int j = lane; j < p; j += kWarp) x[i * stride + j] *= factor;
    }
  }
  if (kind != Constraint::frobenius) return;
  all = block_sum(all, scratch);
  if (!(all > factors.constraint.radius * factors.constraint.radius)) return;
  const T factor = static_cast<T>(factors.constraint.radius / std::sqrt(all));
  for (int i = warp; i < rows; i += warps) {
    for (int j = lane; j < p; j += kWarp) x[i * stride + j] *= factor;
  }
}

// Between memory of rows of p elements and shared memory, where they are `stride` apart.
template <class T>
__device__ __forceinline__ void bring(T* shared, int stride, const T* from, int rows, int p) {
  for (int k = threadIdx.x; k < rows * p; k += blockDim.x) shared[k / p * stride + k % p] = from[k];
}
template <class T>
__device__ __forceinline__ void bring_back(T* to, const T* shared, int stride, int rows, int p) {
  for (int k = threadIdx.x; k < rows * p; k += blockDim.x) to[k] = shared[k / p * stride + k % p];
}

// Takes each block's run from step `first`, if it has come so far, `steps` steps on, or as many as are left of its
// errand, or up to a state from which there is none.
template <class T>
__global__ void __launch_bounds__(kMostThreads, 3) descent_kernel(Batch<T> batch, int first, int steps) {
  const Errand errand = batch.errands[blockIdx.x];
  if (batch.taken[blockIdx.x] != first || first >= errand.steps) return;
  const RunPlan<T>& plan = batch.plans[errand.run];
  const int n = batch.samples, classes = batch.classes, p = batch.dim;
  const int wide = batch.parts.dim_stride, across = batch.parts.class_stride;
  const int thread = threadIdx.x, threads = blockDim.x, tiles = (classes + kClassTile - 1) / kClassTile;
  double* const scratch = shared_memory<double>();
  T* const shared = reinterpret_cast<T*>(scratch + SharedParts::kScratch);
  T *const h = shared + batch.parts.features, *const w = shared + batch.parts.prototypes;
  T *const b = shared + batch.parts.biases, *const vb = shared + batch.parts.biases_velocity;
  T *const vh = shared + batch.parts.features_velocity, *const vw = shared + batch.parts.prototypes_velocity;
  T *const g = shared + batch.parts.slopes, *const gw = shared + batch.parts.prototypes_slope;
  T *const gb = shared + batch.parts.biases_slope, *const weights = shared + batch.parts.weights;
  T *const decays = shared + batch.parts.decay, *const paces = shared + batch.parts.rate;
  T* const scales = shared + batch.parts.scale;
  int32_t* const labels = reinterpret_cast<int32_t*>(shared + batch.parts.labels);
  const int64_t size = static_cast<int64_t>(n + classes) * p + classes, at = blockIdx.x * size;
  T *const state = batch.states + at, *const velocity = batch.velocities + at;

  bring(h, wide, state, n, p);
  bring(w, wide, state + n * p, classes, p);
  for (int c = thread; c < classes; c += threads) b[c] = batch.biased ? state[(n + classes) * p + c] : T(0);
  if (plan.moving) {
    bring(vh, wide, velocity, n, p);
    bring(vw, wide, velocity + n * p, classes, p);
    for (int c = thread; c < classes; c += threads) vb[c] = batch.biased ? velocity[(n + classes) * p + c] : T(0);
  }
  for (int i = thread; i < n; i += threads) {
    labels[i] = batch.labels[static_cast<int64_t>(errand.run) * n + i];
    weights[i] = batch.weights[static_cast<int64_t>(errand.run) * n + i];
  }
  __syncthreads();

  const bool moves_biases = batch.biased && plan.moves_biases;
  const int last = first + steps < errand.steps ? first + steps : errand.steps;
  int step = first;
  for (; step < last; step++) {
    const double* const rates = batch.rates + errand.rates + step;
    const T rate_features = static_cast<T>(rates[0]), rate_prototypes = static_cast<T>(rates[errand.stride]);
    const T rate_biases = static_cast<T>(rates[2 * errand.stride]);

    for (int k = thread; k < n * tiles; k += threads) {
      const int i = k % n, c = k / n * kClassTile;
      T sums[kClassTile];
      dots(h + i * wide, 1, w, wide, 1, p, c, classes, sums);
#pragma unroll
      for (int q = 0; q < kClassTile; q++)
        if (c + q < classes) g[i * across + c + q] = sums[q];
    }
    __syncthreads();

    // Logits with their biases, of features at their lengths; whether a step can be made from them.
    bool broken = false;
    for (int i = thread; i < n; i += threads) {
      T scale = 1, pace = rate_features;
      if (plan.normalized || plan.rescaled) {
        T square = 0;
        for (int j = 0; j < p; j++) square += h[i * wide + j] * h[i * wide + j];
        const T norm = std::sqrt(square);
        if (plan.rescaled) pace *= norm;
        if (plan.normalized) {
          scale = norm > 0 ? plan.radius / norm : T(0);
          broken |= !(square > static_cast<T>(kLeastSquare));
        }
      }
      for (int c = 0; c < classes; c++) {
        const T z = g[i * across + c] * scale + b[c];
        g[i * across + c] = z;
        broken |= !(z < static_cast<T>(kSmallLogits) && z > -static_cast<T>(kSmallLogits));
      }
      paces[i] = pace;
      scales[i] = scale;
    }
    if (__syncthreads_or(broken)) break;

    // Slopes. With u = r h/‖h‖: ∂/∂h = (r/‖h‖) (g − û ûᵀg), and ûᵀg = Σ_c G_c (z_c − b_c)/r; what it loses along h
    // joins the decay.
    for (int i = thread; i < n; i += threads) {
      T* const z = g + i * across;
      T along = 0;
      slopes_of(plan, z, classes, labels[i], weights[i], [&](int c, T slope) {
        along += slope * (z[c] - b[c]);
        z[c] = slope;
      });
      decays[i] = static_cast<T>(plan.features.decay);
      if (plan.normalized) decays[i] -= along * scales[i] * scales[i] / (plan.radius * plan.radius);
    }
    __syncthreads();

    if (moves_biases) {
      for (int c = thread / kWarp; c < classes; c += threads / kWarp) {
        T sum = 0;
        for (int i = thread % kWarp; i < n; i += kWarp) sum += g[i * across + c];
        sum = warp_sum(sum);
        if (thread % kWarp == 0) gb[c] = sum;
      }
    }
    if (plan.normalized) {
      __syncthreads();
      for (int k = thread; k < n * classes; k += threads) g[k / classes * across + k % classes] *= scales[k / classes];
      __syncthreads();
    }
    if (plan.moves_prototypes) {
      for (int k = thread; k < p * tiles; k += threads) {
        const int j = k % p, c = k / p * kClassTile;
        T sums[kClassTile];
        dots(h + j, wide, g, 1, across, n, c, classes, sums);
#pragma unroll
        for (int q = 0; q < kClassTile; q++)
          if (c + q < classes) gw[(c + q) * wide + j] = sums[q];
      }
    }
    __syncthreads();

    if (plan.moves_features) {
      move_rows(
          h, vh, n, p, wide, plan.features, scratch,
          [=](int i, int j) {
            T slope = 0;
            for (int c = 0; c < classes; c++) slope += g[i * across + c] * w[c * wide + j];
            return slope;
          },
          [=](int i) { return paces[i]; }, [=](int i) { return decays[i]; });
    }
    __syncthreads();

    if (plan.moves_prototypes) {
      const T decay = static_cast<T>(plan.prototypes.decay);
      move_rows(
          w, vw, classes, p, wide, plan.prototypes, scratch, [=](int c, int j) { return gw[c * wide + j]; },
          [=](int) { return rate_prototypes; }, [=](int) { return decay; });
    }
    if (moves_biases) {
      const T decay = static_cast<T>(plan.biases.decay);
      move_rows(
          b, vb, 1, classes, classes, plan.biases, scratch, [=](int, int c) { return gb[c]; },
          [=](int) { return rate_biases; }, [=](int) { return decay; });
    }
    __syncthreads();
  }

  bring_back(state, h, wide, n, p);
  bring_back(state + n * p, w, wide, classes, p);
  if (batch.biased) bring_back(state + (n + classes) * p, b, classes, 1, classes);
  if (plan.moving) {
    bring_back(velocity, vh, wide, n, p);
    bring_back(velocity + n * p, vw, wide, classes, p);
    if (batch.biased) bring_back(velocity + (n + classes) * p, vb, classes, 1, classes);
  }
  if (thread == 0) batch.taken[blockIdx.x] = step;
}

namespace {

template <class T>
RunPlan<T> run_plan(const ProjectedDescentPlan& plan) {
  const Loss& loss = plan.loss;
  RunPlan<T> run{loss.kind,
                 loss.normalized,
                 plan.rescaled,
                 plan.momentum != 0,
                 plan.features.moves,
                 plan.prototypes.moves,
                 plan.biases.moves,
                 static_cast<T>(loss.gamma),
                 static_cast<T>(loss.smoothing),
                 static_cast<T>(loss.margin),
                 static_cast<T>(loss.radius),
                 plan.factors_of(plan.features, 0),
                 plan.factors_of(plan.prototypes, 0),
                 plan.factors_of(plan.biases, 0)};
  run.features.decay += 2 * loss.regularization;  // ∂ρ‖h‖²/∂h
  return run;
}

// A batch of runs while a job has the device. What it needs of memory it has from the beginning.
template <class T>
class BlockARun final : public StepsOfMany<T> {
 public:
  // rates: those of the call, `count` numbers, of which legs take theirs, `stride` apart; or from elsewhere, one at a
  // time.
  BlockARun(Job& job, const std::vector<std::unique_ptr<ProjectedDescent<T>>>& runs, const double* rates, Index count,
            Index stride)
      : job_(job),
        count_(std::ssize(runs)),
        first_(runs[0]->state()),
        known_(rates),
        known_end_(rates + count),
        stride_(stride) {
    const Index n = first_.samples(), classes = first_.classes(), p = first_.dim();
    size_ = (n + classes) * p + classes;
    std::vector<RunPlan<T>> plans;
    std::vector<int32_t> labels;
    std::vector<T> weights;
    for (const auto& run : runs) {
      const Loss& loss = run->plan().loss;
      if (const std::string beyond = beyond_devices<T>(run->plan(), n, classes, p); !beyond.empty()) {
        throw Error("LP_DEVICE", "A device has no " + beyond + ".");
      }
      plans.push_back(run_plan<T>(run->plan()));
      moving_ = moving_ || plans.back().moving;
      for (Index i = 0; i < n; i++) {
        const int32_t label = run->state().labels[i];
        const double weight = loss.class_weights.empty() ? 1 : loss.class_weights[label];
        labels.push_back(label);
        weights.push_back(static_cast<T>(weight / (loss.sum ? 1 : static_cast<double>(n))));
      }
    }
    const SharedParts parts(n, classes, p, moving_);
    shared_ = static_cast<size_t>(parts.bytes<T>());
    int most = 0;
    check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, job.device().description().ordinal),
          "cudaDeviceGetAttribute");
    if (shared_ > static_cast<size_t>(most)) {
      throw Error("LP_DEVICE", "A run takes " + std::to_string(divide_up(parts.bytes<T>(), 1024)) +
                                   " KB of a block's shared memory, of which this device has " +
                                   std::to_string(most / 1024) + "; leave device out.");
    }
    errands_ = job.scratch<Errand>(count_);
    rates_ = job.scratch<double>(count + 3 * Leg<T>::kMost);
    job.upload(rates_, rates, static_cast<size_t>(count) * sizeof(double));
    T* const states = job.scratch<T>(count_ * size_);
    T* const velocities = moving_ ? job.scratch<T>(count_ * size_) : states;
    batch_ = std::make_unique<Batch<T>>(Batch<T>{static_cast<int>(n), static_cast<int>(classes), static_cast<int>(p),
                                                 first_.biases != nullptr, parts, job.uploaded(plans.data(), count_),
                                                 job.uploaded(labels.data(), std::ssize(labels)),
                                                 job.uploaded(weights.data(), std::ssize(weights)), errands_, rates_,
                                                 states, velocities, job.scratch<int>(count_)});
    allow_shared(descent_kernel<T>, shared_);
  }

  void go(std::vector<Leg<T>>& legs) override {
    const Index blocks = std::ssize(legs), most = send(legs);
    const Index threads = shared_ > 64 * 1024 ? kMostThreads : kMostThreads / 2;
    const Index stretch = steps_of_stretch(blocks);
    for (Index first = 0; first < most; first += stretch) {
      launch(job_, descent_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)),
             shared_, *batch_, static_cast<int>(first), static_cast<int>(std::min(stretch, most - first)));
      job_.pace();
    }
    bring_home(legs);
  }

 private:
  // Returns the most steps of any.
  Index send(const std::vector<Leg<T>>& legs) {
    std::vector<Errand> errands;
    Index most = 0;
    for (const Leg<T>& leg : legs) {
      Errand errand{leg.rates[0] - known_, stride_, static_cast<int>(leg.run), static_cast<int>(leg.steps)};
      if (std::less<>()(leg.rates[0], known_) || !std::less<>()(leg.rates[0], known_end_)) {
        errand.rates = known_end_ - known_;
        errand.stride = Leg<T>::kMost;
        for (int part = 0; part < 3; part++) {
          job_.upload(rates_ + errand.rates + part * errand.stride, leg.rates[part], leg.steps * sizeof(double));
        }
      }
      errands.push_back(errand);
      most = std::max(most, leg.steps);
    }
    stage_.resize(legs.size() * size_);
    const std::vector<int> none(legs.size(), 0);
    const auto upload = [&](auto* to, const auto& from) {
      job_.upload(to, from.data(), from.size() * sizeof(from[0]));
    };
    upload(errands_, errands);
    upload(batch_->taken, none);
    for (size_t k = 0; k < legs.size(); k++) std::copy_n(legs[k].state, used(), &stage_[k * size_]);
    upload(batch_->states, stage_);
    if (!moving_) return most;
    for (size_t k = 0; k < legs.size(); k++)
      if (legs[k].velocity) std::copy_n(legs[k].velocity, used(), &stage_[k * size_]);
    upload(batch_->velocities, stage_);
    return most;
  }

  void bring_home(std::vector<Leg<T>>& legs) {
    std::vector<int> taken(legs.size());
    job_.download(taken.data(), batch_->taken, taken.size() * sizeof(int));
    job_.download(stage_.data(), batch_->states, stage_.size() * sizeof(T));
    for (size_t k = 0; k < legs.size(); k++) {
      legs[k].taken = taken[k];
      std::copy_n(&stage_[k * size_], used(), legs[k].state);
    }
    if (!moving_) return;
    job_.download(stage_.data(), batch_->velocities, stage_.size() * sizeof(T));
    for (size_t k = 0; k < legs.size(); k++)
      if (legs[k].velocity) std::copy_n(&stage_[k * size_], used(), legs[k].velocity);
  }

  // Elements of a run's state that mean something.
  Index used() const { return first_.biases ? size_ : size_ - first_.classes(); }

  // Steps that take about ten milliseconds: a multiprocessor makes some 10¹⁰ multiplications a second of a step's 3 n C
  // p, and a step alone has 20 µs of waiting.
  Index steps_of_stretch(Index blocks) const {
    const auto& [n, classes, p] = std::array{first_.samples(), first_.classes(), first_.dim()};
    const double turns = std::ceil(static_cast<double>(blocks) / job_.device().description().multiprocessors);
    const double work = 3 * static_cast<double>(n) * static_cast<double>(classes) * static_cast<double>(p);
    return static_cast<Index>(std::clamp(1e-2 / (turns * (work / 1e10 + 2e-5)), 1.0, 65536.0));
  }

  Job& job_;
  const Index count_;
  const State<T> first_;  // of the first run: the shape of all
  const double *const known_, *const known_end_;
  const Index stride_;
  Index size_ = 0;
  bool moving_ = false;
  size_t shared_ = 0;
  Errand* errands_ = nullptr;
  double* rates_ = nullptr;
  std::unique_ptr<Batch<T>> batch_;
  std::vector<T> stage_;
};

}  // namespace

template <class T>
void advance_all(Job& job, const std::vector<std::unique_ptr<ProjectedDescent<T>>>& runs, const double* rates,
                 bool rates_of_each, Index steps, bool shown, std::vector<DescentOutcome>& outcomes) {
  if (runs.empty()) return;
  const Index count = 3 * steps * (rates_of_each ? std::ssize(runs) : 1);
  BlockARun<T> many(job, runs, rates, count, steps);
  ProjectedDescent<T>::advance_together(runs, rates, rates_of_each, steps, shown, outcomes, many, job.control());
}

template void advance_all(Job&, const std::vector<std::unique_ptr<ProjectedDescent<float>>>&, const double*, bool,
                          Index, bool, std::vector<DescentOutcome>&);
template void advance_all(Job&, const std::vector<std::unique_ptr<ProjectedDescent<double>>>&, const double*, bool,
                          Index, bool, std::vector<DescentOutcome>&);

}  // namespace lp::cuda
