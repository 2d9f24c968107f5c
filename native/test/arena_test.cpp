// Blocks are taken and given back at random: none may overlap another or lose what was written to it, what was given
// back is used again before the system is asked for more, and trimming leaves what is in use.
#include "core/arena.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "test/check.h"

using namespace lp;
using namespace lp::test;

namespace {

constexpr size_t kPage = 4096, kPiece = 256 << 20;

struct Held {
  char* data;
  size_t bytes;
  char mark;

  // The mark is at the first byte of every page, and at the last of all.
  void write() const {
    for (size_t at = 0; at < bytes; at += kPage) data[at] = mark;
    data[bytes - 1] = mark;
  }
  bool intact() const {
    bool same = data[bytes - 1] == mark;
    for (size_t at = 0; at < bytes; at += kPage) same = same && data[at] == mark;
    return same;
  }
};

void random_use(Arena& arena, uint64_t seed) {
  Random random(seed);
  std::vector<Held> held;
  const auto give = [&](size_t i) {
    check(held[i].intact(), "a block keeps what was written");
    check(arena.give(held[i].data), "a block is given back");
    held.erase(held.begin() + static_cast<Index>(i));
  };
  for (int round = 0; round < 4000; round++) {
    if (held.empty() || (random.below(2) == 0 && held.size() < 60)) {
      const auto bytes = static_cast<size_t>(1 + random.below(1 << (1 + random.below(20))));
      auto* const data = static_cast<char*>(arena.take(bytes));
      check(data && reinterpret_cast<uintptr_t>(data) % kPage == 0, "a block begins a page");
      held.push_back({data, bytes, static_cast<char>(random.bits())});
      held.back().write();
    } else {
      give(random.below(std::ssize(held)));
    }
    if (round % 500 == 0) arena.trim();
  }
  std::sort(held.begin(), held.end(), [](const Held& a, const Held& b) { return a.data < b.data; });
  for (size_t i = 1; i < held.size(); i++) {
    check(held[i - 1].data + held[i - 1].bytes <= held[i].data, "blocks lie apart");
  }
  while (!held.empty()) give(0);
}

}  // namespace

int main() {
  {
    Arena arena;
    random_use(arena, 1);
  }
  {
    Arena arena;
    std::vector<std::thread> threads;
    for (uint64_t seed = 2; seed < 6; seed++) threads.emplace_back([&arena, seed] { random_use(arena, seed); });
    for (auto& thread : threads) thread.join();
  }
  Arena arena;
  char own;
  check(!arena.give(&own), "memory from elsewhere is refused");
  {
    // Two neighbours that were given back hold one block of their size together, whichever came first.
    for (bool first : {true, false}) {
      void* left = arena.take(3 * kPage);
      void* right = arena.take(5 * kPage);
      void* last = arena.take(kPage);
      check(static_cast<char*>(right) == static_cast<char*>(left) + 3 * kPage, "blocks are cut side by side");
      arena.give(first ? left : right);
      arena.give(first ? right : left);
      check(arena.take(8 * kPage) == left, "neighbours grow together");
      arena.give(left);
      arena.give(last);
    }
  }
  {
    // Of free blocks the smallest that is large enough.
    void* large = arena.take(9 * kPage);
    void* between = arena.take(kPage);
    void* small = arena.take(2 * kPage);
    void* after = arena.take(kPage);
    arena.give(large);
    arena.give(small);
    check(arena.take(2 * kPage) == small && arena.take(7 * kPage) == large, "the smallest that fits");
    for (void* block : {large, between, small, after}) arena.give(block);
  }
  {
    // More than the system gives at a time, and more than it has.
    const Held block{static_cast<char*>(arena.take(kPiece + 1)), kPiece + 1, 77};
    void* small = arena.take(1);
    block.write();
    arena.trim();
    check(block.intact(), "trimming leaves what is in use");
    check(arena.give(block.data) && arena.give(small), "a large block is given back");
    arena.trim();
    check(!arena.take(size_t{1} << 60), "more than there is");
    // Pages that went back to the system come as new ones.
    const auto* fresh = static_cast<const char*>(arena.take(kPiece + 1));
    check(fresh[0] == 0 && fresh[kPiece] == 0, "trimmed pages are the system's");
  }
  return failures();
}
