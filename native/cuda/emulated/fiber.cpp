#include "cuda/emulated/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

// The interfaces of the sanitizers' runtimes, which are there or not: one binary of the emulator serves all.
#define LP_WEAK __attribute__((weak))
extern "C" {
LP_WEAK void __sanitizer_start_switch_fiber(void** fake, const void* bottom, std::size_t bytes);
LP_WEAK void __sanitizer_finish_switch_fiber(void* fake, const void** bottom, std::size_t* bytes);
LP_WEAK void __asan_poison_memory_region(const volatile void* address, std::size_t bytes);
LP_WEAK void __asan_unpoison_memory_region(const volatile void* address, std::size_t bytes);
LP_WEAK void* __tsan_create_fiber(unsigned flags);
LP_WEAK void __tsan_destroy_fiber(void* fiber);
LP_WEAK void* __tsan_get_current_fiber();
LP_WEAK void __tsan_switch_to_fiber(void* fiber, unsigned flags);
LP_WEAK void __tsan_acquire(void* address);
LP_WEAK void __tsan_release(void* address);
}

// Saves the registers that a call preserves on this stack, tells where in *save, and goes on from `to` as was saved
// there.
extern "C" void emu_switch(void** save, void* to);
#if defined(__x86_64__)
constexpr int kSaved = 6;  // words below the address to return to
asm(R"(
.text
.globl emu_switch
.hidden emu_switch
.type emu_switch,@function
emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emu_switch,.-emu_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl emu_switch
.hidden emu_switch
.type emu_switch,%function
emu_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size emu_switch,.-emu_switch
)");
#else
extern "C" void emu_switch(void** save, void* to) {
  ucontext_t here;
  *save = &here;  // on the stack that is left, which stays
  swapcontext(&here, static_cast<ucontext_t*>(to));
}
#endif

namespace emu {
namespace {

constexpr std::size_t kStack = 256 << 10;

std::size_t guard() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

bool under_thread_sanitizer() { return __tsan_create_fiber != nullptr; }
bool under_address_sanitizer() { return __sanitizer_start_switch_fiber != nullptr; }
void acquire(const void* address) {
  if (__tsan_acquire) __tsan_acquire(const_cast<void*>(address));
}
void release(const void* address) {
  if (__tsan_release) __tsan_release(const_cast<void*>(address));
}
void poison(const void* from, std::size_t bytes) {
  if (__asan_poison_memory_region) __asan_poison_memory_region(from, bytes);
}
void unpoison(const void* from, std::size_t bytes) {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(from, bytes);
}

Fiber::Fiber(void (*entry)()) : entry_(entry) {
  void* memory =
      mmap(nullptr, guard() + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, guard(), PROT_NONE);
  memory_ = static_cast<char*>(memory);
  if (under_thread_sanitizer()) thread_ = __tsan_create_fiber(0);
}

Fiber::~Fiber() {
  unpoison(memory_, guard() + kStack);
  munmap(memory_, guard() + kStack);
  if (thread_) __tsan_destroy_fiber(thread_);
}

void Fiber::release_as_it(const void* address) {
  if (!thread_) return;
  void* const me = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(thread_, 1);
  release(address);
  __tsan_switch_to_fiber(me, 1);
}

bool Fiber::holds(const void* address) const {
  const auto at = reinterpret_cast<std::uintptr_t>(address), from = reinterpret_cast<std::uintptr_t>(memory_);
  return at >= from && at - from < guard() + kStack;
}

void Fiber::restart() {
  char* const stack = memory_ + guard();
  if (left_inside_) {  // frames that nobody will end: their red zones, and their place in the stacks that are reported
    unpoison(stack, kStack);
    if (thread_) {
      __tsan_destroy_fiber(thread_);
      thread_ = __tsan_create_fiber(0);
    }
  }
  left_inside_ = false;
  fake_ = nullptr;
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(stack + kStack - 64);
  *--top = nullptr;  // where `entry` would return to
  *--top = reinterpret_cast<void*>(entry_);
  for (int i = 0; i < kSaved; i++) *--top = nullptr;
  at_ = top;
#elif defined(__aarch64__)
  void** const top = reinterpret_cast<void**>(stack + kStack - 64 - 160);
  for (int i = 0; i < 20; i++) top[i] = nullptr;
  top[11] = reinterpret_cast<void*>(entry_);  // x30
  at_ = top;
#else
  auto* const context = reinterpret_cast<ucontext_t*>(stack);
  getcontext(context);
  context->uc_stack.ss_sp = stack + sizeof(ucontext_t);
  context->uc_stack.ss_size = kStack - sizeof(ucontext_t);
  context->uc_link = nullptr;
  makecontext(context, entry_, 0);
  at_ = context;
#endif
}

void Fiber::enter() {
  left_inside_ = true;
  if (under_address_sanitizer()) __sanitizer_start_switch_fiber(&host_fake_, memory_ + guard(), kStack);
  if (thread_) {
    host_thread_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(thread_, 1);  // 1: the switch itself orders nothing
  }
  emu_switch(&host_at_, at_);
  if (under_address_sanitizer()) __sanitizer_finish_switch_fiber(host_fake_, nullptr, nullptr);
}

void begun(Fiber& fiber) {
  if (under_address_sanitizer()) __sanitizer_finish_switch_fiber(nullptr, &fiber.host_stack_, &fiber.host_bytes_);
}

void Fiber::to_host(bool for_good) {
  if (under_address_sanitizer()) __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_, host_stack_, host_bytes_);
  if (thread_) __tsan_switch_to_fiber(host_thread_, 1);
  emu_switch(&at_, host_at_);
  if (under_address_sanitizer()) __sanitizer_finish_switch_fiber(fake_, &host_stack_, &host_bytes_);
}

void Fiber::leave() { to_host(false); }

void Fiber::leave_for_good() {
  left_inside_ = false;
  to_host(true);
  __builtin_unreachable();
}

}  // namespace emu
