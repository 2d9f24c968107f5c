#include "ops/descent/projected.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <optional>

#include "core/finite.h"
#include "core/flushed.h"
#include "core/thread_pool.h"
#include "core/vector.h"
#include "ops/descent/blocks.h"
#include "ops/descent/lanes.h"
#include "ops/descent/measures.h"

namespace lp {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// Steps on lanes between two looks at progress.
constexpr Index kLaneSteps = 1024;

// The arrays of a state, all in one piece of memory.
template <class T>
struct Arrays {
  Arrays() = default;
  Arrays(Index n, Index classes, Index p, bool biased)
      : memory((n + classes) * p + classes), n(n), classes(classes), p(p), biased(biased) {
    std::fill(memory.begin(), memory.end(), T(0));
  }
  explicit operator bool() const { return memory.size() > 0; }
  State<T> state(const int32_t* labels) const {
    if (memory.size() == 0) return {};
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

ProjectedDescentPlan without_whole_batches(ProjectedDescentPlan plan, Index samples) {
  if (plan.batch >= samples) plan.batch = 0;
  return plan;
}

// Whether squares of logits times the loss's parameters stay in the range of a double, whatever they are.
bool of_any_use(const Loss& loss) {
  const auto small = [](double value) { return std::abs(value) <= kSmallLogits; };
  return small(loss.gamma) && small(loss.margin) && small(loss.regularization) && small(loss.radius) &&
         std::ranges::all_of(loss.class_weights, small) && std::ranges::all_of(loss.targets, small) &&
         std::ranges::all_of(loss.curvatures, small) && std::ranges::all_of(loss.prototype_lengths, small) &&
         !loss.own_length;  // which divides by lengths, however small
}

}  // namespace

template <class T>
struct ProjectedDescent<T>::Run {
  Run(const ProjectedDescentPlan& given, const State<const T>& start, const T* target_features,
      const T* target_prototypes)
      : plan(without_whole_batches(given, start.samples())),
        labels(start.labels, start.labels + start.samples()),
        now(start.samples(), start.classes(), start.dim(), start.biases != nullptr),
        blocks(plan, now.n, now.classes, now.p),
        measures(plan, now.n, now.classes, now.p, target_features, target_prototypes),
        bounded(of_any_use(plan.loss)) {
    if (plan.momentum != 0) velocity = Arrays<T>(now.n, now.classes, now.p, now.biased);
    const State<T> state = this->state();
    std::copy_n(start.features.data, state.features.size(), state.features.data);
    std::copy_n(start.prototypes.data, state.prototypes.size(), state.prototypes.data);
    if (start.biases) std::copy_n(start.biases, now.classes, state.biases);
    if (LaneDescent<T>::suits(plan, now.n, now.classes, now.p)) lanes.emplace(plan, start);
  }

  State<T> state() const { return now.state(labels.data()); }

  // ---- a call of advance --------------------------------------------------------------------------------------------

  struct Passage {
    const double* rates[3];
    Index steps;
    bool shown;
    StepsOfMany<T>* many = nullptr;  // takes the steps in place of lanes, of the run of this number
    Index number = 0;
    Index k = 0;            // steps behind it
    bool together = false;  // whether the next step measures the state that it leaves
    bool over = false;
    DescentOutcome outcome = {};
  };

  // Looks at the state where that is due, and says how many steps are to be taken then: none once the call is over.
  Index look_ahead(Passage& passage, const Control& control) {
    if (passage.over) return 0;
    control.poll();
    const Index left = passage.steps - passage.k;
    if (left == 0) {
      diverged = passage.shown && passage.steps > 0 && !finite(control);
      return end(passage, DescentOutcome::steps);
    }
    if (passage.k == 0) {
      keep(fresh);
      if (plan.batch > 0 && !good.now && !finite(control)) go_back(passage, control);
    }
    // A measurement shares its pass with the step that follows, unless that is of a batch, or not to be made if it
    // stops.
    const bool quick = lanes || passage.many, apart = quick || plan.batch > 0 || plan.event || plan.stationary >= 0;
    const bool measured = plan.looks() && done % plan.every == 0;
    passage.together = measured && !apart;
    if (measured && apart) {
      StateSums sums;
      diverged = !observe(sums, control);
      if (diverged) return end(passage, DescentOutcome::diverged);
      record(sums, passage.outcome.records, done);
      if (const auto reason = ends(sums)) return end(passage, *reason);
    }
    // A small problem takes many steps in one stretch.
    const Index share = std::max<Index>(passage.steps / 100, 1);
    const Index longest = passage.many ? Leg<T>::kMost : quick ? std::max(share, kLaneSteps) : 1;
    return std::min({longest, left, plan.looks() ? plan.every - done % plan.every : left});
  }

  // Takes that many.
  Index take(Passage& passage, Index steps, const Control& control, Index ahead = 0) {
    const Index k = passage.k, before = done;
    const double* const rates[] = {passage.rates[0] + k, passage.rates[1] + k, passage.rates[2] + k};
    Index taken = 0;
    if (passage.together) {
      StateSums sums;
      taken = step({*rates[0], *rates[1], *rates[2]}, &sums, control);
      if (taken > 0) record(sums, passage.outcome.records, before);
    } else {
      taken = forward(passage, rates, steps, control, ahead);
    }
    if (k == 0 && taken > 0) {
      std::swap(good, fresh);
      for (auto& rates_since : since) rates_since.clear();
    }
    for (int part = 0; part < 3; part++) since[part].insert(since[part].end(), rates[part], rates[part] + taken);
    passage.k += taken;
    if (diverged) end(passage, DescentOutcome::diverged);
    return taken;
  }

  Index end(Passage& passage, DescentOutcome::Reason reason) const {
    passage.outcome.reason = diverged ? DescentOutcome::diverged : reason;
    passage.over = true;
    return 0;
  }

  // How the call ended; of a divergence at the last state whose loss was finite.
  DescentOutcome settle(const Passage& passage, const Control& control) {
    if (diverged) go_back(passage, control);
    return passage.outcome;
  }

  // ---- steps --------------------------------------------------------------------------------------------------------

  // Takes steps of which nothing is measured, up to one that leads away from a state whose loss is not finite. Returns
  // their number; where it is below `steps`, or a step of a batch led to such a state, the run has `diverged`. Of the
  // first, `ahead` have been taken already.
  Index forward(const Passage& passage, const double* const rates[3], Index steps, const Control& control,
                Index ahead = 0) {
    Index k = 0;
    while (k < steps) {
      control.poll();
      if (lanes || passage.many) {
        const double* const next[] = {rates[0] + k, rates[1] + k, rates[2] + k};
        const Index taken = k < ahead ? ahead : by_lanes(passage, next, steps - k, control);
        k += taken;
        done += taken;
        blocks.measure_squares(state());
        if (k == steps) break;
      }
      if (!step({rates[0][k], rates[1][k], rates[2][k]}, nullptr, control)) break;
      k++;
      if (diverged) break;
    }
    return k;
  }

  // By whoever takes many at once, where there is somebody.
  Index by_lanes(const Passage& passage, const double* const rates[3], Index steps, const Control& control) {
    const State<T> moving = velocity.state(nullptr);
    if (!passage.many) return lanes->advance(state(), moving, rates[0], rates[1], rates[2], steps, control);
    Index taken = 0;
    while (taken < steps) {
      const double* const next[] = {rates[0] + taken, rates[1] + taken, rates[2] + taken};
      std::vector<Leg<T>> legs{leg(passage, next, std::min(steps - taken, Leg<T>::kMost))};
      passage.many->go(legs);
      taken += legs[0].taken;
      if (legs[0].taken < legs[0].steps) break;
    }
    return taken;
  }

  Leg<T> leg(const Passage& passage, const double* const rates[3], Index steps) const {
    return {passage.number,
            state().features.data,
            velocity.state(nullptr).features.data,
            {rates[0], rates[1], rates[2]},
            steps};
  }

  // Takes one step by blocks, unless the loss of the state is not finite. With `sums`, fills them for the state before,
  // over all samples.
  bool step(const StepRates& rates, StateSums* sums, const Control& control) {
    const State<T> state = this->state();
    typename BlockDescent<T>::Look seen;
    typename BlockDescent<T>::Summarize summarize;
    if (sums) {
      measures.before(state, blocks.squares(), *sums, control);
      seen = look(state);
      summarize = [&](const LossSummary& loss) { measures.after(state, blocks.gradient(), loss, *sums); };
    }
    const LossSummary loss = blocks.step(state, velocity.state(nullptr), done, rates, seen, summarize, control);
    diverged = !std::isfinite(loss.value);
    if (diverged) return false;
    done++;
    // The loss of a batch says nothing of the other samples.
    if (plan.batch > 0) diverged = !finite(control);
    return true;
  }

  typename BlockDescent<T>::Look look(const State<T>& state) const {
    if (!measures.differentiates()) return {};
    return [this, state](Index sample, const T* gradient) { measures.look(state, sample, gradient); };
  }

  // ---- the state as it is -------------------------------------------------------------------------------------------

  // Fills the sums of its measures. False where its loss is not finite.
  bool observe(StateSums& sums, const Control& control) {
    const State<T> state = this->state();
    measures.before(state, blocks.squares(), sums, control);
    const LossSummary loss = blocks.observe(state, look(state), control);
    if (!std::isfinite(loss.value)) return false;
    measures.after(state, blocks.gradient(), loss, sums);
    return true;
  }

  // Whether its loss, over all samples, is finite: it is where |z_c| ≤ max‖h_i‖ ‖W‖ + ‖b‖ is far from overflowing.
  bool finite(const Control& control) {
    const State<T> state = this->state();
    const auto small = [&] {
      const double length = plan.loss.normalized ? plan.loss.radius : std::sqrt(blocks.largest_square());
      return length * norm(state.prototypes.data, state.prototypes.size()) +
                 (state.biases ? norm(state.biases, state.classes()) : 0) <
             kSmallLogits;
    };
    if (bounded && plan.batch > 0 && small()) return true;
    blocks.measure_squares(state);
    if (bounded && small()) return true;
    return std::isfinite(blocks.observe(state, {}, control).value);
  }

  void record(const StateSums& sums, std::vector<double>& records, Index step) const {
    records.push_back(static_cast<double>(step));
    for (const DescentMeasure measure : plan.measures) records.push_back(measures.value(measure, sums));
  }

  // Whether the run ends with the state of these sums.
  std::optional<DescentOutcome::Reason> ends(const StateSums& sums) const {
    if (plan.event) {
      const double measured = measures.value(plan.event->measure, sums);
      if (plan.event->below ? measured <= plan.event->value : measured >= plan.event->value)
        return DescentOutcome::event;
    }
    if (measures.value(DescentMeasure::stationarity, sums) <= plan.stationary) return DescentOutcome::stationary;
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
    if (!backup.now) {
      backup.now = Arrays<T>(now.n, now.classes, now.p, now.biased);
      if (velocity) backup.velocity = Arrays<T>(now.n, now.classes, now.p, now.biased);
    }
    backup.now.copy(now);
    if (velocity) backup.velocity.copy(velocity);
    backup.done = done;
  }

  // Back to the last state whose loss was finite: the one before the step that came out as `done` now.
  void go_back(const Passage& passage, const Control& control) {
    const Index wanted = done - 1;
    if (!good.now || wanted < good.done) {
      throw Error("LP_OVERFLOW", "The loss of the start exceeds the range of its dtype; scale the state down.");
    }
    now.copy(good.now);
    if (velocity) velocity.copy(good.velocity);
    done = good.done;
    blocks.measure_squares(state());
    const double* const rates[] = {since[0].data(), since[1].data(), since[2].data()};
    forward(passage, rates, wanted - done, control);
  }

  size_t bytes() const {
    size_t sum = bytes_of(labels, since[0], since[1], since[2]);
    for (const Arrays<T>* arrays : {&now, &velocity, &good.now, &good.velocity, &fresh.now, &fresh.velocity}) {
      sum += bytes_of(arrays->memory);
    }
    return sum + blocks.bytes() + measures.bytes() + (lanes ? lanes->bytes() : 0);
  }

  const ProjectedDescentPlan plan;
  std::vector<int32_t> labels;
  Arrays<T> now, velocity;
  BlockDescent<T> blocks;
  std::optional<LaneDescent<T>> lanes;  // takes the steps of a small problem
  DescentMeasures<T> measures;
  const bool bounded;  // whether small logits mean a finite loss
  bool diverged = false;
  Index done = 0;
};

template <class T>
ProjectedDescent<T>::ProjectedDescent(const ProjectedDescentPlan& plan, const State<const T>& start,
                                      const T* target_features, const T* target_prototypes)
    : run_(std::make_unique<Run>(plan, start, target_features, target_prototypes)) {
  const State<T> state = run_->state();
  check_finite<T>(state.features, "features");
  check_finite<T>(state.prototypes, "prototypes");
  if (state.biases) check_finite<T>({state.biases, state.classes(), 1}, "biases");
  if (!plan.as_it_is) {
    projected[0] = project(state.features, plan.features.constraint, "features");
    projected[1] = project(state.prototypes, plan.prototypes.constraint, "prototypes");
  }
  run_->blocks.measure_squares(state);
}

template <class T>
ProjectedDescent<T>::~ProjectedDescent() = default;

template <class T>
DescentOutcome ProjectedDescent<T>::advance(const double* rates_features, const double* rates_prototypes,
                                            const double* rates_biases, Index steps, bool shown, const Control& control,
                                            bool quiet) {
  const FlushedIfFloat<T> flushed;
  Run& run = *run_;
  typename Run::Passage passage{{rates_features, rates_prototypes, rates_biases}, steps, shown};
  // Progress is told a hundred times.
  const Index share = std::max<Index>(steps / 100, 1);
  Index told = 0;
  while (const Index count = run.look_ahead(passage, control)) {
    const Index k = passage.k;
    run.take(passage, count, control);
    if (quiet || k < told || passage.over) continue;
    control.progress(static_cast<double>(k) / static_cast<double>(steps));
    told = k + share;
  }
  const DescentOutcome outcome = run.settle(passage, control);
  ended = outcome.reason != DescentOutcome::steps;
  return outcome;
}

template <class T>
std::vector<double> ProjectedDescent<T>::observe(const Control& control) {
  const FlushedIfFloat<T> flushed;
  StateSums sums;
  std::vector<double> row;
  if (run_->observe(sums, control)) {
    run_->record(sums, row, run_->done);
  } else {
    row.assign(1 + run_->plan.measures.size(), kNaN);
    row[0] = static_cast<double>(run_->done);
  }
  return row;
}

template <class T>
const ProjectedDescentPlan& ProjectedDescent<T>::plan() const {
  return run_->plan;
}

template <class T>
State<T> ProjectedDescent<T>::state() const {
  return run_->state();
}

template <class T>
State<T> ProjectedDescent<T>::velocity() const {
  return run_->velocity.state(nullptr);
}

template <class T>
Index ProjectedDescent<T>::step() const {
  return run_->done;
}

template <class T>
void ProjectedDescent<T>::restore(Index step) {
  run_->done = step;
  run_->blocks.measure_squares(run_->state());
  run_->good = {};
  run_->fresh = {};
}

template <class T>
size_t ProjectedDescent<T>::bytes() const {
  return run_->bytes();
}

namespace {

// Errors of one of many runs name it.
template <class Body>
void named(Index run, const Control& control, const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    if (control.cancelled()) throw;
    throw Error(error.code(), "problems." + std::to_string(run) + ": " + error.what());
  }
}

}  // namespace

template <class T>
void advance_all(const std::vector<std::unique_ptr<ProjectedDescent<T>>>& runs, const double* rates, bool rates_of_each,
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
    named(r, control, [&] { advance(r); });
    std::lock_guard lock(mutex);
    control.progress(static_cast<double>(++finished) / static_cast<double>(runs.size()));
  });
}

// Looks are taken by all threads, a run each; whatever takes steps is on this one.
template <class T>
void ProjectedDescent<T>::advance_together(const std::vector<std::unique_ptr<ProjectedDescent>>& runs,
                                           const double* rates, bool rates_of_each, Index steps, bool shown,
                                           std::vector<DescentOutcome>& outcomes, StepsOfMany<T>& many,
                                           const Control& control) {
  std::vector<Index> going;
  std::vector<typename Run::Passage> passages;
  for (Index r = 0; r < std::ssize(runs); r++) {
    if (runs[r]->ended) continue;
    const double* first = rates + (rates_of_each ? 3 * steps * r : 0);
    going.push_back(r);
    passages.push_back({{first, first + steps, first + 2 * steps}, steps, shown, &many, r});
  }
  const auto on = [&](Index at, const auto& body) {
    const auto go = [&] { body(*runs[going[at]]->run_, passages[at]); };
    runs.size() > 1 ? named(going[at], control, go) : go();
  };
  std::vector<Index> counts(going.size());
  std::vector<Leg<T>> legs;
  do {
    parallel_for(std::ssize(going), 1, control, [&](Index at, Index) {
      const Alone alone;
      on(at, [&](Run& run, auto& passage) { counts[at] = run.look_ahead(passage, control); });
    });
    legs.clear();
    for (Index at = 0; at < std::ssize(going); at++) {
      const auto& [first, second, third] = passages[at].rates;
      const Index k = passages[at].k;
      const double* const next[] = {first + k, second + k, third + k};
      if (counts[at] > 0) legs.push_back(runs[going[at]]->run_->leg(passages[at], next, counts[at]));
    }
    if (!legs.empty()) many.go(legs);
    Index behind = steps;
    for (Index at = 0, leg = 0; at < std::ssize(going); at++) {
      if (counts[at] == 0) continue;
      const Index ahead = legs[leg++].taken;
      on(at, [&](Run& run, auto& passage) { run.take(passage, counts[at], control, ahead); });
      if (!passages[at].over) behind = std::min(behind, passages[at].k);
    }
    control.progress(static_cast<double>(behind) / static_cast<double>(std::max<Index>(steps, 1)));
  } while (!legs.empty());
  for (Index at = 0; at < std::ssize(going); at++) {
    on(at, [&](Run& run, auto& passage) { outcomes[going[at]] = run.settle(passage, control); });
    runs[going[at]]->ended = outcomes[going[at]].reason != DescentOutcome::steps;
  }
}

template void advance_all(const std::vector<std::unique_ptr<ProjectedDescent<float>>>&, const double*, bool, Index,
                          bool, std::vector<DescentOutcome>&, const Control&);
template void advance_all(const std::vector<std::unique_ptr<ProjectedDescent<double>>>&, const double*, bool, Index,
                          bool, std::vector<DescentOutcome>&, const Control&);
template class ProjectedDescent<float>;
template class ProjectedDescent<double>;

}  // namespace lp
