// Stacks to switch between on one thread of the operating system, known to AddressSanitizer and ThreadSanitizer where
// one of them is loaded. A fiber belongs to no thread: any may enter it, one at a time.
#pragma once

#include <cstddef>

namespace emu {

class Fiber {
 public:
  explicit Fiber(void (*entry)());  // entry ends with leave_for_good
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next enter() calls `entry` on an empty stack, whatever was left there.
  void restart();
  // Runs the fiber until it leaves.
  void enter();
  // Called on the fiber: back to whoever entered it.
  void leave();
  [[noreturn]] void leave_for_good();
  // What it did so far happens before what acquires the address.
  void release_as_it(const void* address);
  // Whether the address is of its stack.
  bool holds(const void* address) const;

 private:
  void to_host(bool for_good);

  void (*entry_)();
  char* memory_;  // a guard page, then the stack
  void* at_ = nullptr;
  void* host_at_ = nullptr;
  bool left_inside_ = false;  // frames are on the stack
  // The sanitizers' view.
  void* thread_ = nullptr;
  void* host_thread_ = nullptr;
  void* fake_ = nullptr;
  void* host_fake_ = nullptr;
  const void* host_stack_ = nullptr;
  std::size_t host_bytes_ = 0;

  friend void begun(Fiber& fiber);
};

// What `entry` calls first.
void begun(Fiber& fiber);

// ThreadSanitizer's edges of what happens before what; nothing without it.
void acquire(const void* address);
void release(const void* address);
bool under_thread_sanitizer();
bool under_address_sanitizer();
// Bytes that must not be touched, and that may be again, to AddressSanitizer.
void poison(const void* from, std::size_t bytes);
void unpoison(const void* from, std::size_t bytes);

}  // namespace emu
