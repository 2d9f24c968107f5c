#include "ops/descent/blocks.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>

#include "core/finite.h"
#include "core/random.h"
#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/descent/lanes.h"

namespace lp {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// Squares of logits below this are in the range of a float.
constexpr double kSmallLogits = 1e15;

// The order in which an epoch takes the samples.
void permute(std::vector<Index>& order, uint64_t seed, Index epoch) {
  std::iota(order.begin(), order.end(), Index(0));
  SplitMix64 random({seed, static_cast<uint64_t>(epoch)});
  shuffle(order.data(), std::ssize(order), random);
}

bool asks_for(const DescentPlan& plan, DescentMeasure measure) {
  return std::ranges::find(plan.measures, measure) != plan.measures.end() ||
         (plan.event && plan.event->measure == measure);
}

double total(const Buffer<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

// The arrays of a state, all in one piece of memory.
template <class T>
struct Arrays {
  Arrays() = default;
  Arrays(Index n, Index classes, Index p, bool biased)
      : memory((n + classes) * p + classes), n(n), classes(classes), p(p), biased(biased) {
    std::fill(memory.begin(), memory.end(), T(0));
  }
  State<T> state(const int32_t* labels) const {
    return {{memory.get(), n, p},
            {memory.get() + n * p, classes, p},
            biased ? memory.get() + (n + classes) * p : nullptr,
            labels};
  }
  void copy(const Arrays& other) const { std::copy(other.memory.begin(), other.memory.end(), memory.begin()); }

  Buffer<T> memory;
  Index n = 0, classes = 0, p = 0;
  bool biased = false;
};

}  // namespace

template <class T>
struct Descent<T>::Run {
  Run(const DescentPlan& given, const State<const T>& start)
      : plan(given),
        n(start.samples()),
        classes(start.classes()),
        p(start.dim()),
        labels(start.labels, start.labels + n),
        now(n, classes, p, start.biases != nullptr),
        gradient(0, classes, p, true),
        pass(plan.loss, classes, p),
        squares(n),
        norms_wanted(given.rescaled || given.features.constraint.kind == Constraint::frobenius ||
                     !given.measures.empty() || given.event || given.stationary >= 0),
        residual_wanted(given.stationary >= 0 || asks_for(given, DescentMeasure::stationarity)) {
    if (plan.momentum != 0) velocity = Arrays<T>(n, classes, p, start.biases != nullptr);
    const State<T> state = now.state(labels.data());
    std::copy_n(start.features.data, n * p, state.features.data);
    std::copy_n(start.prototypes.data, classes * p, state.prototypes.data);
    if (start.biases) std::copy_n(start.biases, classes, state.biases);
    if (plan.batch >= n) plan.batch = 0;
    if (plan.batch > 0) order.resize(n);
    if (Quick<T>::suits(plan, n, classes, p)) quick.emplace(plan, start);
  }

  // ---- one step -----------------------------------------------------------------------------------------------------

  struct Rates {
    double features, prototypes, biases;
  };

  // What a measurement is made of.
  struct Sums {
    LossSummary loss;
    double features = 0, prototypes = 0;                       // ‖·‖²
    double by_features = 0, by_prototypes = 0, by_biases = 0;  // ‖∇‖²
    double along = 0;                                          // ⟨θ, ∇⟩
    double distance = 0;                                       // ‖Z − D‖²
    double residual = 0;                                       // stationarity²
  };

  bool finite(const LossSummary& summary) const { return std::isfinite(summary.value); }

  // Moves the state by one step, unless its loss is not finite: then the state is not to be used. With `sums`, fills
  // them for the state before.
  bool move(const Rates& rates, Sums* sums, const Control& control) {
    const State<T> state = now.state(labels.data()), slope = gradient.state(nullptr);
    const Index* chosen = nullptr;
    Index count = n;
    if (plan.batch > 0) {
      const Index batches = divide_up(n, plan.batch), first = done % batches * plan.batch;
      if (const Index wanted = done / batches; epoch != wanted) permute(order, plan.seed, epoch = wanted);
      chosen = order.data() + first;
      count = std::min(plan.batch, n - first);
    }
    const auto move_row = LP_SELECT(move_row<T>);
    const MoveFactors factors = factors_of(plan.features, rates.features);
    const State<T> speed = velocity.memory.size() > 0 ? velocity.state(nullptr) : State<T>{};
    typename LossPass<T>::Move moved;
    if (plan.features.moves || sums) {
      moved = [&](Index begin, Index end, const T* rows) {
        for (Index i = begin; i < end; i++) {
          const Index sample = chosen ? chosen[i] : i;
          const T* g = rows + (i - begin) * p;
          if (sums) look(state, sample, g);
          if (!plan.features.moves) continue;
          MoveFactors own = factors;
          if (plan.rescaled) own.rate *= std::sqrt(squares[sample]);
          T *x = state.features.row(sample), *v = speed.features.data ? speed.features.row(sample) : nullptr;
          move_row(x, v, g, p, own);
          if (norms_wanted) squares[sample] = squared_norm(x, p);
        }
      };
    }
    if (sums) before(*sums, state);
    const LossSummary summary =
        pass.run({state.features, state.prototypes, state.biases, state.labels}, chosen, count,
                 plan.prototypes.moves || sums ? slope.prototypes : Matrix<T>{},
                 state.biases && (plan.biases.moves || sums) ? slope.biases : nullptr, moved, sums != nullptr, control);
    if (!finite(summary)) return false;
    if (sums) after(*sums, state, summary);
    if (plan.features.moves) constrain(state.features, squares, plan.features.constraint, control);
    if (plan.prototypes.moves) {
      const MoveFactors of_prototypes = factors_of(plan.prototypes, rates.prototypes);
      for (Index c = 0; c < classes; c++) {
        move_row(state.prototypes.row(c), speed.prototypes.data ? speed.prototypes.row(c) : nullptr,
                 slope.prototypes.row(c), p, of_prototypes);
      }
      shrink(state.prototypes, squared_norm(state.prototypes.data, classes * p), plan.prototypes.constraint);
    }
    if (state.biases && plan.biases.moves) {
      move_row(state.biases, speed.biases, slope.biases, classes, factors_of(plan.biases, rates.biases));
    }
    done++;
    return true;
  }

  // Takes steps of which nothing is measured. Returns how many there were before a state whose loss is not finite: then
  // the state is not to be used.
  Index forward(const double* const rates[3], Index steps, const Control& control) {
    Index k = 0;
    while (k < steps) {
      control.poll();
      if (quick) {
        const Index taken = quick->advance(now.state(nullptr), velocity.state(nullptr), rates[0] + k, rates[1] + k,
                                           rates[2] + k, steps - k, control);
        k += taken;
        done += taken;
        measure_squares();
        if (k == steps) break;
      }
      if (!move({rates[0][k], rates[1][k], rates[2][k]}, nullptr, control)) break;
      k++;
    }
    return k;
  }

  MoveFactors factors_of(const PartPlan& part, double rate) const {
    return {rate, part.decay, plan.momentum, plan.nesterov, part.constraint};
  }

  // ---- constraints --------------------------------------------------------------------------------------------------

  void shrink(Matrix<T> rows, double square, const Constraint& constraint) const {
    if (constraint.kind != Constraint::frobenius || !(square > constraint.radius * constraint.radius)) return;
    const T scale = static_cast<T>(constraint.radius / std::sqrt(square));
    for (Index i = 0; i < rows.size(); i++) rows.data[i] *= scale;
  }

  void constrain(Matrix<T> rows, const Buffer<double>& of_rows, const Constraint& constraint, const Control& control) {
    if (constraint.kind != Constraint::frobenius) return;
    const double square = total(of_rows), radius = constraint.radius;
    if (!(square > radius * radius)) return;
    const T scale = static_cast<T>(radius / std::sqrt(square));
    parallel_for(rows.rows, 1 + (1 << 16) / p, control, [&](Index begin, Index end) {
      for (Index i = begin; i < end; i++) {
        for (Index j = 0; j < p; j++) rows(i, j) *= scale;
        of_rows[i] = squared_norm(rows.row(i), p);
      }
    });
  }

  // Projects a part of the start; says whether it was outside.
  bool project(Matrix<T> rows, const Constraint& constraint, const char* name) {
    bool outside = false;
    double all = 0;
    for (Index i = 0; i < rows.rows; i++) {
      T* row = rows.row(i);
      const double square = squared_norm(row, p);
      all += square;
      if (constraint.kind != Constraint::ball && constraint.kind != Constraint::sphere) continue;
      if (constraint.kind == Constraint::sphere && square == 0) {
        throw Error("LP_OPTION", name + ("[" + std::to_string(i)) +
                                     "] is zero and cannot be projected onto a sphere; expected a non-zero row.");
      }
      const double radius = constraint.radius, rounding = 8 * std::numeric_limits<T>::epsilon();
      const double ratio = std::sqrt(square) / radius;
      if (ratio <= 1 + rounding && (constraint.kind == Constraint::ball || ratio >= 1 - rounding)) continue;
      outside = true;
      for (Index j = 0; j < p; j++) row[j] = static_cast<T>(static_cast<double>(row[j]) / ratio);
    }
    if (constraint.kind == Constraint::frobenius && all > constraint.radius * constraint.radius) {
      outside = true;
      shrink(rows, all, constraint);
    }
    return outside;
  }

  // ‖h_i‖² of the features as they are.
  void measure_squares() {
    const State<T> state = now.state(labels.data());
    for (Index i = 0; i < n; i++) squares[i] = squared_norm(state.features.row(i), p);
  }

  // ---- measurements -------------------------------------------------------------------------------------------------

  Buffer<double> slopes, alongs, distances, residuals;  // of each sample, while one is made

  void before(Sums& sums, const State<T>& state) {
    for (Buffer<double>* buffer : {&slopes, &alongs, &distances, &residuals}) {
      if (buffer->size() == 0) *buffer = Buffer<double>(n);
    }
    sums.features = total(squares);
    sums.prototypes = squared_norm(state.prototypes.data, classes * p);
    if (target.memory.size() == 0) return;
    const State<T> to = target.state(nullptr);
    sums.distance = squared_distance(state.prototypes.data, to.prototypes.data, classes * p);
  }

  void look(const State<T>& state, Index sample, const T* g) {
    const T* x = state.features.row(sample);
    slopes[sample] = squared_norm(g, p);
    alongs[sample] = dot(g, x, p);
    if (residual_wanted) residuals[sample] = residual(x, g, p, plan.features);
    distances[sample] =
        target.memory.size() > 0 ? squared_distance(x, target.state(nullptr).features.row(sample), p) : 0;
  }

  void after(Sums& sums, const State<T>& state, const LossSummary& summary) {
    const State<T> slope = gradient.state(nullptr);
    sums.loss = summary;
    sums.by_features = plan.features.moves ? total(slopes) : 0;
    sums.by_prototypes = plan.prototypes.moves ? squared_norm(slope.prototypes.data, classes * p) : 0;
    sums.by_biases = state.biases && plan.biases.moves ? squared_norm(slope.biases, classes) : 0;
    sums.along = total(alongs) + dot(state.prototypes.data, slope.prototypes.data, classes * p);
    sums.distance += total(distances);
    if (!residual_wanted) return;
    sums.residual = residual_of_features(sums) + residual_of_prototypes(state.prototypes, slope.prototypes);
    if (state.biases) sums.residual += residual(state.biases, slope.biases, classes, plan.biases);
  }

  // ---- stationarity -------------------------------------------------------------------------------------------------

  // Whether a constraint holds x, of which ‖x‖² and ⟨d, x⟩ are given, against d = g + λ x.
  static bool holds(const Constraint& constraint, double square, double along) {
    const double rim = constraint.radius * (1 - 16 * std::numeric_limits<T>::epsilon());
    const bool ball = constraint.kind == Constraint::ball || constraint.kind == Constraint::frobenius;
    return constraint.kind == Constraint::sphere || (ball && along < 0 && square >= rim * rim);
  }

  // ‖d‖² without what the constraint takes up, where it is one of x (size) as a whole.
  static double residual(const T* x, const T* g, Index size, const PartPlan& part) {
    if (!part.moves) return 0;
    const double square = squared_norm(x, size), along = dot(x, g, size) + part.decay * square;
    double rest = 0;
    const double taken = square > 0 && holds(part.constraint, square, along) ? along / square : 0;
    for (Index j = 0; j < size; j++) {
      const double d = static_cast<double>(g[j]) + (part.decay - taken) * static_cast<double>(x[j]);
      rest += d * d;
    }
    return rest;
  }

  double residual_of_prototypes(Matrix<T> x, Matrix<T> g) const {
    const PartPlan& part = plan.prototypes;
    if (part.constraint.kind == Constraint::frobenius) return residual(x.data, g.data, x.size(), part);
    double sum = 0;
    for (Index c = 0; c < classes; c++) sum += residual(x.row(c), g.row(c), p, part);
    return sum;
  }

  // Of a Frobenius ball by sums alone, for the gradient is gone: right to about 1e-8 ‖d‖.
  double residual_of_features(const Sums& sums) const {
    const PartPlan& part = plan.features;
    if (!part.moves) return 0;
    if (part.constraint.kind != Constraint::frobenius) return total(residuals);
    const double square = sums.features, gradient_along = total(alongs), along = gradient_along + part.decay * square;
    const double all = total(slopes) + part.decay * (gradient_along + along);
    return holds(part.constraint, square, along) ? std::max(0.0, all - along * along / square) : all;
  }

  double value(DescentMeasure measure, const Sums& sums) const {
    const double square = sums.features + sums.prototypes;
    switch (measure) {
      case DescentMeasure::loss:
        return sums.loss.value - sums.loss.regularizer;
      case DescentMeasure::objective:
        return sums.loss.value;
      case DescentMeasure::accuracy:
        return sums.loss.accuracy;
      case DescentMeasure::min_margin:
        return sums.loss.min_margin;
      case DescentMeasure::feature_norm:
        return std::sqrt(sums.features);
      case DescentMeasure::prototype_norm:
        return std::sqrt(sums.prototypes);
      case DescentMeasure::gradient_norm:
        return std::sqrt(sums.by_features + sums.by_prototypes + sums.by_biases);
      case DescentMeasure::normalized_margin:
        return sums.loss.min_margin / square;
      case DescentMeasure::smoothed_margin: {
        const double sum = (sums.loss.value - sums.loss.regularizer) * (plan.loss.sum ? 1 : static_cast<double>(n));
        return sum < std::log(2.0) ? -std::log(std::expm1(sum)) / square : kNaN;
      }
      case DescentMeasure::gradient_alignment:
        return -sums.along /
               std::sqrt(square * (total(slopes) + squared_norm(gradient.state(nullptr).prototypes.data, classes * p)));
      case DescentMeasure::distance:
        return target.memory.size() > 0 ? std::sqrt(sums.distance) : kNaN;
      case DescentMeasure::feature_gradient_norm:
        return std::sqrt(sums.by_features);
      case DescentMeasure::prototype_gradient_norm:
        return std::sqrt(sums.by_prototypes);
      case DescentMeasure::stationarity:
        return std::sqrt(sums.residual);
    }
    return kNaN;
  }

  // The measures of the state as it is. False where its loss is not finite.
  bool observe(Sums& sums, const Control& control) {
    const State<T> state = now.state(labels.data()), slope = gradient.state(nullptr);
    before(sums, state);
    const auto seen = [&](Index begin, Index end, const T* rows) {
      for (Index i = begin; i < end; i++) look(state, i, rows + (i - begin) * p);
    };
    const LossSummary summary = pass.run({state.features, state.prototypes, state.biases, state.labels}, nullptr, n,
                                         slope.prototypes, state.biases ? slope.biases : nullptr, seen, true, control);
    if (!finite(summary)) return false;
    after(sums, state, summary);
    return true;
  }

  // Whether the loss of the state as it is is finite: it is, of a state whose logits are far from overflowing.
  bool sound(const Control& control) {
    const State<T> state = now.state(labels.data());
    measure_squares();
    const double logits = std::sqrt(total(squares)) * std::sqrt(squared_norm(state.prototypes.data, classes * p)) +
                          (state.biases ? std::sqrt(squared_norm(state.biases, classes)) : 0);
    if (logits < kSmallLogits) return true;
    Sums sums;
    return observe(sums, control);
  }

  void record(const Sums& sums, std::vector<double>& records) const {
    records.push_back(static_cast<double>(done));
    for (const DescentMeasure measure : plan.measures) records.push_back(value(measure, sums));
  }

  // Whether the run ends with the state of these sums.
  std::optional<DescentOutcome::Reason> ended(const Sums& sums) const {
    if (plan.event) {
      const double measured = value(plan.event->measure, sums);
      if (plan.event->below ? measured <= plan.event->value : measured >= plan.event->value)
        return DescentOutcome::event;
    }
    if (value(DescentMeasure::stationarity, sums) <= plan.stationary) return DescentOutcome::stationary;
    return {};
  }

  // ---- last good state ----------------------------------------------------------------------------------------------

  // A state whose loss was finite, and the rates of the steps since: from it every later one can be had again.
  struct Backup {
    Arrays<T> now, velocity;
    Index done = 0;
  };
  Backup good, fresh;
  std::vector<double> since[3];  // of the steps from good.done on

  void keep(Backup& backup) const {
    if (backup.now.memory.size() == 0) {
      backup.now = Arrays<T>(n, classes, p, now.biased);
      if (velocity.memory.size() > 0) backup.velocity = Arrays<T>(n, classes, p, now.biased);
    }
    backup.now.copy(now);
    if (velocity.memory.size() > 0) backup.velocity.copy(velocity);
    backup.done = done;
  }

  // Back to the last state whose loss was finite: the one before the step that came out as `done` now.
  void go_back(const Control& control) {
    const Index wanted = done - 1;
    if (good.now.memory.size() == 0 || wanted < good.done) {
      throw Error("LP_OVERFLOW", "The loss of the start exceeds the range of its dtype; scale the state down.");
    }
    now.copy(good.now);
    if (velocity.memory.size() > 0) velocity.copy(good.velocity);
    done = good.done;
    measure_squares();
    const double* const rates[] = {since[0].data(), since[1].data(), since[2].data()};
    forward(rates, wanted - done, control);
  }

  size_t bytes() const {
    size_t sum = bytes_of(slopes, alongs, distances, residuals, since[0], since[1], since[2], labels, squares, order);
    for (const Arrays<T>* arrays :
         {&now, &velocity, &gradient, &target, &good.now, &good.velocity, &fresh.now, &fresh.velocity}) {
      sum += bytes_of(arrays->memory);
    }
    return sum + pass.bytes() + (quick ? quick->bytes() : 0);
  }

  DescentPlan plan;
  const Index n, classes, p;
  std::vector<int32_t> labels;
  Arrays<T> now, velocity, gradient, target;
  LossPass<T> pass;
  std::optional<Quick<T>> quick;  // takes the steps of a small problem
  Buffer<double> squares;         // ‖h_i‖², always of the same kernel, lest a restored run differ
  const bool norms_wanted;        // whether anything asks for them at every step
  const bool residual_wanted;     // whether anything asks for stationarity
  std::vector<Index> order;
  Index epoch = -1;  // of `order`
  Index done = 0;
};

template <class T>
Descent<T>::Descent(const DescentPlan& plan, const State<const T>& start, const T* target_features,
                    const T* target_prototypes)
    : run_(std::make_unique<Run>(plan, start)) {
  const State<T> state = run_->now.state(run_->labels.data());
  check_finite<T>(state.features, "features");
  check_finite<T>(state.prototypes, "prototypes");
  if (state.biases) check_finite<T>({state.biases, state.classes(), 1}, "biases");
  if (!plan.as_it_is) {
    projected[0] = run_->project(state.features, plan.features.constraint, "features");
    projected[1] = run_->project(state.prototypes, plan.prototypes.constraint, "prototypes");
  }
  if (target_features && target_prototypes) {
    run_->target = Arrays<T>(run_->n, run_->classes, run_->p, false);
    const State<T> to = run_->target.state(nullptr);
    std::copy_n(target_features, to.features.size(), to.features.data);
    std::copy_n(target_prototypes, to.prototypes.size(), to.prototypes.data);
  }
  run_->measure_squares();
}

template <class T>
Descent<T>::~Descent() = default;

template <class T>
DescentOutcome Descent<T>::advance(const double* rates_features, const double* rates_prototypes,
                                   const double* rates_biases, Index steps, bool shown, const Control& control,
                                   bool quiet) {
  Run& run = *run_;
  DescentOutcome outcome;
  const bool measures = !run.plan.measures.empty() || run.plan.event || run.plan.stationary >= 0;
  // Progress is told a hundred times; a small problem takes many steps in one stretch.
  const Index share = std::max<Index>(steps / 100, 1), longest = run.quick ? std::max<Index>(share, 1024) : 1;
  Index told = 0;
  for (Index k = 0; k < steps;) {
    control.poll();
    if (k == 0) run.keep(run.fresh);
    const double* const rates[] = {rates_features + k, rates_prototypes + k, rates_biases + k};
    const bool measured = measures && run.done % run.plan.every == 0;
    const Index free = measures ? run.plan.every - run.done % run.plan.every : steps;  // until the next measurement
    const Index stretch = std::min({longest, free, steps - k});
    typename Run::Sums sums;
    const Index step = run.done;
    Index taken = 0;
    if (measured && (run.quick || run.plan.batch > 0 || run.plan.event || run.plan.stationary >= 0)) {
      // Of all samples, and before it is known whether to go on.
      const bool good = run.observe(sums, control);
      if (good) run.record(sums, outcome.records);
      if (const auto reason = good ? run.ended(sums) : std::nullopt) {
        outcome.reason = *reason;
        ended = true;
        return outcome;
      }
      if (good) taken = run.forward(rates, stretch, control);
    } else if (measured) {
      taken = run.move({*rates[0], *rates[1], *rates[2]}, &sums, control);
      if (taken > 0) {
        run.done = step;
        run.record(sums, outcome.records);
        run.done = step + 1;
      }
    } else {
      taken = run.forward(rates, stretch, control);
    }
    if (k == 0 && taken > 0) {
      std::swap(run.good, run.fresh);
      for (auto& rates_since : run.since) rates_since.clear();
    }
    for (int part = 0; part < 3; part++)
      run.since[part].insert(run.since[part].end(), rates[part], rates[part] + taken);
    if (taken < stretch) {
      run.go_back(control);
      outcome.reason = DescentOutcome::diverged;
      ended = true;
      return outcome;
    }
    if (!quiet && k >= told) {
      control.progress(static_cast<double>(k) / static_cast<double>(steps));
      told = k + share;
    }
    k += taken;
  }
  if (shown && steps > 0 && !run.sound(control)) {
    run.go_back(control);
    outcome.reason = DescentOutcome::diverged;
    ended = true;
  }
  return outcome;
}

template <class T>
std::vector<double> Descent<T>::observe(const Control& control) {
  typename Run::Sums sums;
  std::vector<double> row;
  if (run_->observe(sums, control)) {
    run_->record(sums, row);
  } else {
    row.assign(1 + run_->plan.measures.size(), kNaN);
    row[0] = static_cast<double>(run_->done);
  }
  return row;
}

template <class T>
State<T> Descent<T>::state() const {
  return run_->now.state(run_->labels.data());
}

template <class T>
State<T> Descent<T>::velocity() const {
  return run_->velocity.memory.size() > 0 ? run_->velocity.state(nullptr) : State<T>{};
}

template <class T>
Index Descent<T>::step() const {
  return run_->done;
}

template <class T>
size_t Descent<T>::bytes() const {
  return run_->bytes();
}

template <class T>
void Descent<T>::restore(Index step) {
  run_->done = step;
  run_->measure_squares();
  run_->good = {};
  run_->fresh = {};
}

template <class T>
void advance_all(const std::vector<std::unique_ptr<Descent<T>>>& runs, const double* rates, bool rates_of_each,
                 Index steps, bool shown, std::vector<DescentOutcome>& outcomes, const Control& control) {
  const auto advance = [&](Index r) {
    if (runs[r]->ended) return;
    const double* first = rates + (rates_of_each ? 3 * steps * r : 0);
    outcomes[r] = runs[r]->advance(first, first + steps, first + 2 * steps, steps, shown, control, runs.size() > 1);
  };
  if (runs.size() == 1) return advance(0);
  std::atomic<Index> finished = 0;
  std::mutex mutex;
  parallel_for(std::ssize(runs), 1, control, [&](Index r, Index) {
    const Alone alone;
    try {
      advance(r);
    } catch (const Error& error) {
      if (control.cancelled()) throw;
      throw Error(error.code(), "problems." + std::to_string(r) + ": " + error.what());
    }
    std::lock_guard lock(mutex);
    control.progress(static_cast<double>(++finished) / static_cast<double>(runs.size()));
  });
}

template void advance_all(const std::vector<std::unique_ptr<Descent<float>>>&, const double*, bool, Index, bool,
                          std::vector<DescentOutcome>&, const Control&);
template void advance_all(const std::vector<std::unique_ptr<Descent<double>>>&, const double*, bool, Index, bool,
                          std::vector<DescentOutcome>&, const Control&);
template class Descent<float>;
template class Descent<double>;

}  // namespace lp
