#include "addon/job.h"

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace lp::addon {
namespace {

// Who runs a job: the pool, unless it is cancelled while it still waits there. Outlives the job in the pool's queue.
class Turn {
 public:
  // True for the first who asks, who then must call end() when it will not touch the job again.
  bool take() { return !taken_.exchange(true); }

  void end() {
    std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_; });
  }

 private:
  std::atomic<bool> taken_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

// One asynchronous operation, from its call to the settling of its promise. What it holds of JavaScript's is touched
// and destroyed on the JavaScript thread only.
struct Job {
  Job(Napi::Env env, Work work, Finish finish)
      : deferred(Napi::Promise::Deferred::New(env)), work(std::move(work)), finish(std::move(finish)) {}

  Napi::Promise::Deferred deferred;
  Work work;
  Finish finish;
  Napi::FunctionReference on_progress;
  std::atomic<bool> reported{false};
  Napi::ThreadSafeFunction notify;
  Control control;
  std::shared_ptr<Turn> turn = std::make_shared<Turn>();
  std::string code, message;  // of the error; none while the code is empty

  void run() {
    try {
      control.poll();
      work(control);
    } catch (const Error& error) {
      fail(error.code(), error.what());
    } catch (const std::bad_alloc&) {
      fail("LP_MEMORY", kNoMemory);
    } catch (const std::exception& error) {
      fail("LP_INTERNAL", error.what());
    }
  }

  void fail(const char* error_code, const char* what) {
    code = error_code;
    message = what;
  }

  void settle(Napi::Env env) {
    try {
      if (!code.empty()) throw to_js(env, code.c_str(), message);
      deferred.Resolve(guarded(env, [&] { return finish(env); }));
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());
    }
    // What they hold is free when the caller goes on.
    work = nullptr;
    finish = nullptr;
  }
};

// Runs on the JavaScript thread: after the promise has settled, or when the environment goes away under a running job
// (a worker is terminated, the process exits), which then is cancelled and waited for.
void destroy(Napi::Env, void*, Job* job) {
  job->control.cancel();
  if (!job->turn->take()) job->turn->wait();
  delete job;
}

}  // namespace

Napi::Value run(Napi::Env env, const Mode& mode, Work work, Finish finish, const Launch& launch) {
  if (!mode.async) {
    Control control;
    work(control);
    return finish(env);
  }
  auto* job = new Job(env, std::move(work), std::move(finish));
  const auto nothing = Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
  // Also what keeps the event loop alive until the promise settles.
  job->notify =
      Napi::ThreadSafeFunction::New(env, nothing, "layerpeel", 0, 1, job, destroy, static_cast<void*>(nullptr));
  if (mode.progress.IsFunction()) {
    job->on_progress = Napi::Persistent(mode.progress.As<Napi::Function>());
    job->control.progress = [job](double share) {
      if (job->reported.exchange(true)) return;  // one on its way is enough
      job->notify.NonBlockingCall([job, share](Napi::Env env, Napi::Function) {
        job->reported = false;
        job->on_progress.Call({Napi::Number::New(env, share)});
      });
    };
  }
  const auto settled = std::make_shared<bool>(false);
  const auto settle = [job, settled](Napi::Env env) {
    *settled = true;
    job->settle(env);
  };
  const auto cancel = Napi::Function::New(env, [job, settled, settle](const Napi::CallbackInfo& info) {
    if (*settled) return;
    job->control.cancel();
    if (!job->turn->take()) return;
    job->run();  // only to find itself cancelled
    job->turn->end();
    settle(info.Env());
    job->notify.Release();
  });
  auto result = Napi::Object::New(env);
  define(result, "promise", job->deferred.Promise());
  define(result, "cancel", cancel);
  const auto refuse = [&](const char* code, const char* message) {
    job->turn->take();
    job->turn->end();
    job->fail(code, message);
    settle(env);
    job->notify.Release();
  };
  try {
    launch([job, settle, turn = job->turn, notify = job->notify] {
      if (!turn->take()) return;
      job->run();
      // While the environment is closing the call is refused, and the function must not be touched again.
      const auto call = [settle](Napi::Env env, Napi::Function) { settle(env); };
      if (notify.BlockingCall(call) == napi_ok) Napi::ThreadSafeFunction(notify).Release();
      turn->end();
    });
  } catch (const Error& error) {
    refuse(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    refuse("LP_MEMORY", kNoMemory);
  }
  return result;
}

Napi::Error to_js(Napi::Env env, const char* code, const std::string& message) {
  const Napi::Error error = Napi::Error::New(env, message);
  define(error.Value(), "code", Napi::String::New(env, code));
  return error;
}

void define(Napi::Object object, const char* name, Napi::Value value) {
  object.DefineProperty(Napi::PropertyDescriptor::Value(name, value, napi_default_jsproperty));
}

}  // namespace lp::addon
