// Memory for large blocks that come and go in the same sizes, step after step. The system hands out cleared pages, one
// fault for each, and takes them away with the block; here freed blocks stay, in huge pages, until trim().
//
// A block is cut from the smallest free one that holds it, of these the lowest; neighbours that are free grow together.
// So the memory held is about the most that was in use at a time.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <set>

namespace lp {

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Page-aligned, not cleared; nullptr where the system has no more.
  void* take(std::size_t bytes);
  // False, and nothing done, where the block is not one of take's.
  bool give(void* block);
  // Gives the system all that is not in use.
  void trim();

 private:
  struct Block {
    std::size_t bytes;
    bool used;
    bool first;  // of what the system gave in one piece
  };
  using Blocks = std::map<char*, Block>;

  Blocks::iterator grow(std::size_t bytes);
  bool join(Blocks::iterator left, Blocks::iterator right);
  bool alone(Blocks::iterator block) const;

  std::mutex mutex_;
  Blocks blocks_;  // all of them, by address
  std::set<std::pair<std::size_t, char*>> free_;
};

}  // namespace lp
