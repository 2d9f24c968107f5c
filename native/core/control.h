// The two wires between a running operation and whoever waits for it: cancellation and progress.
// Operations call `poll()` at least every few milliseconds.
#pragma once

#include <atomic>
#include <functional>

#include "core/error.h"

namespace lp {

class Control {
 public:
  // Safe to call from any thread.
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const {
    return cancelled_.load(std::memory_order_relaxed) || all_cancelled_.load(std::memory_order_relaxed);
  }

  // Once and for all, when the process ends.
  static void cancel_all() { all_cancelled_.store(true, std::memory_order_relaxed); }

  // Throws LP_ABORTED once cancelled.
  void poll() const {
    if (cancelled()) throw Error("LP_ABORTED", "The operation was stopped by its AbortSignal.");
  }

  // Share of the work done, 0 … 1; called from the thread that runs the operation.
  std::function<void(double)> progress = [](double) {};

 private:
  std::atomic<bool> cancelled_{false};
  static inline std::atomic<bool> all_cancelled_{false};
};

}  // namespace lp
