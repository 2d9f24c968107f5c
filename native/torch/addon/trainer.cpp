// A network in training behind a handle: see torch/trainer. `samples` are { data, count, height, width, channels, of,
// indices, labels, partnerLabels? }: images as of augment, or, where `of` is above 0, those of these samples alone of a
// set of so many, in their order, followed by their partners of a mixup.
//   trainerBegin(mode, plan) → handle
//   trainerOrder(mode, handle, { samples, epoch }) → { indices, partners? } of all samples of a set, the partners where
//   there is a mixup
//   trainerTrain(mode, handle, { samples, epoch, rates }) → { losses, correct, waited, divergedAt }
//   trainerEvaluate(mode, handle, { samples, epoch, logits }) → { features, logits?, losses, norms, correct }, the
//   logits where they are asked for
//   trainerLayout(handle) → [{ name, shape }] of the state
//   trainerState(mode, handle, { names }) → [Float32Array] of these tensors
//   trainerRestore(mode, handle, { state }), [Float32Array] of all of them
#include <algorithm>
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

// Samples as a call has them: their images, and which of the set they are.
class SamplesInput {
 public:
  SamplesInput(Call& call, const Argument& given, const Trainer& trainer)
      : images_(call, given), of_(given["of"].size()), count_(given["indices"].length()) {
    if (count_ < 1) given["indices"].fail("LP_SHAPE", "is empty; expected at least one sample");
    const Index classes = trainer.plan().classes;
    indices_ = Indices(call, given["indices"], count_, of_ > 0 ? of_ : images_.sizes.count);
    labels_ = Labels(call, given["labels"], count_, classes);
    const Argument partners = given["partnerLabels"];
    if (partners.given()) partner_labels_ = Labels(call, partners, count_, classes), mixed_ = true;
    const Architecture& of = trainer.plan().architecture;
    const Images& is = images_.sizes;
    if (is.height != of.height || is.width != of.width || is.channels != of.channels) {
      given.fail("LP_SHAPE", "has images of another size than the network is for");
    }
  }
  Index count() const { return count_; }
  bool mixed() const { return mixed_; }
  Samples get() const {
    const auto copy = [&](const int32_t* from) { return std::vector<int32_t>(from, from + count_); };
    Images images = images_.get();
    images.samples = of_, images.partners = count_;
    return {images, copy(indices_.get()), copy(labels_.get()),
            mixed_ ? copy(partner_labels_.get()) : std::vector<int32_t>()};
  }

 private:
  ImagesInput images_;
  Index of_, count_;
  Indices indices_;
  Labels labels_, partner_labels_;
  bool mixed_ = false;
};

Napi::Value trainer_begin(Call& call) {
  auto plan = std::make_shared<TrainerPlan>(trainer_plan_in(call[1]));
  const auto session = std::make_shared<Session>();
  return run_there(
      call, session,
      [=](Control&) {
        session->trainer = std::make_unique<Trainer>(*plan);
        int64_t bytes = 0;
        for (const Named& one : session->trainer->state()) bytes += static_cast<int64_t>(one.tensor.nbytes());
        session->size = bytes;
      },
      [=](Napi::Env env) { return Handle<Session>::wrap(env, session); });
}
LP_EXPORT("trainerBegin(mode, plan)", trainer_begin)

Napi::Value trainer_order(Call& call) {
  const Handle<Session> session(call, call[1]);
  const Index samples = call[2]["samples"].size(), epoch = call[2]["epoch"].count();
  const Output<int32_t> indices(call, samples);
  Output<int32_t> partners;
  if (session->trainer->plan().augmentation.mixup > 0) partners = Output<int32_t>(call, samples);
  return run_there(
      call, session,
      [=](Control&) {
        const auto order = session->trainer->order(samples, epoch);
        std::ranges::copy(order, indices.get());
        std::ranges::copy(session->trainer->partners(order, epoch), partners.get());
      },
      [=](Napi::Env env) { return named(env, {{"indices", indices}, {"partners", partners}}); });
}
LP_EXPORT("trainerOrder(mode, handle, plan)", trainer_order)

Napi::Value trainer_train(Call& call) {
  const Handle<Session> session(call, call[1]);
  const SamplesInput samples(call, call[2]["samples"], *session->trainer);
  if (samples.mixed() != (session->trainer->plan().augmentation.mixup > 0)) {
    call[2]["samples"].fail("LP_SHAPE", "must have partnerLabels with a mixup, and none without");
  }
  const Index epoch = call[2]["epoch"].count();
  const auto rates = call[2]["rates"].numbers();
  const auto result = std::make_shared<Trained>();
  return run_there(
      call, session, [=](Control& control) { *result = session->trainer->train(samples.get(), epoch, rates, control); },
      [=](Napi::Env env) {
        return named(env, {{"losses", array_of(env, result->losses)},
                           {"correct", array_of(env, result->correct)},
                           {"waited", result->waited},
                           {"divergedAt", result->diverged_at}});
      });
}
LP_EXPORT("trainerTrain(mode, handle, plan)", trainer_train)

Napi::Value trainer_evaluate(Call& call) {
  const Handle<Session> session(call, call[1]);
  const Argument plan = call[2];
  const SamplesInput samples(call, plan["samples"], *session->trainer);
  const Index epoch = plan["epoch"].count();
  const Output<float> features(call, samples.count() * session->trainer->dim());
  Output<float> logits;
  if (plan["logits"].flag()) logits = Output<float>(call, samples.count() * session->trainer->plan().classes);
  const auto result = std::make_shared<Evaluation>();
  return run_there(
      call, session,
      [=](Control& control) {
        *result = session->trainer->evaluate(samples.get(), epoch, features.get(), logits.get(), control);
      },
      [=](Napi::Env env) {
        return named(env, {{"features", features},
                           {"logits", logits},
                           {"losses", array_of(env, result->losses)},
                           {"norms", array_of(env, result->norms)},
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
