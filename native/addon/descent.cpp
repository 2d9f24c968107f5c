// Runs of projected descent, one or many of one shape behind a handle: see ops/descent/projected.
//   descentBegin({ dtype, samples, classes, dim }) → handle
//   descentAdd(handle, start, plan, target?) → { features, prototypes, beyondDevices }: whether they had to be
//     projected; and what devices do not have of it, in words, or ''
//   descentAdvance(mode, handle, { rates, steps, shown }) → [{ reason, step, records }] of the runs
//   descentObserve(mode, handle) → [Float64Array] of the runs: the step and the measures
//   descentState(handle, { run, velocity }) → { features, prototypes, biases? }, or nothing where there is no velocity
//   descentRestore(handle, { run, step, velocity? }), the velocity { features, prototypes, biases? }
#include <algorithm>
#include <atomic>
#include <variant>

#include "addon/handle.h"
#include "addon/loss_plan.h"
#include "ops/descent/batched.h"

namespace lp::addon {
namespace {

template <class T>
using Runs = std::vector<std::unique_ptr<ProjectedDescent<T>>>;

struct Session {
  static constexpr Kind kKind = Kind::descent;

  explicit Session(const Sizes& sizes) : sizes(sizes) {}

  const Sizes sizes;
  std::variant<Runs<float>, Runs<double>> runs;
  Turns turns;
  std::atomic<int64_t> size = 0;

  int64_t bytes() const { return size; }

  // After a call that may have changed that of any run.
  void weigh() {
    size = std::visit(
        [](const auto& all) {
          size_t sum = 0;
          for (const auto& one : all) sum += one->bytes();
          return static_cast<int64_t>(sum);
        },
        runs);
  }
};

PartPlan part_in(const Argument& given) {
  PartPlan part;
  part.moves = given["moves"].flag();
  part.decay = given["decay"].number();
  part.constraint.kind = given["constraint"].choice<Constraint::Kind>({{"none", Constraint::none},
                                                                       {"ball", Constraint::ball},
                                                                       {"sphere", Constraint::sphere},
                                                                       {"frobenius", Constraint::frobenius}});
  part.constraint.radius = given["radius"].number();
  return part;
}

DescentMeasure measure_in(const Argument& given) {
  return given.choice<DescentMeasure>({{"loss", DescentMeasure::loss},
                                       {"objective", DescentMeasure::objective},
                                       {"accuracy", DescentMeasure::accuracy},
                                       {"minMargin", DescentMeasure::min_margin},
                                       {"featureNorm", DescentMeasure::feature_norm},
                                       {"prototypeNorm", DescentMeasure::prototype_norm},
                                       {"gradientNorm", DescentMeasure::gradient_norm},
                                       {"normalizedMargin", DescentMeasure::normalized_margin},
                                       {"smoothedMargin", DescentMeasure::smoothed_margin},
                                       {"gradientAlignment", DescentMeasure::gradient_alignment},
                                       {"distance", DescentMeasure::distance},
                                       {"featureGradientNorm", DescentMeasure::feature_gradient_norm},
                                       {"prototypeGradientNorm", DescentMeasure::prototype_gradient_norm},
                                       {"stationarity", DescentMeasure::stationarity}});
}

ProjectedDescentPlan plan_in(const Argument& given, const Sizes& sizes) {
  ProjectedDescentPlan plan;
  plan.loss = loss_in(given["loss"], sizes.samples, sizes.classes);
  plan.features = part_in(given["features"]);
  plan.prototypes = part_in(given["prototypes"]);
  plan.biases = part_in(given["biases"]);
  plan.momentum = given["momentum"].number();
  plan.nesterov = given["nesterov"].flag();
  plan.rescaled = given["rescaled"].flag();
  plan.batch = given["batch"].size();
  plan.seed = static_cast<uint64_t>(given["seed"].size());
  plan.as_it_is = given["asItIs"].flag();
  for (const Argument& name : given["measures"].list()) plan.measures.push_back(measure_in(name));
  plan.every = std::max<Index>(1, given["every"].size());
  if (const Argument event = given["event"]; event.given()) {
    plan.event = {measure_in(event["measure"]), event["below"].flag(), event["value"].number()};
  }
  plan.stationary = given["stationary"].number();
  return plan;
}

Napi::Value descent_begin(Call& call) {
  const Argument given = call[0];
  const bool wide = given["dtype"].choice<bool>({{"float32", false}, {"float64", true}});
  const auto session = std::make_shared<Session>(Sizes(given));
  if (wide) session->runs = Runs<double>();
  return Handle<Session>::wrap(call.env(), session);
}
LP_EXPORT("descentBegin(plan)", descent_begin)

Napi::Value descent_add(Call& call) {
  const Handle<Session> session(call, call[0]);
  const Argument start = call[1], toward = call[3];
  return with_float_type(start["features"], [&]<class T>() {
    if (!std::holds_alternative<Runs<T>>(session->runs)) start.fail("LP_DTYPE", "is not of the dtype of the runs");
    const auto [n, classes, p] = session->sizes;
    const ProjectedDescentPlan plan = plan_in(call[2], session->sizes);
    const Input<T> features(call, start["features"], n * p), prototypes(call, start["prototypes"], classes * p);
    const auto biases = Input<T>::optional(call, start["biases"], classes);
    const Labels labels(call, start["labels"], n, classes);
    Input<T> target_features, target_prototypes;
    if (toward.given()) {
      target_features = Input<T>(call, toward["features"], n * p);
      target_prototypes = Input<T>(call, toward["prototypes"], classes * p);
    }
    const auto projected = std::make_shared<std::array<bool, 2>>();
    const std::string beyond = beyond_devices<T>(plan, n, classes, p);
    return call.run(
        [=](Control&) {
          const auto [n, classes, p] = session->sizes;
          const State<const T> from{features.matrix(n, p), prototypes.matrix(classes, p), biases.get(), labels.get()};
          auto run = std::make_unique<ProjectedDescent<T>>(plan, from, target_features.get(), target_prototypes.get());
          *projected = {run->projected[0], run->projected[1]};
          const auto turn = session->turns.take(false);
          session->size += static_cast<int64_t>(run->bytes());
          std::get<Runs<T>>(session->runs).push_back(std::move(run));
        },
        [=](Napi::Env env) {
          return named(env, {{"features", (*projected)[0]},
                             {"prototypes", (*projected)[1]},
                             {"beyondDevices", Napi::String::New(env, beyond)}});
        });
  });
}
LP_EXPORT("descentAdd(handle, start, plan, target)", descent_add)

Napi::Value descent_advance(Call& call) {
  const Handle<Session> session(call, call[1]);
  const Argument plan = call[2];
  const auto rates = std::make_shared<std::vector<double>>(plan["rates"].numbers());
  const Index steps = plan["steps"].count();
  const bool shown = plan["shown"].flag();
  const auto outcomes = std::make_shared<std::vector<DescentOutcome>>();
  const auto at = std::make_shared<std::vector<Index>>();
  // advance(runs, each): whether there are rates of each of them, or of all.
  const auto go = [=, wait = call.async()](const auto& advance) {
    const auto turn = session->turns.take(wait);
    std::visit(
        [&](auto& runs) {
          const double count = static_cast<double>(rates->size()), wanted = 3 * static_cast<double>(steps);
          const bool each = runs.size() > 1 && count == wanted * static_cast<double>(runs.size());
          if (!each && count != wanted) throw Error("LP_SHAPE", "There are not as many rates as steps.");
          outcomes->resize(runs.size());
          advance(runs, each);
          for (const auto& one : runs) at->push_back(one->step());
        },
        session->runs);
    session->weigh();
  };
  return call.run_placed(
      [=](Control& control) {
        go([&](auto& runs, bool each) { advance_all(runs, rates->data(), each, steps, shown, *outcomes, control); });
      },
      [=](cuda::Job& job) {
        go([&](auto& runs, bool each) { cuda::advance_all(job, runs, rates->data(), each, steps, shown, *outcomes); });
      },
      [=](Napi::Env env) {
        static constexpr const char* kReasons[] = {"steps", "event", "stationary", "diverged"};
        std::vector<Napi::Value> results;
        for (size_t r = 0; r < outcomes->size(); r++) {
          const DescentOutcome& outcome = (*outcomes)[r];
          results.push_back(named(
              env,
              {{"reason", kReasons[outcome.reason]}, {"step", (*at)[r]}, {"records", array_of(env, outcome.records)}}));
        }
        return list_of(env, results);
      });
}
LP_EXPORT("descentAdvance(mode, handle, plan)", descent_advance)

Napi::Value descent_observe(Call& call) {
  const Handle<Session> session(call, call[1]);
  const auto rows = std::make_shared<std::vector<std::vector<double>>>();
  return call.run(
      [=, wait = call.async()](Control& control) {
        const auto turn = session->turns.take(wait);
        std::visit(
            [&](auto& runs) {
              for (const auto& one : runs) rows->push_back(one->observe(control));
            },
            session->runs);
      },
      [=](Napi::Env env) {
        std::vector<Napi::Value> results;
        for (const auto& row : *rows) results.push_back(array_of(env, row));
        return list_of(env, results);
      });
}
LP_EXPORT("descentObserve(mode, handle)", descent_observe)

// Calls body with one of the runs, on this thread, unless a job has it.
template <class Body>
Napi::Value with_run(const Handle<Session>& session, Index run, Body&& body) {
  const auto turn = session->turns.take(false);
  return std::visit(
      [&]<class T>(Runs<T>& runs) -> Napi::Value {
        if (run >= std::ssize(runs)) throw Error("LP_OPTION", "There is no such run.");
        return body(*runs[run]);
      },
      session->runs);
}

Napi::Value descent_state(Call& call) {
  const Handle<Session> session(call, call[0]);
  const Index run = call[1]["run"].count();
  const bool of_velocity = call[1]["velocity"].flag();
  const Napi::Env env = call.env();
  return with_run(session, run, [&]<class T>(ProjectedDescent<T>& run) -> Napi::Value {
    const State<T> state = of_velocity ? run.velocity() : run.state();
    const auto [n, classes, p] = session->sizes;
    if (!state.features.data) return env.Undefined();
    std::vector<Entry> entries{{"features", array_of(env, state.features.data, n * p)},
                               {"prototypes", array_of(env, state.prototypes.data, classes * p)}};
    if (state.biases) entries.emplace_back("biases", array_of(env, state.biases, classes));
    return named(env, entries);
  });
}
LP_EXPORT("descentState(handle, plan)", descent_state)

Napi::Value descent_restore(Call& call) {
  const Handle<Session> session(call, call[0]);
  const Index run = call[1]["run"].count(), step = call[1]["step"].count();
  const Argument given = call[1]["velocity"];
  const auto part = [&](const char* key) { return given.given() ? given[key] : given; };
  const Argument features = part("features"), prototypes = part("prototypes"), biases = part("biases");
  return with_run(session, run, [&]<class T>(ProjectedDescent<T>& run) -> Napi::Value {
    const State<T> velocity = run.velocity();
    const auto [n, classes, p] = session->sizes;
    const auto fill = [](const Argument& from, T* to, Index size) {
      if (to) std::copy_n(static_cast<const T*>(locate(from, kArrayType<T>, size)), size, to);
    };
    fill(features, velocity.features.data, n * p);
    fill(prototypes, velocity.prototypes.data, classes * p);
    fill(biases, velocity.biases, classes);
    run.restore(step);
    return call.env().Undefined();
  });
}
LP_EXPORT("descentRestore(handle, plan)", descent_restore)

}  // namespace
}  // namespace lp::addon
