#include "core/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>

#include "core/array.h"
#include "core/memory.h"

namespace lp {
namespace {

// Blocks are multiples of pages. The system is asked for large pieces: most of one stays untouched, and costs nothing.
constexpr std::size_t kPage = 4096, kHugePage = 2 << 20, kPiece = 256 << 20;

}  // namespace

Arena::~Arena() { trim(); }

void* Arena::take(std::size_t bytes) {
  bytes = round_up(bytes, kPage);
  std::lock_guard lock(mutex_);
  const auto found = free_.lower_bound({bytes, nullptr});
  const auto block = found == free_.end() ? grow(bytes) : blocks_.find(found->second);
  if (block == blocks_.end()) return nullptr;
  auto& [begin, of] = *block;
  free_.erase({of.bytes, begin});
  if (of.bytes > bytes) {
    blocks_.emplace_hint(std::next(block), begin + bytes, Block{of.bytes - bytes, false, false});
    free_.emplace(of.bytes - bytes, begin + bytes);
    of.bytes = bytes;
  }
  of.used = true;
  return begin;
}

bool Arena::give(void* block) {
  std::lock_guard lock(mutex_);
  auto freed = blocks_.find(static_cast<char*>(block));
  if (freed == blocks_.end()) return false;
  freed->second.used = false;
  join(freed, std::next(freed));
  if (freed != blocks_.begin()) {
    const auto before = std::prev(freed);
    if (join(before, freed)) freed = before;
  }
  free_.emplace(freed->second.bytes, freed->first);
  return true;
}

void Arena::trim() {
  std::lock_guard lock(mutex_);
  for (auto block = blocks_.begin(); block != blocks_.end();) {
    const auto& [begin, of] = *block;
    if (of.used) {
      ++block;
    } else if (alone(block)) {
      munmap(begin, of.bytes);
      free_.erase({of.bytes, begin});
      block = blocks_.erase(block);
    } else {
      madvise(begin, of.bytes, MADV_DONTNEED);
      ++block;
    }
  }
}

// A free block from the system, of `bytes` at least; end() where there is none.
Arena::Blocks::iterator Arena::grow(std::size_t bytes) {
  const auto map = [](std::size_t size) {
    return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  };
  const std::size_t least = round_up(bytes, kHugePage);
  bytes = std::max(kPiece, least);
  void* piece = map(bytes);
  if (piece == MAP_FAILED && bytes > least) piece = map(bytes = least);  // where the address space is limited
  if (piece == MAP_FAILED) return blocks_.end();
  prefer_huge_pages(piece, bytes);
  free_.emplace(bytes, static_cast<char*>(piece));
  return blocks_.emplace(static_cast<char*>(piece), Block{bytes, false, true}).first;
}

// Makes one, `left`, of two that lie side by side, and says whether it did: both must be free and of one piece.
bool Arena::join(Blocks::iterator left, Blocks::iterator right) {
  if (right == blocks_.end() || right->second.first || left->second.used || right->second.used) return false;
  for (const auto& [begin, of] : {*left, *right}) free_.erase({of.bytes, begin});
  left->second.bytes += right->second.bytes;
  blocks_.erase(right);
  return true;
}

// Whether a block is a whole piece.
bool Arena::alone(Blocks::iterator block) const {
  const auto next = std::next(block);
  return block->second.first && (next == blocks_.end() || next->second.first);
}

}  // namespace lp
