// Compiled without instrumentation: what the engine does between threads is no access of theirs.
#include "cuda/emulated/engine.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "cuda/emulated/fiber.h"

namespace emu {
namespace {

void entry();

enum class Waiting { no, barrier, warp };

struct Thread {
  Self self;
  Fiber fiber{entry};
  bool ended = false;
  Waiting waiting = Waiting::no;
  Where where;  // it waits
  // Of the fences: whether one has been passed, and the last atomic.
  bool released = false;
  const void* last_atomic = nullptr;
  // Of the asynchronous copies: groups, the last of which is not committed.
  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes, filled;
  };
  std::deque<std::vector<Copy>> copies;
};

// Some lanes of a warp that exchange something.
struct Meeting {
  uint32_t mask = 0, arrived = 0;
  int to_take = 0;
  Exchange kind = Exchange::barrier;
  Given given[32];

  bool open() const { return arrived != mask; }
  bool over() const { return !open() && to_take == 0; }
};

// Never destroyed: threads of the process may run kernels until its end.
struct Engine {
  std::vector<std::unique_ptr<Thread>> threads;  // of several blocks under ThreadSanitizer
  std::size_t switches = 0;
  unsigned seed = 0;  // of `chance`
  const std::function<void()>* body = nullptr;
  Misuse misuse;
  Thread* current = nullptr;
  char kernel_begins = 0, kernel_ends = 0;
  // Memory of the kernel's blocks, freed after it: to ThreadSanitizer blocks are at work at the same time.
  std::vector<void*> of_kernel;
  std::vector<std::deque<Meeting>> meetings;  // by warp
  // Of the block that runs.
  Thread* const* block = nullptr;
  std::size_t size = 0;
  char* shared = nullptr;
  std::size_t shared_bytes = 0;
  std::size_t at_barrier = 0, ended = 0;
  int predicates = 0, last_predicates = 0;
  char* order = nullptr;  // addresses that stand for the block's barrier and for those of its warps
};
Engine& engine = *new Engine;

std::string tell(const Where& where) { return std::string(where.file_name()) + ":" + std::to_string(where.line()); }
std::string tell(const uint3& at, const dim3& of) {
  if (of.y == 1 && of.z == 1) return std::to_string(at.x);
  char text[40];
  std::snprintf(text, sizeof text, "(%u, %u, %u)", at.x, at.y, at.z);
  return text;
}
std::string tell(const Thread& thread) { return "thread " + tell(thread.self.thread, thread.self.threads); }

void broken(std::string sentence, cudaError_t error = cudaErrorLaunchFailure) {
  if (!engine.misuse.sentence.empty()) return;
  engine.misuse = {error, std::move(sentence)};
}

// On the fiber of a thread that cannot go on.
[[noreturn]] void abandon() {
  engine.current->fiber.leave();
  __builtin_trap();  // it is not entered again
}

void entry() {
  begun(engine.current->fiber);
  acquire(&engine.kernel_begins);
  (*engine.body)();
  Thread& thread = *engine.current;
  if (!thread.copies.empty()) {
    broken(tell(thread) + " ended with asynchronous copies that it did not wait for");
    abandon();
  }
  release(&engine.kernel_ends);
  thread.ended = true;
  thread.fiber.leave_for_good();
}

void wait(Waiting what, const Where& where) {
  Thread& thread = *engine.current;
  thread.waiting = what;
  thread.where = where;
  thread.fiber.leave();
}

const Thread* at_the_barrier() {
  for (std::size_t i = 0; i < engine.size; i++)
    if (engine.block[i]->waiting == Waiting::barrier) return engine.block[i];
  return nullptr;
}

void* of_kernel(std::size_t alignment, std::size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes) != 0) throw std::bad_alloc();
  engine.of_kernel.push_back(memory);
  return memory;
}

void prepare(const Launch& launch, uint3 block) {
  const std::size_t warps = (engine.size + 31) / 32;
  engine.shared = nullptr;
  engine.shared_bytes = launch.shared;
  if (launch.shared > 0) {  // of its exact size
    engine.shared = static_cast<char*>(of_kernel(128, launch.shared));
    std::memset(engine.shared, 0xff, launch.shared);
  }
  engine.order = static_cast<char*>(of_kernel(16, 1 + warps));
  engine.at_barrier = engine.ended = 0;
  engine.predicates = engine.last_predicates = 0;
  if (engine.meetings.size() < warps) engine.meetings.resize(warps);
  for (auto& warp : engine.meetings)
    for (Meeting& meeting : warp) meeting.mask = meeting.arrived = 0, meeting.to_take = 0;
  for (std::size_t i = 0; i < engine.size; i++) {
    Thread& thread = *engine.block[i];
    const unsigned t = static_cast<unsigned>(i);
    thread.self.thread = {t % launch.block.x, t / launch.block.x % launch.block.y, t / launch.block.x / launch.block.y};
    thread.self.block = block;
    thread.self.threads = launch.block;
    thread.self.blocks = launch.grid;
    thread.self.lane = static_cast<int>(t % 32);
    thread.self.warp = static_cast<int>(t / 32);
    thread.ended = false;
    thread.waiting = Waiting::no;
    thread.released = false;
    thread.last_atomic = nullptr;
    thread.copies.clear();
    thread.fiber.restart();
  }
}

std::string deadlock() {
  std::map<std::string, int> places;
  for (std::size_t i = 0; i < engine.size; i++) {
    const Thread& thread = *engine.block[i];
    if (thread.waiting == Waiting::no) continue;
    places[tell(thread.where) +
           (thread.waiting == Waiting::barrier ? " (the block's barrier)" : " (lanes of its warp)")]++;
  }
  std::string text = "deadlock: nobody comes for";
  for (const auto& [place, count] : places)
    text.append(" ").append(std::to_string(count)).append(" threads at ").append(place).append(";");
  text.pop_back();
  return text;
}

void run_block(const Launch& launch, uint3 block, std::mt19937* random) {
  prepare(launch, block);
  release(&engine.kernel_begins);
  std::vector<std::uint32_t> order(engine.size);
  for (std::size_t i = 0; i < order.size(); i++) order[i] = static_cast<std::uint32_t>(i);
  while (engine.ended < engine.size) {
    if (random) std::shuffle(order.begin(), order.end(), *random);
    bool moved = false;
    for (const std::uint32_t i : order) {
      Thread& thread = *engine.block[i];
      if (thread.ended || thread.waiting != Waiting::no) continue;
      moved = true;
      engine.current = &thread;
      engine.switches++;
      thread.fiber.enter();
      if (!engine.misuse.sentence.empty()) return;
      if (!thread.ended) continue;
      engine.ended++;
      // Later chips let the others pass; earlier ones let them wait for ever.
      if (const Thread* const other = engine.at_barrier > 0 ? at_the_barrier() : nullptr) {
        return broken(tell(thread) + " ended while " + tell(*other) + " waits at the barrier of " + tell(other->where));
      }
    }
    if (!moved) return broken(deadlock());
  }
}

}  // namespace

Misuse run(const Launch& launch, const std::function<void()>& thread, unsigned seed, std::size_t before) {
  const std::size_t blocks = std::size_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  engine.size = std::size_t{launch.block.x} * launch.block.y * launch.block.z;
  // ThreadSanitizer takes what one fiber does for ordered, so blocks that could race must not share them; but to it
  // every barrier of a thread costs as much as there are threads. Four blocks of 256 are told apart.
  const std::size_t sets =
      under_thread_sanitizer() ? std::min(blocks, std::max<std::size_t>(1024 / engine.size, 2)) : std::size_t{1};
  while (engine.threads.size() < sets * engine.size) engine.threads.push_back(std::make_unique<Thread>());
  std::vector<Thread*> all;
  for (const auto& one : engine.threads) all.push_back(one.get());

  engine.body = &thread;
  engine.misuse = {};
  engine.seed = seed;
  std::mt19937 random(seed + static_cast<unsigned>(before));
  std::vector<std::uint32_t> order(blocks);
  for (std::size_t i = 0; i < blocks; i++) order[i] = static_cast<std::uint32_t>(i);
  if (seed) std::shuffle(order.begin(), order.end(), random);
  for (std::size_t turn = 0; turn < blocks && engine.misuse.sentence.empty(); turn++) {
    const std::uint32_t b = order[turn];
    engine.block = all.data() + turn % sets * engine.size;
    run_block(launch, {b % launch.grid.x, b / launch.grid.x % launch.grid.y, b / launch.grid.x / launch.grid.y},
              seed ? &random : nullptr);
  }
  if (!engine.misuse.sentence.empty()) {
    for (Thread* const one : all) one->fiber.release_as_it(&engine.kernel_ends);
  }
  acquire(&engine.kernel_ends);
  for (void* const memory : engine.of_kernel) std::free(memory);
  engine.of_kernel.clear();
  engine.block = nullptr;
  engine.body = nullptr;
  engine.current = nullptr;
  return std::move(engine.misuse);
}

std::size_t switches() { return engine.switches; }

const Self& self() { return engine.current->self; }
char* shared_base() { return engine.shared; }
std::size_t shared_bytes() { return engine.shared_bytes; }
bool is_local(const void* address) { return engine.current->fiber.holds(address); }
double chance(std::uint64_t of) {
  if (engine.seed == 0) return 0;
  std::uint64_t x = of + engine.seed * 0x9e3779b97f4a7c15u;  // the finalizer of SplitMix64
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  return static_cast<double>(x >> 32) / 2147483648.0 - 1;
}

void fail(const Where& where, const std::string& what, cudaError_t error) {
  fail(where.file_name(), where.line(), what, error);
}
void fail(const char* file, unsigned line, const std::string& what, cudaError_t error) {
  std::string text = std::string(file) + ":" + std::to_string(line) + ": " + what;
  if (!engine.current) {
    std::fprintf(stderr, "%s, outside of a kernel\n", text.c_str());
    std::abort();
  }
  const Thread& thread = *engine.current;
  text += " (" + tell(thread) + " of block " + tell(thread.self.block, thread.self.blocks) + ")";
  broken(text, error);
  abandon();
}

int barrier(bool predicate, const Where& where) {
  if (const Thread* const other = engine.at_barrier > 0 ? at_the_barrier() : nullptr) {
    if (other->where.line() != where.line() || std::strcmp(other->where.file_name(), where.file_name()) != 0) {
      fail(where, "threads of a block wait at different barriers, here and at " + tell(other->where));
    }
  }
  if (engine.ended > 0) fail(where, "a barrier that threads of the block have ended without");
  release(engine.order);
  engine.at_barrier++;
  engine.predicates += predicate;
  if (engine.at_barrier < engine.size) {
    wait(Waiting::barrier, where);
  } else {
    engine.last_predicates = engine.predicates;
    engine.predicates = 0;
    engine.at_barrier = 0;
    for (std::size_t i = 0; i < engine.size; i++)
      if (engine.block[i]->waiting == Waiting::barrier) engine.block[i]->waiting = Waiting::no;
  }
  acquire(engine.order);
  return engine.last_predicates;
}

void exchange(Exchange kind, uint32_t mask, const Given& given, void (*take)(void*, const Given*, uint32_t), void* out,
              const Where& where) {
  const Self& me = engine.current->self;
  const uint32_t bit = 1u << me.lane;
  if (!(mask & bit)) fail(where, "a lane is not in the mask that it names");
  const std::size_t first = std::size_t(me.warp) * 32;
  if (engine.size - first < 32 && mask >> (engine.size - first)) fail(where, "a mask names lanes that the block lacks");
  auto& meetings = engine.meetings[me.warp];
  Meeting* meeting = nullptr;
  for (Meeting& other : meetings) {
    if (!other.open() || !(other.mask & mask)) continue;
    if (other.mask != mask || other.kind != kind) {
      fail(where, "lanes of a warp meet with different masks or for different operations");
    }
    meeting = &other;
  }
  if (!meeting) {
    const auto free = std::find_if(meetings.begin(), meetings.end(), [](const Meeting& one) { return one.over(); });
    meeting = free == meetings.end() ? &meetings.emplace_back() : &*free;
    meeting->mask = mask;
    meeting->arrived = 0;
    meeting->kind = kind;
    meeting->to_take = std::popcount(mask);
  }
  meeting->given[me.lane] = given;
  meeting->arrived |= bit;
  if (meeting->open()) {
    wait(Waiting::warp, where);
  } else {
    for (std::size_t i = first; i < std::min(first + 32, engine.size); i++)
      if (mask >> (i - first) & 1) engine.block[i]->waiting = Waiting::no;
  }
  if (take) take(out, meeting->given, mask);
  meeting->to_take--;
}

void warp_barrier(uint32_t mask, const Where& where) {
  const char* const order = engine.order + 1 + engine.current->self.warp;
  release(order);
  exchange(Exchange::barrier, mask, {}, nullptr, nullptr, where);
  acquire(order);
}

void atomic(const void* address) {
  Thread& thread = *engine.current;
  if (thread.released) release(address);
  thread.last_atomic = address;
}

void fence() {
  Thread& thread = *engine.current;
  thread.released = true;
  if (thread.last_atomic) acquire(thread.last_atomic);
}

void copy_async(void* to, const void* from, std::size_t bytes, std::size_t filled, const Where& where) {
  Thread& thread = *engine.current;
  if (filled > bytes) fail(where, "an asynchronous copy is to fill more than it holds");
  if (filled > 0 && reinterpret_cast<std::uintptr_t>(from) % bytes != 0) {
    fail(where, "an asynchronous copy comes from an address that is no multiple of its size",
         cudaErrorMisalignedAddress);
  }
  const std::size_t at = static_cast<std::size_t>(static_cast<char*>(to) - engine.shared);
  if (at % bytes != 0) {
    fail(where, "an asynchronous copy goes to an address that is no multiple of its size", cudaErrorMisalignedAddress);
  }
  if (at > engine.shared_bytes || engine.shared_bytes - at < bytes) {
    fail(where, "an asynchronous copy goes beyond the block's shared memory", cudaErrorIllegalAddress);
  }
  if (thread.copies.empty()) thread.copies.emplace_back();
  std::memset(to, 0xff, bytes);  // for those who do not wait
  thread.copies.back().push_back({to, from, bytes, filled});
}

void copy_commit() {
  Thread& thread = *engine.current;
  if (thread.copies.empty()) thread.copies.emplace_back();
  thread.copies.emplace_back();
}

void copy_wait(int groups_left) {
  Thread& thread = *engine.current;
  while (static_cast<int>(thread.copies.size()) - 1 > groups_left) {
    for (const Thread::Copy& copy : thread.copies.front()) {
      std::memcpy(copy.to, copy.from, copy.filled);
      std::memset(static_cast<char*>(copy.to) + copy.filled, 0, copy.bytes - copy.filled);
    }
    thread.copies.pop_front();
  }
  if (thread.copies.size() == 1 && thread.copies.front().empty()) thread.copies.clear();
}

}  // namespace emu
