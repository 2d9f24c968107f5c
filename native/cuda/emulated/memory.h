// The device's memory: one range of addresses that nobody may touch but while the device works, so that a host that
// reads through a pointer of the device's dies here as it does there. To AddressSanitizer all of it is poisoned but
// what is allocated, to the byte.
#pragma once

#include <cstddef>
#include <map>

namespace emu {

class Memory {
 public:
  // Null if less than `bytes` are left of `limit`. What is new is NaN.
  void* allocate(std::size_t bytes, std::size_t limit);
  // Whether that was allocated.
  bool free(void* address);
  // Whether one allocation holds these bytes.
  bool holds(const void* address, std::size_t bytes) const;
  // Whether the address is of the device's range at all.
  bool owns(const void* address) const;
  std::size_t bytes() const { return bytes_; }
  std::size_t allocations() const { return allocated_.size(); }

  // While one is alive, the memory can be touched.
  class Open {
   public:
    explicit Open(Memory& memory);
    ~Open();
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    Memory& memory_;
  };

 private:
  void protect(bool open);

  char* base_ = nullptr;
  std::size_t reserved_ = 0, used_ = 0;  // used_: no allocation was ever beyond
  std::size_t bytes_ = 0;
  int open_ = 0;
  // The allocation that was asked for last.
  mutable std::size_t last_begin_ = 0, last_bytes_ = 0;
  std::map<std::size_t, std::size_t> allocated_, free_;  // bytes by offset; those of free_ with the gap behind them
};

}  // namespace emu
