#include "addon/job.h"

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>

namespace lp::addon {
namespace {

constexpr const char* kNoMemory = "There is not enough memory for this operation.";

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
    if (!code.empty()) {
      deferred.Reject(to_js(env, code.c_str(), message).Value());
      return;
    }
    try {
      deferred.Resolve(guarded(env, [&] { return finish(env); }));
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());
    }
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

Napi::Value run(const Napi::CallbackInfo& info, Work work, Finish finish, const Launch& launch) {
  const Napi::Env env = info.Env();
  if (!is_async(info)) {
    return guarded(env, [&] {
      Control control;
      work(control);
      return finish(env);
    });
  }
  auto* job = new Job(env, std::move(work), std::move(finish));
  const auto nothing = Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
  // Also what keeps the event loop alive until the promise settles.
  job->notify =
      Napi::ThreadSafeFunction::New(env, nothing, "layerpeel", 0, 1, job, destroy, static_cast<void*>(nullptr));
  const Napi::Value progress = info[0].As<Napi::Object>().Get("progress");
  if (progress.IsFunction()) {
    job->on_progress = Napi::Persistent(progress.As<Napi::Function>());
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
  auto result = Napi::Object::New(env);
  result.Set("promise", job->deferred.Promise());
  result.Set("cancel", Napi::Function::New(env, [job, settled, settle](const Napi::CallbackInfo& info) {
               if (*settled) return;
               job->control.cancel();
               if (!job->turn->take()) return;
               job->run();  // only to find itself cancelled
               job->turn->end();
               settle(info.Env());
               job->notify.Release();
             }));
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
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

bool locate(Napi::Env env, Napi::Value value, napi_typedarray_type type, Index size, void** data) {
  if (!value.IsTypedArray()) throw Error("LP_DTYPE", "Expected a typed array.");
  napi_typedarray_type actual;
  size_t length = 0, offset = 0;
  napi_value buffer;
  if (napi_get_typedarray_info(env, value, &actual, &length, data, &buffer, &offset) != napi_ok || actual != type) {
    throw Error("LP_DTYPE", "A typed array has an unexpected element type.");
  }
  if (static_cast<Index>(length) != size) {
    throw Error(length == 0 ? "LP_DETACHED" : "LP_SHAPE",
                "A typed array has " + std::to_string(length) + " elements; expected " + std::to_string(size) + ".");
  }
  bool detachable = false;
  napi_is_arraybuffer(env, buffer, &detachable);
  return !detachable;
}

Labels::Labels(const Napi::CallbackInfo& info, size_t index, Index samples, Index classes) {
  void* data = nullptr;
  locate(info.Env(), info[index], napi_int32_array, samples, &data);
  const auto* given = static_cast<const int32_t*>(data);
  labels_ = std::make_shared<const std::vector<int32_t>>(given, given + samples);
  for (const int32_t label : *labels_) {
    if (label < 0 || label >= classes) throw Error("LP_LABEL", "A label is out of range.");
  }
}

Napi::Array array_of(Napi::Env env, std::initializer_list<Napi::Value> values) {
  auto array = Napi::Array::New(env, values.size());
  uint32_t i = 0;
  for (const Napi::Value& value : values) array.Set(i++, value);
  return array;
}

Napi::Object new_array(Napi::Env env, napi_typedarray_type type, Index size) {
  const char* constructor = type == napi_float32_array   ? "Float32Array"
                            : type == napi_float64_array ? "Float64Array"
                                                         : "Int32Array";
  try {
    const auto length = Napi::Number::New(env, static_cast<double>(size));
    return env.Global().Get(constructor).As<Napi::Function>().New({length});
  } catch (const Napi::Error&) {
    throw Error("LP_MEMORY", "There is not enough memory for a result of " + std::to_string(size) + " elements.");
  }
}

namespace {

double to_number(Napi::Value value, const std::string& name) {
  if (!value.IsNumber()) throw Error("LP_OPTION", name + " must be a number.");
  return value.As<Napi::Number>().DoubleValue();
}

Index to_integer(Napi::Value value, double most, const std::string& name) {
  const double number = to_number(value, name);
  if (!(number >= 0 && number <= most) || number != std::floor(number)) {
    throw Error("LP_SHAPE", name + " must be a non-negative integer of at most " + std::to_string(most) + ".");
  }
  return static_cast<Index>(number);
}

// The product of two such sizes is still an Index.
Index to_size(Napi::Value value, const std::string& name) { return to_integer(value, 2147483647.0, name); }

std::vector<double> to_numbers(Napi::Value value, const std::string& name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    throw Error("LP_DTYPE", name + " must be a Float64Array.");
  }
  auto array = value.As<Napi::Float64Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::string nth(size_t index) { return "Argument " + std::to_string(index); }

}  // namespace

double number_argument(const Napi::CallbackInfo& info, size_t index) { return to_number(info[index], nth(index)); }
Index size_argument(const Napi::CallbackInfo& info, size_t index) { return to_size(info[index], nth(index)); }
Index count_argument(const Napi::CallbackInfo& info, size_t index) {
  return to_integer(info[index], 9007199254740991.0, nth(index));
}
std::vector<double> numbers_argument(const Napi::CallbackInfo& info, size_t index) {
  return to_numbers(info[index], nth(index));
}
double number_in(Napi::Object object, const char* key) { return to_number(object.Get(key), key); }
Index size_in(Napi::Object object, const char* key) { return to_size(object.Get(key), key); }
std::vector<double> numbers_in(Napi::Object object, const char* key) { return to_numbers(object.Get(key), key); }

}  // namespace lp::addon
