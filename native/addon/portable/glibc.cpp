// In portable builds only: keeps a binary that is linked on a new machine loadable on an old one, back to the
// glibc 2.28 that Node.js itself and the OpenBLAS wheel ask for.
//
// The linker binds a function to its newest version in the C library at hand. glibc 2.34 gave the thread functions new
// versions when it moved them, unchanged, out of libpthread; others gave them to mathematical functions that no longer
// report errors the old way. `--wrap` sends every reference to them, that of the compiler's static C++ library too, to
// `__wrap_…` here, which jumps to the old version. scripts/prebuild.mjs checks the outcome.
#include <unistd.h>

#include <cstdint>

#include "addon/portable/bind.h"

LP_BIND(exp)
LP_BIND(exp2)
LP_BIND(hypot)
LP_BIND(log)
LP_BIND(log2)
LP_BIND(pow)
LP_BIND(__pthread_key_create)
LP_BIND(pthread_create)
LP_BIND(pthread_detach)
LP_BIND(pthread_getspecific)
LP_BIND(pthread_join)
LP_BIND(pthread_key_create)
LP_BIND(pthread_key_delete)
LP_BIND(pthread_mutex_trylock)
LP_BIND(pthread_once)
LP_BIND(pthread_setspecific)

extern "C" {

// glibc 2.32: whether shared_ptr may count without atomics. Never here.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

// glibc 2.36: behind std::random_device.
__attribute__((visibility("hidden"))) uint32_t arc4random() {
  uint32_t value = 0;
  if (getentropy(&value, sizeof value) != 0) __builtin_trap();
  return value;
}
}
