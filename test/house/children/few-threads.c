// Stands before the system's pthread_create (LD_PRELOAD): after MOST_THREADS of them no thread can be started any more.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* data) {
  static int made;
  int (*real)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) = dlsym(RTLD_NEXT, "pthread_create");
  const char* most = getenv("MOST_THREADS");
  if (most && __atomic_fetch_add(&made, 1, __ATOMIC_RELAXED) >= atoi(most)) return EAGAIN;
  return real(thread, attributes, start, data);
}
