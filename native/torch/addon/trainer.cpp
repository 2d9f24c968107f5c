// A network in training behind a handle: see torch/trainer.
//   trainerBegin(mode, plan, [{ data, count, height, width, channels, labels }]) → handle
//   trainerEpoch(mode, handle, { epoch, rates }) → { loss, accuracy, batches, seconds, waited, divergedAt }
//   trainerEvaluate(mode, handle, { split, begin, count, epoch, logits }) → { features, logits?, loss, norm, correct },
//   the logits where they are asked for
//   trainerLayout(handle) → [{ name, shape }] of the state
//   trainerState(mode, handle, { names }) → [Float32Array] of these tensors
//   trainerRestore(mode, handle, { state }), [Float32Array] of all of them
#include <atomic>
#include <unordered_map>

#include "addon/handle.h"
#include "addon/images.h"
#include "torch/addon/plan.h"
#include "torch/memory/memory.h"
#include "torch/trainer/lane.h"

namespace lp::addon {
namespace {

// Calls on one handle run one after another on its thread. Made and destroyed on the JavaScript thread.
struct Session {
  static constexpr Kind kKind = Kind::trainer;

  Lane lane;
  std::vector<ImagesInput> images;
  std::vector<Labels> labels;
  std::unique_ptr<Trainer> trainer;
  std::atomic<int64_t> size = 0;

  int64_t bytes() const { return size; }
};

// Runs on the session's thread, always asynchronously, with libtorch's errors as the engine's.
template <class Owner>
Napi::Value run_there(Call& call, const Owner& session, Work work, Finish finish) {
  if (!call.async()) throw Error("LP_OPTION", "Training runs asynchronously only; expected a mode.");
  const auto translated = [work = std::move(work), session](Control& control) {
    struct Trim {
      ~Trim() { trim_tensor_memory(); }
    } const trim;
    try {
      work(control);
    } catch (const c10::Error& error) {
      const std::string message = error.what_without_backtrace();
      const bool memory =
          message.find("allocate memory") != std::string::npos || dynamic_cast<const c10::OutOfMemoryError*>(&error);
      throw Error(memory ? "LP_MEMORY" : "LP_INTERNAL", "libtorch: " + message);
    }
  };
  return call.run(translated, std::move(finish),
                  [session](std::function<void()> job) { session->lane.post(std::move(job)); });
}

Napi::Value trainer_begin(Call& call) {
  auto plan = std::make_shared<TrainerPlan>(trainer_plan_in(call[1]));
  const auto session = std::make_shared<Session>();
  for (const Argument& split : call[2].list()) {
    session->images.emplace_back(call, split);
    session->labels.emplace_back(call, split["labels"], session->images.back().sizes.count, plan->classes);
  }
  if (session->images.empty()) call[2].fail("LP_SHAPE", "is empty; expected at least one split");
  return run_there(
      call, session,
      [=](Control&) {
        std::vector<Split> splits;
        for (size_t s = 0; s < session->images.size(); s++) {
          const Images images = session->images[s].get();
          const int32_t* labels = session->labels[s].get();
          splits.push_back({images, {labels, labels + images.count}});
        }
        session->trainer = std::make_unique<Trainer>(*plan, std::move(splits));
        int64_t bytes = 0;
        for (const Named& one : session->trainer->state()) bytes += static_cast<int64_t>(one.tensor.nbytes());
        session->size = bytes;
      },
      [=](Napi::Env env) { return Handle<Session>::wrap(env, session); });
}
LP_EXPORT("trainerBegin(mode, plan, splits)", trainer_begin)

Napi::Value trainer_epoch(Call& call) {
  const Handle<Session> session(call, call[1]);
  const Index epoch = call[2]["epoch"].count();
  const auto rates = call[2]["rates"].numbers();
  const auto result = std::make_shared<EpochResult>();
  return run_there(
      call, session, [=](Control& control) { *result = session->trainer->epoch(epoch, rates, control); },
      [=](Napi::Env env) {
        return named(env, {{"loss", result->loss},
                           {"accuracy", result->accuracy},
                           {"batches", result->batches},
                           {"seconds", result->seconds},
                           {"waited", result->waited},
                           {"divergedAt", result->diverged_at}});
      });
}
LP_EXPORT("trainerEpoch(mode, handle, plan)", trainer_epoch)

Napi::Value trainer_evaluate(Call& call) {
  const Handle<Session> session(call, call[1]);
  const Argument plan = call[2];
  const Index split = plan["split"].size(), begin = plan["begin"].size(), count = plan["count"].size();
  const Index epoch = plan["epoch"].count();
  const auto& splits = session->trainer->splits();
  if (split >= std::ssize(splits)) plan["split"].fail("LP_OPTION", "is no split");
  if (begin + count > splits[split].images.count) plan.fail("LP_SHAPE", "asks for more samples than there are");
  const Output<float> features(call, count * session->trainer->dim());
  Output<float> logits;
  if (plan["logits"].flag()) logits = Output<float>(call, count * session->trainer->plan().classes);
  const auto result = std::make_shared<Evaluation>();
  return run_there(
      call, session,
      [=](Control& control) {
        *result = session->trainer->evaluate(split, begin, count, epoch, features.get(), logits.get(), control);
      },
      [=](Napi::Env env) {
        return named(env, {{"features", features},
                           {"logits", logits},
                           {"loss", result->loss},
                           {"norm", result->norm},
                           {"correct", result->correct}});
      });
}
LP_EXPORT("trainerEvaluate(mode, handle, plan)", trainer_evaluate)

Napi::Value trainer_layout(Call& call) {
  const Handle<Session> session(call, call[0]);
  const Napi::Env env = call.env();
  std::vector<Napi::Value> entries;
  for (const Named& one : session->trainer->state()) {
    std::vector<Napi::Value> shape;
    for (const int64_t extent : one.tensor.sizes())
      shape.push_back(Napi::Number::New(env, static_cast<double>(extent)));
    entries.push_back(named(env, {{"name", one.name.c_str()}, {"shape", list_of(env, shape)}}));
  }
  return list_of(env, entries);
}
LP_EXPORT("trainerLayout(handle)", trainer_layout)

Napi::Value trainer_state(Call& call) {
  const Handle<Session> session(call, call[1]);
  std::unordered_map<std::string, at::Tensor> all;
  for (const Named& one : session->trainer->state()) all[one.name] = one.tensor;
  std::vector<std::pair<at::Tensor, Output<float>>> wanted;
  for (const Argument& name : call[2]["names"].list()) {
    const auto found = all.find(name.text());
    if (found == all.end()) name.fail("LP_OPTION", "is no tensor of this network");
    wanted.emplace_back(found->second, Output<float>(call, found->second.numel()));
  }
  return run_there(
      call, session,
      [=](Control&) {
        torch::NoGradGuard no_gradient;
        for (const auto& [tensor, out] : wanted) at::from_blob(out.get(), tensor.sizes()).copy_(tensor);
      },
      [=](Napi::Env env) {
        std::vector<Napi::Value> arrays;
        for (const auto& [tensor, out] : wanted) arrays.push_back(out.value());
        return list_of(env, arrays);
      });
}
LP_EXPORT("trainerState(mode, handle, plan)", trainer_state)

Napi::Value trainer_restore(Call& call) {
  const Handle<Session> session(call, call[1]);
  const Argument given = call[2]["state"];
  const auto arrays = given.list();
  const auto state = session->trainer->state();
  if (arrays.size() != state.size()) given.fail("LP_SHAPE", "has another number of tensors than the network");
  std::vector<std::pair<at::Tensor, Input<float>>> pairs;
  for (size_t i = 0; i < state.size(); i++) {
    pairs.emplace_back(state[i].tensor, Input<float>(call, arrays[i], state[i].tensor.numel()));
  }
  return run_there(
      call, session,
      [=](Control&) {
        torch::NoGradGuard no_gradient;
        for (const auto& [tensor, input] : pairs) {
          at::Tensor(tensor).copy_(at::from_blob(const_cast<float*>(input.get()), tensor.sizes()));
        }
      },
      [](Napi::Env env) { return env.Undefined(); });
}
LP_EXPORT("trainerRestore(mode, handle, plan)", trainer_restore)

}  // namespace
}  // namespace lp::addon
