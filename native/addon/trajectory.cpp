// Exact trajectories of linear dynamics: see ops/exact/trajectory.
//   trajectoryStart(mode, features, prototypes, biases?, labels, n, C, p, gamma, law) → handle
//   trajectoryDrive(handle, first, second?)      the law's drive, from time 0 on: factors, or two rates in pieces
//   trajectoryState(mode, handle, time, unit)    → { features, prototypes, biases?, logNorm, fits }
//   trajectoryMeasure(mode, handle, times, names) → a Float64Array for each name
//   trajectoryLimit(mode, handle)                → { kind, exponent, rate, … }
//   trajectoryLimitState(mode, handle, unit)     → { features, prototypes, biases? }
//   trajectoryDispose(handle)
#include <map>
#include <optional>
#include <variant>

#include "addon/addon.h"
#include "addon/job.h"
#include "ops/exact/trajectory.h"

namespace lp::addon {
namespace {

template <class T>
using Shared = std::shared_ptr<Trajectory<T>>;
using AnyTrajectory = std::variant<std::monostate, Shared<float>, Shared<double>>;

// Empty once disposed of; jobs hold the trajectory itself.
struct Handle {
  AnyTrajectory trajectory;
  int64_t bytes = 0;

  void release(Napi::Env env) {
    trajectory = std::monostate();
    Napi::MemoryManagement::AdjustExternalMemory(env, -bytes);
    bytes = 0;
  }
};

Handle& handle_argument(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsExternal()) throw Error("LP_INTERNAL", "Expected the handle of trajectoryStart.");
  return *info[index].As<Napi::External<Handle>>().Data();
}

// Calls body with the trajectory that the handle at `index` holds.
template <class Body>
Napi::Value with_trajectory(const Napi::CallbackInfo& info, size_t index, Body&& body) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const AnyTrajectory trajectory = handle_argument(info, index).trajectory;
    if (const auto* single = std::get_if<Shared<float>>(&trajectory)) return body(*single);
    if (const auto* wide = std::get_if<Shared<double>>(&trajectory)) return body(*wide);
    throw Error("LP_OPTION", "The trajectory has been disposed of.");
  });
}

template <class T>
T choice(Napi::Object object, const char* key, const std::map<std::string, T>& choices) {
  const auto found = choices.find(object.Get(key).ToString());
  if (found == choices.end()) throw Error("LP_INTERNAL", std::string(key) + " is not known.");
  return found->second;
}

Law read_law(Napi::Object object) {
  Law law;
  law.kind = choice<Law::Kind>(object, "kind",
                               {{"flow", Law::Kind::flow},
                                {"descent", Law::Kind::descent},
                                {"integrated", Law::Kind::integrated},
                                {"stepped", Law::Kind::stepped}});
  law.end = choice<Law::End>(
      object, "end", {{"steady", Law::End::steady}, {"frozen", Law::End::frozen}, {"unknown", Law::End::unknown}});
  law.rates = {number_in(object, "featureRate"), number_in(object, "prototypeRate"), number_in(object, "featureDecay"),
               number_in(object, "prototypeDecay")};
  law.momentum = number_in(object, "momentum");
  law.nesterov = object.Get("nesterov").ToBoolean();
  law.end_time = number_in(object, "endTime");
  law.end_factor = number_in(object, "endFactor");
  return law;
}

template <class T>
Buffer<T> copy(const Napi::CallbackInfo& info, size_t index, Index size) {
  void* data = nullptr;
  locate(info.Env(), info[index], kArrayType<T>, size, &data);
  Buffer<T> out(size);
  if (size > 0) std::memcpy(out.get(), data, size * sizeof(T));
  return out;
}

// The arrays of a state, and where an operation writes them.
template <class T>
struct StateArrays {
  StateArrays(Napi::Env env, const Start<T>& start)
      : features(env, start.features.size()), prototypes(env, start.prototypes.size()) {
    if (!start.biases.empty()) biases.emplace(env, std::ssize(start.biases));
  }
  StateOut<T> out() const { return {features.get(), prototypes.get(), biases ? biases->get() : nullptr}; }
  Napi::Object object(Napi::Env env) const {
    auto result = Napi::Object::New(env);
    result.Set("features", features.value());
    result.Set("prototypes", prototypes.value());
    if (biases) result.Set("biases", biases->value());
    return result;
  }

  Output<T> features, prototypes;
  std::optional<Output<T>> biases;
};

}  // namespace

Napi::Value trajectory_start(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const Index n = size_argument(info, 5), classes = size_argument(info, 6), p = size_argument(info, 7);
    if (n < 1 || classes < 2 || p < 1) throw Error("LP_SHAPE", "Expected a sample, two classes and a dimension.");
    const Labels labels(info, 4, n, classes);
    auto start = std::make_shared<Start<T>>();
    start->features = copy<T>(info, 1, n * p);
    start->prototypes = copy<T>(info, 2, classes * p);
    if (!info[3].IsUndefined()) {
      const Buffer<T> biases = copy<T>(info, 3, classes);
      start->biases.assign(biases.begin(), biases.end());
    }
    start->labels.assign(labels.get(), labels.get() + n);
    start->dim = p;
    const double gamma = number_argument(info, 8);
    const Law law = read_law(info[9].As<Napi::Object>());
    const auto made = std::make_shared<Shared<T>>();
    return run(
        info,
        [=](Control& control) { *made = std::make_shared<Trajectory<T>>(std::move(*start), gamma, law, control); },
        [=](Napi::Env env) -> Napi::Value {
          auto* handle = new Handle{*made, static_cast<int64_t>((*made)->bytes())};
          Napi::MemoryManagement::AdjustExternalMemory(env, handle->bytes);
          return Napi::External<Handle>::New(env, handle, [](Napi::Env env, Handle* handle) {
            handle->release(env);
            delete handle;
          });
        });
  });
}

Napi::Value trajectory_drive(const Napi::CallbackInfo& info) {
  return with_trajectory(info, 0, [&](const auto& trajectory) -> Napi::Value {
    auto drive = std::make_shared<Drive>();
    if (!info[3].ToBoolean()) {
      drive->factors = numbers_argument(info, 1);
      if (!info[2].IsUndefined()) drive->factors2 = numbers_argument(info, 2);
    } else {
      drive->rate1 = std::make_shared<const Rate>(numbers_argument(info, 1));
      drive->rate2 = std::make_shared<const Rate>(numbers_argument(info, 2));
    }
    trajectory->drive(std::move(drive));
    return info.Env().Undefined();
  });
}

Napi::Value trajectory_state(const Napi::CallbackInfo& info) {
  return with_trajectory(info, 1, [&]<class T>(const Shared<T>& trajectory) -> Napi::Value {
    const double time = number_argument(info, 2);
    const bool unit = info[3].ToBoolean();
    const StateArrays<T> arrays(info.Env(), trajectory->start());
    const auto size = std::make_shared<typename Trajectory<T>::Size>();
    return run(
        info, [=](Control& control) { *size = trajectory->state(time, unit, arrays.out(), control); },
        [=](Napi::Env env) -> Napi::Value {
          auto result = arrays.object(env);
          result.Set("logNorm", size->log_norm);
          result.Set("fits", size->fits);
          return result;
        });
  });
}

Napi::Value trajectory_measure(const Napi::CallbackInfo& info) {
  return with_trajectory(info, 1, [&]<class T>(const Shared<T>& trajectory) -> Napi::Value {
    const std::vector<double> times = numbers_argument(info, 2);
    const auto names = info[3].As<Napi::Array>();
    std::vector<TrajectoryMeasure> measures;
    std::vector<Output<double>> columns;
    for (uint32_t i = 0; i < names.Length(); i++) {
      measures.push_back(lp::trajectory_measure(names.Get(i).ToString()));
      columns.emplace_back(info.Env(), std::ssize(times));
    }
    return run(
        info,
        [=](Control& control) {
          std::vector<double*> out;
          for (const Output<double>& column : columns) out.push_back(column.get());
          trajectory->measure(times, measures, out, control);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto result = Napi::Array::New(env, columns.size());
          for (uint32_t i = 0; i < columns.size(); i++) result.Set(i, columns[i].value());
          return result;
        });
  });
}

Napi::Value trajectory_limit(const Napi::CallbackInfo& info) {
  return with_trajectory(info, 1, [&]<class T>(const Shared<T>& trajectory) -> Napi::Value {
    const auto found = std::make_shared<std::shared_ptr<const Limit>>();
    return run(
        info, [=](Control& control) { *found = trajectory->limit(control); },
        [=](Napi::Env env) -> Napi::Value {
          const Limit& limit = **found;
          auto result = Napi::Object::New(env);
          result.Set("kind", limit.kind == Limit::Kind::frozen        ? "frozen"
                             : limit.kind == Limit::Kind::oscillating ? "oscillating"
                                                                      : "steady");
          result.Set("exponent", limit.exponent);
          result.Set("rate", limit.rate);
          result.Set("logNorm", limit.log_norm);
          result.Set("polynomial", limit.polynomial);
          result.Set("within", limit.within);
          result.Set("between", limit.between);
          result.Set("rest", limit.rest);
          return result;
        });
  });
}

Napi::Value trajectory_limit_state(const Napi::CallbackInfo& info) {
  return with_trajectory(info, 1, [&]<class T>(const Shared<T>& trajectory) -> Napi::Value {
    const bool unit = info[2].ToBoolean();
    const StateArrays<T> arrays(info.Env(), trajectory->start());
    return run(
        info,
        [=](Control& control) { trajectory->limit_state(*trajectory->limit(control), unit, arrays.out(), control); },
        [=](Napi::Env env) -> Napi::Value { return arrays.object(env); });
  });
}

Napi::Value trajectory_dispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    handle_argument(info, 0).release(info.Env());
    return info.Env().Undefined();
  });
}

}  // namespace lp::addon
