// A thread of its own for long jobs, in the order they come. An epoch would keep a thread of the core's pool from all
// others for minutes, and OpenMP, on which libtorch runs, keeps a team of threads for each thread that ever called it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace lp {

class Lane {
 public:
  Lane();   // throws LP_MEMORY where no thread can be started
  ~Lane();  // lets the thread finish what it has; does not wait
  void post(std::function<void()> job) const;

 private:
  struct Queue;
  std::shared_ptr<Queue> queue_;
};

// Stops the jobs of all lanes for good and waits for them. To be called before the process exits: libtorch frees then
// what it made on the way, and an atexit handler would come after that.
void halt_lanes();

}  // namespace lp
