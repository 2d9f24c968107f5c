// Native work that JavaScript holds: a trajectory, a measurement under way, runs of a descent, a network in training.
//
// A handle carries the tag of its kind, which nothing but this file gives, so that another's handle, or anything else,
// is told from it. It owns what it stands for until `dispose(handle)` or the garbage collector ends it; jobs that run
// own it as well. The collector is told how much memory that is, and again after every call that may have changed it.
//
// What a handle stands for has a `kKind` and says its size: `int64_t bytes() const`, safe beside calls that run.
#pragma once

#include <mutex>

#include "addon/call.h"

namespace lp::addon {

enum class Kind : uint64_t { trajectory, collapse, descent, trainer, device, device_array };
constexpr const char* kKinds[] = {"trajectory",  "measurement of collapse", "descent", "training", "device",
                                  "device array"};

// What an External points to.
struct Held {
  std::shared_ptr<void> object;  // none once disposed of
  int64_t (*bytes)(const void*);
  int64_t reported = 0;

  void report(Napi::Env env) {
    const int64_t now = object ? bytes(object.get()) : 0;
    if (now != reported) Napi::MemoryManagement::AdjustExternalMemory(env, now - reported);
    reported = now;
  }
  void dispose(Napi::Env env) {
    object.reset();
    report(env);
  }
};

// A new External of this kind.
Napi::Value wrap(Napi::Env env, Kind kind, Held held);
// What an External of this kind holds; nothing for anything else.
std::shared_ptr<Held> held_by(const Napi::Value& value, Kind kind);

template <class T>
class Handle {
 public:
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<T> object) {
    return addon::wrap(env, T::kKind,
                       {std::move(object), [](const void* held) { return static_cast<const T*>(held)->bytes(); }});
  }

  // Of an argument. Throws LP_OPTION for anything else than a handle of this kind, and for one that is disposed of.
  Handle(Call& call, const Argument& given) {
    const std::shared_ptr<Held> held = held_by(given.value, T::kKind);
    const std::string kind = kKinds[static_cast<size_t>(T::kKind)];
    if (!held) given.fail("LP_OPTION", "is no handle of a " + kind);
    if (!held->object) throw Error("LP_OPTION", "The " + kind + " has been disposed of; begin another.");
    object_ = std::static_pointer_cast<T>(held->object);
    call.add(Reporter([held](Napi::Env env) { held->report(env); }));
  }
  T* operator->() const { return object_.get(); }
  T& operator*() const { return *object_; }

 private:
  std::shared_ptr<T> object_;
};

// Lets calls on one handle run one after another: a job waits for those before it, but on the JavaScript thread nobody
// waits, and a call at once beside a job is refused.
class Turns {
 public:
  std::unique_lock<std::mutex> take(bool may_wait) {
    std::unique_lock lock(mutex_, std::defer_lock);
    if (may_wait) {
      lock.lock();
    } else if (!lock.try_lock()) {
      throw Error("LP_OPTION", "Another call on the same handle still runs; await it first.");
    }
    return lock;
  }

 private:
  std::mutex mutex_;
};

}  // namespace lp::addon
