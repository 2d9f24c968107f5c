// Exact trajectories of linear dynamics: see ops/exact/trajectory.
//   trajectoryStart(mode, state, { gamma, dynamics }) → handle
//   trajectoryRates(handle, { features?, prototypes?, featureRate?, prototypeRate? })   from time 0 on
//   trajectoryState(mode, handle, { time, unit }) → { features, prototypes, biases?, logNorm, fits }
//   trajectoryMeasure(mode, handle, { times, names }) → a Float64Array by each name
//   trajectoryLimit(mode, handle) → { kind, exponent, rate, logNorm, polynomial, within, between, rest }
//   trajectoryLimitState(mode, handle, { unit }) → { features, prototypes, biases? }
#include <variant>

#include "addon/handle.h"
#include "ops/exact/trajectory.h"

namespace lp::addon {
namespace {

struct AnyTrajectory {
  static constexpr Kind kKind = Kind::trajectory;

  std::variant<std::unique_ptr<Trajectory<float>>, std::unique_ptr<Trajectory<double>>> trajectory;

  int64_t bytes() const {
    return std::visit([](const auto& one) { return static_cast<int64_t>(one->bytes()); }, trajectory);
  }
};

// Calls body with the handle at `index` and what it stands for.
template <class Body>
Napi::Value with_trajectory(Call& call, size_t index, Body&& body) {
  const Handle<AnyTrajectory> handle(call, call[index]);
  return std::visit([&](const auto& one) -> Napi::Value { return body(handle, one.get()); }, handle->trajectory);
}

double time_in(const Argument& given) {
  const double time = given.number();
  if (!(time >= 0)) given.fail("LP_OPTION", "is no time of at least 0");
  return time;
}

Dynamics dynamics_in(const Argument& given) {
  using Kind = Dynamics::Kind;
  using End = Dynamics::End;
  Dynamics dynamics;
  dynamics.kind = given["kind"].choice<Kind>(
      {{"flow", Kind::flow}, {"descent", Kind::descent}, {"integrated", Kind::integrated}, {"stepped", Kind::stepped}});
  dynamics.end =
      given["end"].choice<End>({{"steady", End::steady}, {"frozen", End::frozen}, {"unknown", End::unknown}});
  dynamics.rates = {given["featureRate"].number(), given["prototypeRate"].number(), given["featureDecay"].number(),
                    given["prototypeDecay"].number()};
  dynamics.momentum = {given["momentum"].number(), given["nesterov"].flag()};
  dynamics.end_time = given["endTime"].number();
  dynamics.end_factor = given["endFactor"].number();
  return dynamics;
}

Schedule::Shape shape_in(const Argument& given) {
  using Kind = Schedule::Shape::Kind;
  Schedule::Shape shape;
  shape.kind = given["kind"].choice<Kind>({{"constant", Kind::constant},
                                           {"cosine", Kind::cosine},
                                           {"exponential", Kind::exponential},
                                           {"steps", Kind::steps}});
  shape.value = given["value"].number();
  if (const Argument warmup = given["warmup"]; warmup.given()) shape.warmup = warmup.number();
  if (shape.kind == Kind::cosine) shape.length = given["period"].number();
  if (shape.kind == Kind::exponential) shape.length = given["timescale"].number();
  if (shape.kind == Kind::steps) {
    shape.factor = given["factor"].number();
    shape.milestones = given["milestones"].numbers();
  }
  return shape;
}

// The values of the steps, or what they are the product of.
std::shared_ptr<const Schedule> schedule_in(const Argument& given) {
  if (!given.given()) return nullptr;
  if (given.value.IsTypedArray()) return std::make_shared<const Schedule>(Schedule::listed(given.numbers()));
  std::vector<Schedule::Shape> shapes;
  for (const Argument& shape : given.list()) shapes.push_back(shape_in(shape));
  return std::make_shared<const Schedule>(std::move(shapes));
}

std::shared_ptr<const Rate> rate_in(const Argument& given) {
  return given.given() ? std::make_shared<const Rate>(given.numbers()) : nullptr;
}

template <class T>
Sizes sizes_of(const Trajectory<T>& trajectory) {
  const Start<T>& start = trajectory.start();
  return {start.samples(), start.classes(), start.dim};
}

template <class T>
StateOut<T> memory_of(const StateOutput<T>& arrays) {
  const State<T> state = arrays.get();
  return {state.features.data, state.prototypes.data, state.biases};
}

Napi::Value trajectory_start(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    const double gamma = call[2]["gamma"].number();
    const Dynamics dynamics = dynamics_in(call[2]["dynamics"]);
    const auto made = std::make_shared<AnyTrajectory>();
    return call.run(
        [=](Control& control) {
          const auto [n, classes, p] = state.sizes;
          Start<T> start;
          start.features = state.features.take();
          start.prototypes = state.prototypes.take();
          if (state.biases) start.biases.assign(state.biases.get(), state.biases.get() + classes);
          start.labels.assign(state.labels.get(), state.labels.get() + n);
          start.dim = p;
          made->trajectory = std::make_unique<Trajectory<T>>(std::move(start), gamma, dynamics, control);
        },
        [=](Napi::Env env) { return Handle<AnyTrajectory>::wrap(env, made); });
  });
}
LP_EXPORT("trajectoryStart(mode, state, plan)", trajectory_start)

Napi::Value trajectory_rates(Call& call) {
  return with_trajectory(call, 0, [&](const auto&, auto* trajectory) {
    const Argument plan = call[1];
    trajectory->rates({schedule_in(plan["features"]), schedule_in(plan["prototypes"]), rate_in(plan["featureRate"]),
                       rate_in(plan["prototypeRate"])});
    return call.env().Undefined();
  });
}
LP_EXPORT("trajectoryRates(handle, plan)", trajectory_rates)

Napi::Value trajectory_state(Call& call) {
  return with_trajectory(call, 1, [&]<class T>(const auto& handle, Trajectory<T>* trajectory) {
    const double time = time_in(call[2]["time"]);
    const bool unit = call[2]["unit"].flag();
    const StateOutput<T> arrays(call, sizes_of(*trajectory), !trajectory->start().biases.empty());
    const auto size = std::make_shared<typename Trajectory<T>::Size>();
    return call.run(
        [=, handle = handle](Control& control) { *size = trajectory->state(time, unit, memory_of(arrays), control); },
        [=](Napi::Env env) {
          std::vector<Entry> entries = arrays.entries();
          entries.emplace_back("logNorm", size->log_norm);
          entries.emplace_back("fits", size->fits);
          return named(env, entries);
        });
  });
}
LP_EXPORT("trajectoryState(mode, handle, plan)", trajectory_state)

Napi::Value trajectory_measure(Call& call) {
  return with_trajectory(call, 1, [&]<class T>(const auto& handle, Trajectory<T>* trajectory) {
    const std::vector<double> times = call[2]["times"].numbers();
    for (const double time : times) {
      if (!(time >= 0)) call[2]["times"].fail("LP_OPTION", "has a time that is not at least 0");
    }
    std::vector<std::string> names;
    std::vector<TrajectoryMeasure> measures;
    for (const Argument& name : call[2]["names"].list()) {
      names.push_back(name.text());
      measures.push_back(lp::trajectory_measure(names.back()));
    }
    std::vector<Output<double>> columns;
    for (size_t i = 0; i < names.size(); i++) columns.emplace_back(call, std::ssize(times));
    return call.run(
        [=, handle = handle](Control& control) {
          std::vector<double*> out;
          for (const Output<double>& column : columns) out.push_back(column.get());
          trajectory->measure(times, measures, out, control);
        },
        [=](Napi::Env env) {
          std::vector<Entry> entries;
          for (size_t i = 0; i < names.size(); i++) entries.emplace_back(names[i].c_str(), columns[i]);
          return named(env, entries);
        });
  });
}
LP_EXPORT("trajectoryMeasure(mode, handle, plan)", trajectory_measure)

Napi::Value trajectory_limit(Call& call) {
  return with_trajectory(call, 1, [&](const auto& handle, auto* trajectory) {
    const auto found = std::make_shared<std::shared_ptr<const Limit>>();
    return call.run([=, handle = handle](Control& control) { *found = trajectory->limit(control); },
                    [=](Napi::Env env) {
                      const Limit& limit = **found;
                      const char* kind = limit.kind == Limit::Kind::frozen        ? "frozen"
                                         : limit.kind == Limit::Kind::oscillating ? "oscillating"
                                                                                  : "steady";
                      return named(env, {{"kind", kind},
                                         {"exponent", limit.exponent},
                                         {"rate", limit.rate},
                                         {"logNorm", limit.norm.log_abs()},
                                         {"polynomial", limit.polynomial},
                                         {"within", limit.within},
                                         {"between", limit.between},
                                         {"rest", limit.rest}});
                    });
  });
}
LP_EXPORT("trajectoryLimit(mode, handle)", trajectory_limit)

Napi::Value trajectory_limit_state(Call& call) {
  return with_trajectory(call, 1, [&]<class T>(const auto& handle, Trajectory<T>* trajectory) {
    const bool unit = call[2]["unit"].flag();
    const StateOutput<T> arrays(call, sizes_of(*trajectory), !trajectory->start().biases.empty());
    return call.run(
        [=, handle = handle](Control& control) {
          trajectory->limit_state(*trajectory->limit(control), unit, memory_of(arrays), control);
        },
        [=](Napi::Env env) { return named(env, arrays.entries()); });
  });
}
LP_EXPORT("trajectoryLimitState(mode, handle, plan)", trajectory_limit_state)

}  // namespace
}  // namespace lp::addon
