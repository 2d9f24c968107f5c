// A network in training behind a handle: see torch/trainer.
//   trainerBegin(mode, plan, beginning?, images, sizes, labels, more images, sizes, labels, …) → handle
//   trainerEpoch(mode, handle, epoch, rates) → { loss, accuracy, batches, seconds, waited, divergedAt }
//   trainerEvaluate(mode, handle, split, begin, count, epoch, logits?) → { features, logits?, loss, norm, correct }
//   trainerLayout(handle) → [{ name, shape }] of the state
//   trainerState(mode, handle, [names]) → [Float32Array] of these tensors
//   trainerRestore(mode, handle, [Float32Array]) of all of them
//   trainerDispose(handle)
#include <unordered_map>

#include "torch/addon/addon.h"
#include "torch/addon/plan.h"
#include "torch/memory/memory.h"
#include "torch/trainer/lane.h"

namespace lp::addon {
namespace {

// Calls on one handle run one after another on its thread. Made and destroyed on the JavaScript thread.
struct Session {
  Lane lane;
  std::vector<Input<uint8_t>> images;
  std::shared_ptr<Trainer> trainer;  // jobs hold it as well, so disposing of it takes it from none
};

using Handle = std::shared_ptr<Session>;

constexpr napi_type_tag kTag{0x6c61796572706565, 0x6c2d747261696e65};

Handle handle_argument(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsExternal() || !info[index].As<Napi::External<Handle>>().CheckTypeTag(&kTag)) {
    throw Error("LP_INTERNAL", "Expected the handle of trainerBegin.");
  }
  Handle session = *info[index].As<Napi::External<Handle>>().Data();
  if (!session->trainer) throw Error("LP_INTERNAL", "The training has been disposed of.");
  return session;
}

// Runs on the session's thread, always asynchronously, with libtorch's errors as the engine's.
Napi::Value run_there(const Napi::CallbackInfo& info, const Handle& session, Work work, Finish finish) {
  if (!is_async(info)) throw Error("LP_INTERNAL", "Training runs asynchronously only.");
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
  return run(info, translated, std::move(finish),
             [session](std::function<void()> job) { session->lane.post(std::move(job)); });
}

Images sizes_in(Napi::Object given) {
  return {nullptr, size_in(given, "count"), size_in(given, "height"), size_in(given, "width"),
          size_in(given, "channels")};
}

// A split from three arguments, its images in memory that the session keeps.
Split split_argument(const Napi::CallbackInfo& info, size_t index, Index classes, Session& session) {
  Split split{sizes_in(info[index + 1].As<Napi::Object>()), {}};
  const Index count = split.images.count;
  session.images.emplace_back(info, index, count * split.images.size());
  split.images.data = session.images.back().get();
  const Labels labels(info, index + 2, count, classes);
  split.labels.assign(labels.get(), labels.get() + count);
  return split;
}

Index index_of_split(const Napi::CallbackInfo& info, size_t index, const Trainer& trainer) {
  const Index split = size_argument(info, index);
  if (split >= std::ssize(trainer.splits())) throw Error("LP_OPTION", "There is no such split.");
  return split;
}

}  // namespace

Napi::Value trainer_begin(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto plan = std::make_shared<TrainerPlan>(trainer_plan_in(info[1].As<Napi::Object>()));
    const auto session = std::make_shared<Session>();
    auto splits = std::make_shared<std::vector<Split>>();
    if (info[2].IsTypedArray()) {
      const auto array = info[2].As<Napi::Float32Array>();
      const Input<float> beginning(info, 2, array.ElementLength());
      plan->beginning.assign(beginning.get(), beginning.get() + array.ElementLength());
    }
    for (size_t index = 3; index == 3 || index < info.Length(); index += 3) {
      splits->push_back(split_argument(info, index, plan->classes, *session));
    }
    return run_there(
        info, session, [=](Control&) { session->trainer = std::make_shared<Trainer>(*plan, *splits); },
        [=](Napi::Env env) -> Napi::Value {
          auto handle = Napi::External<Handle>::New(env, new Handle(session), [](Napi::Env, Handle* h) { delete h; });
          handle.TypeTag(&kTag);
          return handle;
        });
  });
}

Napi::Value trainer_epoch(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Handle session = handle_argument(info, 1);
    const Index epoch = count_argument(info, 2);
    const auto rates = std::make_shared<std::vector<double>>(numbers_argument(info, 3));
    const auto result = std::make_shared<EpochResult>();
    return run_there(
        info, session,
        [=, trainer = session->trainer](Control& control) { *result = trainer->epoch(epoch, *rates, control); },
        [=](Napi::Env env) -> Napi::Value {
          auto object = Napi::Object::New(env);
          object.Set("loss", result->loss);
          object.Set("accuracy", result->accuracy);
          object.Set("batches", static_cast<double>(result->batches));
          object.Set("seconds", result->seconds);
          object.Set("waited", result->waited);
          object.Set("divergedAt", static_cast<double>(result->diverged_at));
          return object;
        });
  });
}

Napi::Value trainer_evaluate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Handle session = handle_argument(info, 1);
    const Index split = index_of_split(info, 2, *session->trainer);
    const Index begin = size_argument(info, 3), count = size_argument(info, 4), epoch = count_argument(info, 5);
    if (begin + count > session->trainer->splits()[split].images.count) {
      throw Error("LP_SHAPE", "There are not so many samples.");
    }
    const Output<float> features(info.Env(), count * session->trainer->dim());
    const bool with_logits = info[6].ToBoolean();
    const Output<float> logits(info.Env(), with_logits ? count * session->trainer->plan().classes : 0);
    const auto result = std::make_shared<Evaluation>();
    return run_there(
        info, session,
        [=, trainer = session->trainer](Control& control) {
          *result = trainer->evaluate(split, begin, count, epoch, features.get(), with_logits ? logits.get() : nullptr,
                                      control);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto object = Napi::Object::New(env);
          object.Set("features", features.value());
          if (with_logits) object.Set("logits", logits.value());
          object.Set("loss", result->loss);
          object.Set("norm", result->norm);
          object.Set("correct", static_cast<double>(result->correct));
          return object;
        });
  });
}

Napi::Value trainer_layout(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto state = handle_argument(info, 0)->trainer->state();
    auto list = Napi::Array::New(info.Env(), state.size());
    for (uint32_t i = 0; i < state.size(); i++) {
      auto shape = Napi::Array::New(info.Env(), state[i].tensor.dim());
      for (uint32_t k = 0; k < state[i].tensor.dim(); k++) shape.Set(k, static_cast<double>(state[i].tensor.size(k)));
      auto entry = Napi::Object::New(info.Env());
      entry.Set("name", state[i].name);
      entry.Set("shape", shape);
      list.Set(i, entry);
    }
    return list;
  });
}

Napi::Value trainer_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Handle session = handle_argument(info, 1);
    const auto names = info[2].As<Napi::Array>();
    std::unordered_map<std::string, at::Tensor> all;
    for (const Named& named : session->trainer->state()) all[named.name] = named.tensor;
    std::vector<std::pair<at::Tensor, Output<float>>> wanted;
    for (uint32_t i = 0; i < names.Length(); i++) {
      const auto found = all.find(names.Get(i).ToString());
      if (found == all.end()) throw Error("LP_OPTION", "There is no such tensor.");
      wanted.emplace_back(found->second, Output<float>(info.Env(), found->second.numel()));
    }
    return run_there(
        info, session,
        [=](Control&) {
          torch::NoGradGuard no_gradient;
          for (auto& [tensor, out] : wanted) at::from_blob(out.get(), tensor.sizes()).copy_(tensor);
        },
        [=](Napi::Env env) -> Napi::Value {
          auto list = Napi::Array::New(env, wanted.size());
          for (uint32_t i = 0; i < wanted.size(); i++) list.Set(i, wanted[i].second.value());
          return list;
        });
  });
}

Napi::Value trainer_restore(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Handle session = handle_argument(info, 1);
    const auto arrays = info[2].As<Napi::Array>();
    const auto state = session->trainer->state();
    if (arrays.Length() != state.size()) throw Error("LP_SHAPE", "The state has another number of tensors.");
    std::vector<std::pair<at::Tensor, std::shared_ptr<Buffer<float>>>> given;
    for (uint32_t i = 0; i < state.size(); i++) {
      void* data = nullptr;
      locate(info.Env(), arrays.Get(i), napi_float32_array, state[i].tensor.numel(), &data);
      auto copy = std::make_shared<Buffer<float>>(state[i].tensor.numel());
      std::memcpy(copy->get(), data, state[i].tensor.numel() * sizeof(float));
      given.emplace_back(state[i].tensor, copy);
    }
    return run_there(
        info, session,
        [=](Control&) {
          torch::NoGradGuard no_gradient;
          for (const auto& [tensor, copy] : given) at::Tensor(tensor).copy_(at::from_blob(copy->get(), tensor.sizes()));
        },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

Napi::Value trainer_dispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    handle_argument(info, 0)->trainer.reset();
    return info.Env().Undefined();
  });
}

}  // namespace lp::addon
