#include "torch/trainer/lane.h"

#include <system_error>
#include <thread>

#include "core/control.h"

namespace lp {
namespace {

class Running {
 public:
  static Running& instance() {
    static Running* running = new Running;  // its threads outlive the process's static objects
    return *running;
  }
  void run(const std::function<void()>& job) {
    {
      std::unique_lock lock(mutex_);
      idle_.wait(lock, [this] { return !halted_; });
      count_++;
    }
    job();
    std::lock_guard lock(mutex_);
    if (--count_ == 0) idle_.notify_all();
  }

  void halt() {
    Control::cancel_all();
    std::unique_lock lock(mutex_);
    halted_ = true;
    idle_.wait(lock, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable idle_;
  int count_ = 0;
  bool halted_ = false;
};

}  // namespace

void halt_lanes() { Running::instance().halt(); }

struct Lane::Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> jobs;
  bool closed = false;

  void serve() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return closed || !jobs.empty(); });
      if (jobs.empty()) return;
      auto job = std::move(jobs.front());
      jobs.pop_front();
      lock.unlock();
      Running::instance().run(job);
      job = nullptr;
      lock.lock();
    }
  }
};

Lane::Lane() : queue_(std::make_shared<Queue>()) {
  try {
    std::thread([queue = queue_] { queue->serve(); }).detach();
  } catch (const std::system_error&) {
    throw Error("LP_MEMORY", "No thread can be started for this training: a limit on threads, or memory.");
  }
}

Lane::~Lane() {
  std::lock_guard lock(queue_->mutex);
  queue_->closed = true;
  queue_->changed.notify_all();
}

void Lane::post(std::function<void()> job) const {
  std::lock_guard lock(queue_->mutex);
  queue_->jobs.push_back(std::move(job));
  queue_->changed.notify_all();
}

}  // namespace lp
