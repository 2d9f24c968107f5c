// Runs an operation for JavaScript: at once, or on the pool behind a promise.
//
// The first argument of every native function is its `mode`: undefined runs synchronously and returns the result;
// `{ progress?: (share) => void }` runs on the pool and returns `{ promise, cancel }`.
//
// Memory. A JavaScript thread may detach an array's buffer while a job runs, and a reference does not stop it: jobs
// copy what they read (unless it is a SharedArrayBuffer, which cannot be detached), synchronous calls read in place.
// Results are written straight into an array that nobody else can see until the promise resolves.
#pragma once

#include <napi.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "core/array.h"
#include "core/control.h"
#include "core/memory.h"
#include "core/thread_pool.h"

namespace lp::addon {

// The operation itself, on any thread; then the making of its result, on the JavaScript thread.
using Work = std::function<void(Control&)>;
using Finish = std::function<Napi::Value(Napi::Env)>;

inline bool is_async(const Napi::CallbackInfo& info) { return info[0].IsObject(); }

// What takes a job to a thread: the pool's `submit`, or a thread of somebody's own.
using Launch = std::function<void(std::function<void()>)>;

// Runs `work`, then `finish`, as the mode in info[0] says. What they capture lives until the promise has settled.
Napi::Value run(const Napi::CallbackInfo& info, Work work, Finish finish, const Launch& launch = submit);

Napi::Error to_js(Napi::Env env, const char* code, const std::string& message);

// Calls `body`, turning the engine's errors into JavaScript errors that carry a code.
template <class F>
auto guarded(Napi::Env env, F&& body) {
  try {
    return body();
  } catch (const Error& error) {
    throw to_js(env, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    throw to_js(env, "LP_MEMORY", "There is not enough memory for this operation.");
  }
}

template <class T>
constexpr napi_typedarray_type kArrayType = std::is_same_v<T, float>     ? napi_float32_array
                                            : std::is_same_v<T, double>  ? napi_float64_array
                                            : std::is_same_v<T, uint8_t> ? napi_uint8_array
                                                                         : napi_int32_array;

// Checks type and length of a typed array and finds its memory; returns whether that is shared (cannot be detached).
bool locate(Napi::Env env, Napi::Value value, napi_typedarray_type type, Index size, void** data);

// The elements of a typed array argument, valid as long as the job runs.
template <class T>
class Input {
 public:
  Input(const Napi::CallbackInfo& info, size_t index, Index size) {
    void* data = nullptr;
    const bool shared = locate(info.Env(), info[index], kArrayType<T>, size, &data);
    data_ = static_cast<const T*>(data);
    if (!is_async(info)) return;
    if (shared) {
      keep_ = std::make_shared<Napi::ObjectReference>(Napi::Persistent(info[index].As<Napi::Object>()));
    } else {
      copy_ = std::make_shared<Buffer<T>>(size);
      if (size > 0) std::memcpy(copy_->get(), data_, size * sizeof(T));
      data_ = copy_->get();
    }
  }
  const T* get() const { return data_; }
  Matrix<const T> matrix(Index rows, Index cols) const { return {data_, rows, cols}; }

 private:
  const T* data_;
  std::shared_ptr<Buffer<T>> copy_;
  std::shared_ptr<Napi::ObjectReference> keep_;
};

// A label vector, copied always: nobody can change a label after it has been checked against the number of classes.
class Labels {
 public:
  Labels(const Napi::CallbackInfo& info, size_t index, Index samples, Index classes);
  const int32_t* get() const { return labels_->data(); }

 private:
  std::shared_ptr<const std::vector<int32_t>> labels_;
};

// A new typed array of JavaScript's, of zeros. Throws LP_MEMORY where it cannot be had; Node-API's own functions would
// end the process.
Napi::Object new_array(Napi::Env env, napi_typedarray_type type, Index size);

// A new typed array that an operation fills, or moves on from a copy of an argument.
template <class T>
class Output {
 public:
  Output(Napi::Env env, Index size) {
    const Napi::Object array = new_array(env, kArrayType<T>, size);
    locate(env, array, kArrayType<T>, size, reinterpret_cast<void**>(&data_));
    prefer_huge_pages(data_, size * sizeof(T));
    array_ = std::make_shared<Napi::ObjectReference>(Napi::Persistent(array));
  }
  Output(const Napi::CallbackInfo& info, size_t index, Index size) : Output(info.Env(), size) {
    void* given = nullptr;
    locate(info.Env(), info[index], kArrayType<T>, size, &given);
    if (size > 0) std::memcpy(data_, given, size * sizeof(T));
  }
  T* get() const { return data_; }
  Matrix<T> matrix(Index rows, Index cols) const { return {data_, rows, cols}; }
  Napi::Value value() const { return array_->Value(); }

 private:
  T* data_ = nullptr;
  std::shared_ptr<Napi::ObjectReference> array_;
};

// A JavaScript array of these values.
Napi::Array array_of(Napi::Env env, std::initializer_list<Napi::Value> values);

// Calls body.operator()<float>() or <double>() by the element type of a typed array argument.
template <class Body>
Napi::Value with_float_type(const Napi::CallbackInfo& info, size_t index, Body&& body) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (info[index].IsTypedArray()) {
      const auto type = info[index].As<Napi::TypedArray>().TypedArrayType();
      if (type == napi_float32_array) return body.template operator()<float>();
      if (type == napi_float64_array) return body.template operator()<double>();
    }
    throw Error("LP_DTYPE", "Expected a Float32Array or a Float64Array.");
  });
}

// Plain arguments, checked so that a caller that bypasses the TypeScript front reaches no memory it should not.
double number_argument(const Napi::CallbackInfo& info, size_t index);
Index size_argument(const Napi::CallbackInfo& info, size_t index);                   // of a dimension, below 2³¹
Index count_argument(const Napi::CallbackInfo& info, size_t index);                  // of anything else
std::vector<double> numbers_argument(const Napi::CallbackInfo& info, size_t index);  // a Float64Array
double number_in(Napi::Object object, const char* key);
Index size_in(Napi::Object object, const char* key);
std::vector<double> numbers_in(Napi::Object object, const char* key);

}  // namespace lp::addon
