#include "core/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace lp {
namespace {

int available_processors() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

// Waits some ten microseconds for what another processor is about to do: less than falling asleep and being woken
// takes, which in a loop of short steps would be most of the time.
template <class Condition>
void spin_until(const Condition& condition) {
  for (int i = 0; i < 1000 && !condition(); i++) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");
#endif
  }
}

thread_local int alone = 0;

// A loop in progress. Its chunks are divided among as many lanes as threads may come; a thread works through its own
// lane, then helps in the others. So in a sequence of loops over the same data each thread finds in its cache what it
// left there.
struct Loop {
  struct alignas(64) Lane {
    std::atomic<Index> next;
    Index end;
  };

  Loop(Index size, Index grain, Index chunks, const Control& control, const std::function<void(Index, Index)>& body)
      : size(size), grain(grain), control(control), body(body), lanes(std::min<Index>(thread_count(), chunks)) {
    for (Index lane = 0; lane < std::ssize(lanes); lane++) {
      lanes[lane].next = chunks * lane / std::ssize(lanes);
      lanes[lane].end = chunks * (lane + 1) / std::ssize(lanes);
    }
  }

  const Index size, grain;
  const Control& control;
  const std::function<void(Index, Index)>& body;
  std::vector<Lane> lanes;
  std::mutex mutex;
  std::condition_variable idle;
  std::atomic<int> helpers = 0;  // threads inside work(), changed under mutex
  int arrived = 0;               // helpers that ever came
  bool closed = false;
  std::exception_ptr error;

  void work(Index own) {
    for (Index i = 0; i < std::ssize(lanes); i++) {
      Lane& lane = lanes[(own + i) % std::ssize(lanes)];
      for (Index chunk; (chunk = lane.next.fetch_add(1)) < lane.end;) run(chunk);
    }
  }

  void run(Index chunk) {
    try {
      control.poll();
      body(chunk * grain, std::min(size, (chunk + 1) * grain));
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      for (Lane& lane : lanes) lane.next = lane.end;
    }
  }

  // A helper that comes after the caller has left must not touch the body, which is gone by then.
  void help() {
    Index own;
    {
      std::lock_guard lock(mutex);
      if (closed) return;
      helpers++;
      own = ++arrived;
    }
    work(own);
    std::lock_guard lock(mutex);
    if (--helpers == 0) idle.notify_all();
  }
};

class Pool {
 public:
  static Pool& instance() {
    // Never destroyed: its threads still sleep while the process's static objects go away.
    static Pool* pool = [] {
      std::atexit([] { instance().halt(); });
      return new Pool;
    }();
    return *pool;
  }

  const int threads = [] {
    const char* given = std::getenv("LAYERPEEL_THREADS");
    const int wanted = given ? std::atoi(given) : 0;
    return wanted > 0 ? std::min(wanted, 1024) : available_processors();
  }();

  // Loops go before jobs: a running operation is finished before another begins.
  void add(std::function<void()> task, bool urgent) {
    {
      std::lock_guard lock(mutex_);
      urgent ? tasks_.push_front(std::move(task)) : tasks_.push_back(std::move(task));
      queued_++;
      if (std::ssize(tasks_) > waiting_ && workers_ < threads) {
        workers_++;
        std::thread([this] { serve(); }).detach();
        return;
      }
    }
    ready_.notify_one();
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      waiting_++;
      if (waiting_ == workers_) idle_.notify_all();
      lock.unlock();
      spin_until([this] { return queued_ > 0; });
      lock.lock();
      ready_.wait(lock, [this] { return !tasks_.empty() && !halted_; });
      waiting_--;
      std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      queued_--;
      lock.unlock();
      task();
      task = nullptr;
      lock.lock();
    }
  }

  // When the process exits under running jobs (`process.exit()` waits for nobody): the BLAS frees its memory then, so
  // nobody may be computing any more.
  void halt() {
    Control::cancel_all();
    std::unique_lock lock(mutex_);
    halted_ = true;
    idle_.wait(lock, [this] { return waiting_ == workers_; });
  }

  std::mutex mutex_;
  std::condition_variable ready_, idle_;
  bool halted_ = false;
  std::deque<std::function<void()>> tasks_;
  std::atomic<Index> queued_ = 0;  // the size of tasks_, for looking without the lock
  int waiting_ = 0;
  int workers_ = 0;
};

}  // namespace

int thread_count() { return Pool::instance().threads; }

void submit(std::function<void()> job) { Pool::instance().add(std::move(job), false); }

Index even_grain(Index size, Index least) {
  const Index chunks = 4 * static_cast<Index>(thread_count());
  return std::max(least, divide_up(size, chunks));
}

Alone::Alone() { alone++; }
Alone::~Alone() { alone--; }

void parallel_for(Index size, Index grain, const Control& control, const std::function<void(Index, Index)>& body) {
  if (size <= 0) return;
  const Index chunks = divide_up(size, grain);
  if (chunks == 1 || alone > 0) {
    for (Index begin = 0; begin < size; begin += grain) {
      control.poll();
      body(begin, std::min(size, begin + grain));
    }
    return;
  }
  auto loop = std::make_shared<Loop>(size, grain, chunks, control, body);
  const Index helpers = std::ssize(loop->lanes) - 1;
  for (Index i = 0; i < helpers; i++) Pool::instance().add([loop] { loop->help(); }, true);
  loop->work(0);
  std::unique_lock lock(loop->mutex);
  loop->closed = true;
  lock.unlock();
  spin_until([&] { return loop->helpers == 0; });
  lock.lock();
  loop->idle.wait(lock, [&] { return loop->helpers == 0; });
  if (loop->error) std::rethrow_exception(loop->error);
}

}  // namespace lp
