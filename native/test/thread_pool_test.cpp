// Loops and jobs, with threads and without: an executable's own pthread_create stands before the system's.
#include "core/thread_pool.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/flushed.h"
#include "test/check.h"

namespace {

std::atomic<int> threads_left = 1 << 20;

}  // namespace

// Stands before the system's own, so that threads can be made to fail to start.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* data) {
  static const auto real = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  if (threads_left.fetch_sub(1) <= 0) return EAGAIN;
  return real(thread, attributes, start, data);
}

namespace lp {
namespace {

using test::check;

// Opens once; threads wait before it.
class Gate {
 public:
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

// How often each of `size` items is visited by loops of loops.
std::vector<int> visits(Index size, Index grain) {
  std::vector<std::atomic<int>> counts(size);
  Control control;
  parallel_for(size, grain, control, [&](Index begin, Index end) {
    parallel_for(end - begin, 1, control, [&](Index from, Index to) {
      for (Index i = begin + from; i < begin + to; i++) counts[i]++;
    });
  });
  return {counts.begin(), counts.end()};
}

void loops_visit_each_item_once() {
  for (const Index size : {1, 2, 7, 1000}) {
    for (const Index grain : {1, 3, 1000}) check(visits(size, grain) == std::vector<int>(size, 1), "each item once");
  }
}

// No thread at all, then a few: the same work is done, and a job says that it cannot run.
void loops_and_jobs_without_threads() {
  threads_left = 0;
  check(visits(1000, 3) == std::vector<int>(1000, 1), "each item once without threads");
  bool refused = false;
  try {
    submit([] {});
  } catch (const Error& error) {
    refused = std::string(error.code()) == "LP_MEMORY";
  }
  check(refused, "a job that no thread can run is refused");
  threads_left = 1;
  Gate done;
  submit([&] {
    check(visits(1000, 3) == std::vector<int>(1000, 1), "each item once without threads");
    done.open();
  });
  done.wait();
}

// An exception of a chunk is thrown where the loop was begun, after every thread has left it.
void loops_end_by_an_exception() {
  Control control;
  for (int round = 0; round < 200; round++) {
    std::atomic<int> inside = 0;
    bool thrown = false;
    try {
      parallel_for(64, 1, control, [&](Index begin, Index) {
        inside++;
        if (begin == 13) {
          inside--;
          throw Error("LP_INTERNAL", "thirteen");
        }
        inside--;
      });
    } catch (const Error&) {
      thrown = true;
    }
    check(thrown, "the exception of a chunk arrives");
    check(inside == 0, "nobody is left inside");
  }
}

// A short job is done while more long ones than processors take part still run.
// Threads that help flush subnormal numbers as the thread that calls does: all of them are inside the loop at one time.
void threads_flush_as_the_caller() {
  const int count = thread_count();
  const Control control;
  for (const bool wanted : {true, false, true}) {
    const Flushed flushed(wanted);
    const bool caller = Flushed::now();
    std::atomic<int> inside = 0, alike = 0;
    Gate all;
    parallel_for(count, 1, control, [&](Index, Index) {
      if (++inside == count) all.open();
      all.wait();
      alike += Flushed::now() == caller;
    });
    check(alike == count, "threads that flush as the caller does");
  }
}

void jobs_run_side_by_side() {
  Gate release, ended;
  std::atomic<int> running = 0;
  const int count = thread_count() + 4;
  for (int i = 0; i < count; i++) {
    submit([&] {
      running++;
      release.wait();
      if (--running == 0) ended.open();
    });
  }
  Gate done;
  submit([&] { done.open(); });
  done.wait();
  release.open();
  ended.wait();
}

// Every job is done, however many wait; those beyond the bound are refused.
void the_queue_is_bounded() {
  constexpr int kMost = 32 + (1 << 16);
  Gate release, done;
  std::atomic<int> left = 0;
  int refused = 0;
  for (int i = 0; i < kMost + 1000; i++) {
    left++;
    try {
      submit([&] {
        release.wait();
        if (--left == 0) done.open();
      });
    } catch (const Error& error) {
      check(std::string(error.code()) == "LP_MEMORY", "the code of a full queue");
      left--;
      refused++;
    }
  }
  check(refused >= 1000 && refused <= 1000 + 32, "as many jobs as promised wait");
  release.open();
  done.wait();
}

int threads_alive() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<int>(std::distance(begin(tasks), end(tasks)));
}

// Waiting jobs called for threads; those go again, and the others do all there is. `others` are no threads of the pool.
void threads_go_when_they_rest(int others) {
  constexpr int kJobs = 16;
  Gate release, crowded, done;
  std::atomic<int> inside = 0, left = kJobs;
  for (int i = 0; i < kJobs; i++) {
    submit([&] {
      if (++inside == kJobs) crowded.open();
      release.wait();
      if (--left == 0) done.open();
    });
  }
  crowded.wait();
  check(threads_alive() > kJobs, "a thread for each job that waits long enough");
  release.open();
  done.wait();
  const int most = others + thread_count();
  for (int i = 0; i < 600 && threads_alive() > most; i++) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  check(threads_alive() <= most, std::to_string(threads_alive()) + " threads stay, of at most " + std::to_string(most));
  for (int count : visits(1000, 7)) check(count == 1, "a loop after the threads have gone");
}

}  // namespace
}  // namespace lp

int main() {
  const int others = lp::threads_alive();  // a BLAS may have some
  lp::loops_and_jobs_without_threads();    // first: later there are threads that wait
  threads_left = 1 << 20;
  lp::loops_visit_each_item_once();
  lp::loops_end_by_an_exception();
  lp::threads_flush_as_the_caller();
  lp::jobs_run_side_by_side();
  lp::the_queue_is_bounded();
  lp::threads_go_when_they_rest(others);
  return lp::test::failures();
}
