// Runs of projected descent, one or many of one shape behind a handle: see ops/descent/blocks.
//   descentBegin(dtype, sizes) → handle
//   descentAdd(handle, features, prototypes, biases?, labels, plan, targetFeatures?, targetPrototypes?) → [boolean,
//     boolean]: whether features and prototypes had to be projected
//   descentAdvance(mode, handle, rates, steps, shown) → [{ reason, step, records }] of the runs
//   descentObserve(mode, handle) → [Float64Array] of the runs
//   descentState(handle, run, velocity) → [features, prototypes, biases?], or [] where there is no velocity
//   descentRestore(handle, run, step, features?, prototypes?, biases?): the velocity
#include <mutex>
#include <variant>

#include "addon/addon.h"
#include "addon/job.h"
#include "addon/loss_plan.h"
#include "ops/descent/blocks.h"

namespace lp::addon {
namespace {

template <class T>
using Runs = std::vector<std::unique_ptr<Descent<T>>>;

// Calls on one handle run one after another, whatever threads they come from.
struct Session {
  std::variant<Runs<float>, Runs<double>> runs;
  Index samples = 0, classes = 0, dim = 0;
  std::mutex mutex;
};

using Handle = std::shared_ptr<Session>;

Handle handle_argument(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsExternal()) throw Error("LP_INTERNAL", "Expected the handle of descentBegin.");
  return *info[index].As<Napi::External<Handle>>().Data();
}

PartPlan part_in(Napi::Object plan, const char* key) {
  const auto given = plan.Get(key).As<Napi::Object>();
  const double kind = number_in(given, "constraint");
  if (!(kind >= 0 && kind <= 3)) throw Error("LP_OPTION", "There is no such constraint.");
  PartPlan part;
  part.moves = given.Get("moves").ToBoolean();
  part.decay = number_in(given, "decay");
  part.constraint.kind = static_cast<Constraint::Kind>(static_cast<int>(kind));
  part.constraint.radius = number_in(given, "radius");
  return part;
}

DescentMeasure measure_of(double index) {
  if (!(index >= 0 && index <= static_cast<double>(DescentMeasure::stationarity))) {
    throw Error("LP_OPTION", "There is no such measure.");
  }
  return static_cast<DescentMeasure>(static_cast<int>(index));
}

DescentPlan plan_in(Napi::Object given, Index samples, Index classes) {
  DescentPlan plan;
  plan.loss = loss_in(given.Get("loss").As<Napi::Object>(), samples, classes);
  plan.features = part_in(given, "features");
  plan.prototypes = part_in(given, "prototypes");
  plan.biases = part_in(given, "biases");
  plan.momentum = number_in(given, "momentum");
  plan.nesterov = given.Get("nesterov").ToBoolean();
  plan.rescaled = given.Get("rescaled").ToBoolean();
  plan.batch = size_in(given, "batch");
  plan.seed = static_cast<uint64_t>(size_in(given, "seed"));
  plan.as_it_is = given.Get("asItIs").ToBoolean();
  for (double index : numbers_in(given, "measures")) plan.measures.push_back(measure_of(index));
  plan.every = std::max<Index>(1, size_in(given, "every"));
  const auto event = numbers_in(given, "event");  // measure, below, value
  if (event.size() == 3) plan.event = {measure_of(event[0]), event[1] != 0, event[2]};
  plan.stationary = number_in(given, "stationary");
  return plan;
}

template <class T>
Napi::Value add(const Napi::CallbackInfo& info, Session& session) {
  const Index n = session.samples, classes = session.classes, p = session.dim;
  const DescentPlan plan = plan_in(info[5].As<Napi::Object>(), n, classes);
  const Labels labels(info, 4, n, classes);
  const auto values = [&](size_t index, Index size) -> const T* {
    if (info[index].IsUndefined()) return nullptr;
    void* data = nullptr;
    locate(info.Env(), info[index], kArrayType<T>, size, &data);
    return static_cast<const T*>(data);
  };
  const T *features = values(1, n * p), *prototypes = values(2, classes * p);
  if (!features || !prototypes) throw Error("LP_SHAPE", "Expected features and prototypes.");
  const State<const T> start{{features, n, p}, {prototypes, classes, p}, values(3, classes), labels.get()};
  auto run = std::make_unique<Descent<T>>(plan, start, values(6, n * p), values(7, classes * p));
  const Napi::Value outside[] = {Napi::Boolean::New(info.Env(), run->projected[0]),
                                 Napi::Boolean::New(info.Env(), run->projected[1])};
  std::lock_guard lock(session.mutex);
  std::get<Runs<T>>(session.runs).push_back(std::move(run));
  return array_of(info.Env(), {outside[0], outside[1]});
}

// Calls body with the run at `index`, on this thread, once no job has it.
template <class Body>
Napi::Value with_run(const Napi::CallbackInfo& info, size_t index, Body&& body) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Handle handle = handle_argument(info, 0);
    const Index run = count_argument(info, index);
    std::lock_guard lock(handle->mutex);
    return std::visit(
        [&]<class T>(Runs<T>& runs) -> Napi::Value {
          if (run >= std::ssize(runs)) throw Error("LP_INTERNAL", "There is no such run.");
          return body(*runs[run], *handle);
        },
        handle->runs);
  });
}

template <class T>
Napi::Value copy_of(Napi::Env env, const T* data, Index size) {
  const Output<T> out(env, size);
  std::copy_n(data, size, out.get());
  return out.value();
}

}  // namespace

Napi::Value descent_begin(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto sizes = info[1].As<Napi::Object>();
    auto session = std::make_shared<Session>();
    session->samples = size_in(sizes, "samples");
    session->classes = size_in(sizes, "classes");
    session->dim = size_in(sizes, "dim");
    if (session->samples < 1 || session->classes < 2 || session->dim < 1) {
      throw Error("LP_SHAPE", "Expected at least one sample, two classes and one dimension.");
    }
    if (info[0].ToString().Utf8Value() == "float64") session->runs = Runs<double>();
    return Napi::External<Handle>::New(info.Env(), new Handle(session),
                                       [](Napi::Env, Handle* handle) { delete handle; });
  });
}

Napi::Value descent_add(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() {
    const Handle handle = handle_argument(info, 0);
    if (!std::holds_alternative<Runs<T>>(handle->runs)) throw Error("LP_DTYPE", "The runs are of another dtype.");
    return add<T>(info, *handle);
  });
}

Napi::Value descent_advance(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Handle handle = handle_argument(info, 1);
    const auto rates = std::make_shared<std::vector<double>>(numbers_argument(info, 2));
    const Index steps = count_argument(info, 3);
    const bool shown = info[4].ToBoolean();
    const auto outcomes = std::make_shared<std::vector<DescentOutcome>>();
    const auto at = std::make_shared<std::vector<Index>>();
    return run(
        info,
        [=](Control& control) {
          std::lock_guard lock(handle->mutex);
          std::visit(
              [&]<class T>(Runs<T>& runs) {
                const double count = static_cast<double>(rates->size()), wanted = 3 * static_cast<double>(steps);
                const bool each = runs.size() > 1 && count == wanted * static_cast<double>(runs.size());
                if (!each && count != wanted) throw Error("LP_SHAPE", "There are not as many rates as steps.");
                outcomes->resize(runs.size());
                advance_all(runs, rates->data(), each, steps, shown, *outcomes, control);
                for (const auto& one : runs) at->push_back(one->step());
              },
              handle->runs);
        },
        [=](Napi::Env env) -> Napi::Value {
          static constexpr const char* kReasons[] = {"steps", "event", "stationary", "diverged"};
          auto results = Napi::Array::New(env, outcomes->size());
          for (size_t r = 0; r < outcomes->size(); r++) {
            const DescentOutcome& outcome = (*outcomes)[r];
            auto result = Napi::Object::New(env);
            result.Set("reason", kReasons[outcome.reason]);
            result.Set("step", static_cast<double>((*at)[r]));
            result.Set("records", copy_of(env, outcome.records.data(), std::ssize(outcome.records)));
            results.Set(static_cast<uint32_t>(r), result);
          }
          return results;
        });
  });
}

Napi::Value descent_observe(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Handle handle = handle_argument(info, 1);
    const auto rows = std::make_shared<std::vector<std::vector<double>>>();
    return run(
        info,
        [=](Control& control) {
          std::lock_guard lock(handle->mutex);
          std::visit(
              [&](auto& runs) {
                for (const auto& one : runs) rows->push_back(one->observe(control));
              },
              handle->runs);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto results = Napi::Array::New(env, rows->size());
          for (size_t r = 0; r < rows->size(); r++) {
            results.Set(static_cast<uint32_t>(r), copy_of(env, (*rows)[r].data(), std::ssize((*rows)[r])));
          }
          return results;
        });
  });
}

Napi::Value descent_state(const Napi::CallbackInfo& info) {
  const bool of_velocity = info[2].ToBoolean();
  return with_run(info, 1, [&]<class T>(Descent<T>& run, const Session& session) -> Napi::Value {
    const State<T> state = of_velocity ? run.velocity() : run.state();
    if (!state.features.data) return Napi::Array::New(info.Env());
    const Napi::Value features = copy_of(info.Env(), state.features.data, session.samples * session.dim);
    const Napi::Value prototypes = copy_of(info.Env(), state.prototypes.data, session.classes * session.dim);
    if (!state.biases) return array_of(info.Env(), {features, prototypes});
    return array_of(info.Env(), {features, prototypes, copy_of(info.Env(), state.biases, session.classes)});
  });
}

Napi::Value descent_restore(const Napi::CallbackInfo& info) {
  return with_run(info, 1, [&]<class T>(Descent<T>& run, const Session& session) -> Napi::Value {
    const Index step = count_argument(info, 2);
    const State<T> velocity = run.velocity();
    const auto fill = [&](size_t index, T* to, Index size) {
      if (!to) return;
      void* data = nullptr;
      locate(info.Env(), info[index], kArrayType<T>, size, &data);
      std::copy_n(static_cast<const T*>(data), size, to);
    };
    fill(3, velocity.features.data, session.samples * session.dim);
    fill(4, velocity.prototypes.data, session.classes * session.dim);
    fill(5, velocity.biases, session.classes);
    run.restore(step);
    return info.Env().Undefined();
  });
}

}  // namespace lp::addon
