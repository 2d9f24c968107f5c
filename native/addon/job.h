// Runs an operation for JavaScript: at once, or on the pool behind a promise.
#pragma once

#include <napi.h>

#include <functional>
#include <string>

#include "core/control.h"
#include "core/thread_pool.h"

namespace lp::addon {

// How a call runs: its first argument, where it has a mode.
struct Mode {
  bool async = false;
  Napi::Value progress;  // a function that hears of the share of the work done, or anything else
};

// The operation itself, on any thread; then the making of its result, on the JavaScript thread.
using Work = std::function<void(Control&)>;
using Finish = std::function<Napi::Value(Napi::Env)>;

// What takes a job to a thread: the pool's `submit`, or a thread of somebody's own.
using Launch = std::function<void(std::function<void()>)>;

// Runs `work`, then `finish`. What they capture lives until the promise has settled, and goes on the JavaScript thread.
// Asynchronously the result is `{ promise, cancel }`.
Napi::Value run(Napi::Env env, const Mode& mode, Work work, Finish finish, const Launch& launch);

constexpr const char* kNoMemory = "There is not enough memory for this operation.";

// Makes a property of an object of our own. Unlike assignment it runs no setter that somebody has given all objects.
void define(Napi::Object object, const char* name, Napi::Value value);

Napi::Error to_js(Napi::Env env, const char* code, const std::string& message);

// Calls `body`, turning the engine's errors into JavaScript errors that carry a code.
template <class F>
auto guarded(Napi::Env env, F&& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const Error& error) {
    throw to_js(env, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    throw to_js(env, "LP_MEMORY", kNoMemory);
  } catch (const std::length_error&) {
    throw to_js(env, "LP_MEMORY", kNoMemory);
  } catch (const std::exception& error) {
    throw to_js(env, "LP_INTERNAL", error.what());
  }
}

}  // namespace lp::addon
