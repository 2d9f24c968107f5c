// One process-wide pool of compute threads, shared by every JavaScript thread that loads the addon.
//
// A job (one asynchronous operation) runs on a pool thread. Inside it, or on a caller's own thread in a synchronous
// operation, `parallel_for` splits a range into chunks: the thread that calls works on them too, so a loop always
// finishes even when every other thread is busy or none can be started, and nested loops cannot deadlock. Which threads
// come changes no result: chunks are a function of the range and of thread_count() alone, and threads that help flush
// subnormal numbers as the one that calls does (core/flushed.h).
#pragma once

#include <functional>

#include "core/array.h"
#include "core/control.h"

namespace lp {

// Threads that take part in one operation: LAYERPEEL_THREADS, or the number of processors available to this process.
int thread_count();
// The most of them where LAYERPEEL_THREADS says nothing; before the first question for their number.
void limit_threads(int most);

// Calls body(begin, end) on chunks that cover [0, size), each of at most `grain` items, in parallel.
// The first exception is thrown here after all running chunks have ended. Polls `control` before each chunk.
void parallel_for(Index size, Index grain, const Control& control, const std::function<void(Index, Index)>& body);

// While one of these lives, loops on its thread run there alone: for work that is itself one of many in a loop.
class Alone {
 public:
  Alone();
  ~Alone();
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;
};

// A grain that gives each thread a few chunks of at least `least` items.
Index even_grain(Index size, Index least);

// Runs `job`, which must not throw, on a pool thread: at once, or after at most a few milliseconds beside others, of
// which 32 run at a time; 65 536 may wait. Throws LP_MEMORY where more wait already or no thread can be started.
void submit(std::function<void()> job);

}  // namespace lp
