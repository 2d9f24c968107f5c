#include "core/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/flushed.h"

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

std::atomic<int> most_threads = 1024;

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
  const bool flushed = Flushed::now();
  const Control& control;
  const std::function<void(Index, Index)>& body;
  std::vector<Lane> lanes;
  std::mutex mutex;
  std::condition_variable left;
  std::exception_ptr error;
  std::atomic<int> helpers = 0;  // threads inside help(); falls under mutex, so that the caller leaves after them
  // Of the pool, under its mutex: helpers that ever came, and whether more are asked for.
  int arrived = 0;
  std::atomic<bool> open = false;

  void work(Index own) noexcept {
    for (Index i = 0; i < std::ssize(lanes); i++) {
      Lane& lane = lanes[(own + i) % std::ssize(lanes)];
      for (Index chunk; (chunk = lane.next.fetch_add(1)) < lane.end;) run(chunk);
    }
  }

  void run(Index chunk) noexcept {
    try {
      control.poll();
      body(chunk * grain, std::min(size, (chunk + 1) * grain));
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      for (Lane& lane : lanes) lane.next = lane.end;
    }
  }

  void help(Index own) noexcept {
    {
      const Flushed like_the_caller(flushed);
      work(own);
    }
    std::lock_guard lock(mutex);
    if (--helpers == 0) left.notify_all();
  }

  void wait_for_helpers() noexcept {
    spin_until([this] { return helpers == 0; });
    std::unique_lock lock(mutex);
    left.wait(lock, [this] { return helpers == 0; });
  }
};

// The threads, and what they do: run jobs, and help in open loops while fewer of them are busy than processors take
// part. A job begins at once while fewer jobs run than processors take part, else as soon as it has waited for
// kPatience: long jobs share the processors with it then, instead of keeping it waiting until they are done. Bursts of
// short jobs end within that time and never crowd. Threads beyond those that take part, which waiting jobs called for,
// go when nobody has called for any for kRest.
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
    return wanted > 0 ? std::min(wanted, 1024) : std::min(available_processors(), most_threads.load());
  }();

  // Asks for helpers; where none can come, the caller does all of the work.
  void open(Loop& loop) noexcept {
    std::unique_lock lock(mutex_);
    const int wanted = std::min(static_cast<int>(std::ssize(loop.lanes)) - 1, threads - busy_);
    try {
      open_.push_back(&loop);
    } catch (const std::bad_alloc&) {
      return;
    }
    loop.open = true;
    changes_++;
    while (idle_ < wanted && workers_ < threads && start_worker()) continue;
    lock.unlock();
    for (int i = 0; i < wanted; i++) ready_.notify_one();
  }

  // No helper comes any more.
  void close(Loop& loop) noexcept {
    if (!loop.open) return;
    std::lock_guard lock(mutex_);
    withdraw(loop);
  }

  void add(std::function<void()> job) {
    {
      std::lock_guard lock(mutex_);
      if (std::ssize(jobs_) >= kMostWaiting) {
        throw Error("LP_MEMORY", "Too many operations wait already (" + std::to_string(kMostWaiting) +
                                     "): await some of them before starting more.");
      }
      jobs_.push_back({std::move(job), Time::clock::now()});
      changes_++;
      if (idle_ == 0 && workers_ < threads + kMostJobs && !start_worker() && workers_ == 0) {
        jobs_.pop_back();
        throw Error("LP_MEMORY", "No thread can be started for this operation: a limit on threads, or memory.");
      }
    }
    ready_.notify_one();
  }

 private:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kPatience{2}, kRest{1000};
  static constexpr int kMostJobs = 32;
  static constexpr Index kMostWaiting = 1 << 16;

  struct Job {
    std::function<void()> work;
    Time since;
  };

  // Counts the thread once it exists. Whatever waits goes on with those that there are when it does not.
  bool start_worker() noexcept {
    try {
      std::thread([this] { serve(); }).detach();
    } catch (const std::exception&) {  // no memory, or no more threads
      return false;
    }
    workers_++;
    idle_++;
    if (workers_ > threads) crowded_ = Time::clock::now();
    return true;
  }

  void serve() noexcept {
    const Flushed never(false);  // although the thread that started this one may be
    std::unique_lock lock(mutex_);
    for (;;) {
      if (busy_ == 0) quiet_.notify_all();
      if (!halted_ && take(lock)) continue;
      const Index seen = changes_;
      lock.unlock();
      spin_until([&] { return changes_ != seen; });
      lock.lock();
      if (changes_ != seen) continue;
      if (!halted_ && !jobs_.empty() && running_ < kMostJobs) {
        wait_until(lock, turn());
      } else if (!halted_ && workers_ > threads && jobs_.empty() && open_.empty()) {
        if (Time::clock::now() >= crowded_ + kRest) break;
        wait_until(lock, crowded_ + kRest);
      } else {
        ready_.wait(lock);
      }
    }
    workers_--;
    idle_--;
  }

  // By the wall clock: to wait by the steady one takes glibc 2.30. Where it is put back, a wait is longer.
  void wait_until(std::unique_lock<std::mutex>& lock, Time::clock::time_point time) {
    ready_.wait_until(lock, std::chrono::system_clock::now() + (time - Time::clock::now()));
  }

  // When the first waiting job begins beside those that run.
  Time turn() const { return std::max(jobs_.front().since, admitted_) + kPatience; }

  // Does one thing that waits, without the lock; false if there is none.
  bool take(std::unique_lock<std::mutex>& lock) noexcept {
    if (!jobs_.empty() && running_ < kMostJobs && (running_ < threads || Time::clock::now() >= turn())) {
      std::function<void()> work = std::move(jobs_.front().work);
      jobs_.pop_front();
      admitted_ = Time::clock::now();
      running_++;
      leave(lock);
      work();
      work = nullptr;
      lock.lock();
      running_--;
    } else if (!open_.empty() && busy_ < threads) {
      Loop& loop = *open_.back();
      const Index own = ++loop.arrived;
      loop.helpers++;  // before it can be closed
      if (own + 1 >= std::ssize(loop.lanes)) withdraw(loop);
      leave(lock);
      loop.help(own);
      lock.lock();
    } else {
      return false;
    }
    busy_--;
    idle_++;
    return true;
  }

  // From idle to busy; somebody else watches over the jobs that still wait.
  void leave(std::unique_lock<std::mutex>& lock) noexcept {
    idle_--;
    busy_++;
    if (busy_ > threads) crowded_ = Time::clock::now();
    const bool watched = jobs_.empty() || running_ >= kMostJobs;
    if (!watched && idle_ == 0 && workers_ < threads + kMostJobs) start_worker();
    lock.unlock();
    if (!watched) ready_.notify_one();
  }

  void withdraw(Loop& loop) {
    if (!loop.open) return;
    open_.erase(std::find(open_.begin(), open_.end(), &loop));
    loop.open = false;
  }

  // When the process exits under running jobs (`process.exit()` waits for nobody): the BLAS frees its memory then, so
  // nobody may be computing any more.
  void halt() {
    Control::cancel_all();
    std::unique_lock lock(mutex_);
    halted_ = true;
    quiet_.wait(lock, [this] { return busy_ == 0; });
  }

  std::mutex mutex_;
  std::condition_variable ready_, quiet_;
  bool halted_ = false;
  std::vector<Loop*> open_;  // the newest last: a loop inside another's chunk is finished first
  std::deque<Job> jobs_;
  Time admitted_{};
  Time crowded_{};                  // when more threads than take part were last called for
  std::atomic<Index> changes_ = 0;  // of open_ and jobs_, for looking without the lock
  int workers_ = 0;                 // = idle_ + busy_
  int idle_ = 0;
  int busy_ = 0;
  int running_ = 0;  // jobs, each of which has a busy thread
};

}  // namespace

void limit_threads(int most) { most_threads = std::max(1, most); }

int thread_count() { return Pool::instance().threads; }

void submit(std::function<void()> job) { Pool::instance().add(std::move(job)); }

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
  Loop loop(size, grain, chunks, control, body);
  Pool::instance().open(loop);
  loop.work(0);
  Pool::instance().close(loop);
  loop.wait_for_helpers();
  if (loop.error) std::rethrow_exception(loop.error);
}

}  // namespace lp
