// Stands before the system's calls for files (LD_PRELOAD), and has those fail that a full disk, a file system that turns read-only,
// a broken device or too many open files would: of files in the folder FAULT_IN, from the FAULT_FROM-th such call on (0 is the first),
// FAULT_MOST of them. FAULT is the kind. A process that changes FAULT_FROM begins to count anew.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { READS = 1, MAKES = 2, CHANGES = 4, WRITES = 8, FLUSHES = 16 };  // what a call does
static const struct { const char* name; int error, calls; } kinds[] = {
    {"full", ENOSPC, WRITES | MAKES},           // no block, no name more
    {"flush", ENOSPC, FLUSHES},                 // told when it is flushed, as over a network
    {"readonly", EROFS, MAKES | CHANGES},       // what is open stays open
    {"forbidden", EACCES, MAKES | CHANGES},
    {"descriptors", EMFILE, READS | MAKES},
    {"device", EIO, WRITES | FLUSHES},
};

static long calls_made, calls_failed, last_from = -1;

static long number(const char* name, long otherwise) {
  const char* text = getenv(name);
  return text ? atol(text) : otherwise;
}

/** Whether a call on this path fails, as it counts. */
static int fails(const char* path, int does) {
  const char *kind = getenv("FAULT"), *folder = getenv("FAULT_IN");
  if (!kind || !folder || !path || strncmp(path, folder, strlen(folder)) != 0) return 0;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].name, kind) != 0 || !(kinds[i].calls & does)) continue;
    const long from = number("FAULT_FROM", LONG_MAX);
    if (__atomic_exchange_n(&last_from, from, __ATOMIC_RELAXED) != from) calls_made = calls_failed = 0;
    if (__atomic_fetch_add(&calls_made, 1, __ATOMIC_RELAXED) < from) return 0;
    if (__atomic_fetch_add(&calls_failed, 1, __ATOMIC_RELAXED) >= number("FAULT_MOST", LONG_MAX)) return 0;
    errno = kinds[i].error;
    return 1;
  }
  return 0;
}

static int fails_at(int descriptor, int does) {
  char link[64], path[PATH_MAX + 1];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, PATH_MAX);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(path, does);
}

#define BEFORE(result, name, parameters, arguments, failing)                                  \
  result name parameters {                                                                    \
    static result(*real) parameters;                                                          \
    if (!real) *(void**)&real = dlsym(RTLD_NEXT, #name);                                      \
    return failing ? -1 : real arguments;                                                     \
  }

BEFORE(ssize_t, write, (int f, const void* b, size_t n), (f, b, n), fails_at(f, WRITES))
BEFORE(ssize_t, pwrite, (int f, const void* b, size_t n, off_t at), (f, b, n, at), fails_at(f, WRITES))
BEFORE(ssize_t, pwrite64, (int f, const void* b, size_t n, off64_t at), (f, b, n, at), fails_at(f, WRITES))
BEFORE(ssize_t, writev, (int f, const struct iovec* v, int n), (f, v, n), fails_at(f, WRITES))
BEFORE(ssize_t, pwritev, (int f, const struct iovec* v, int n, off_t at), (f, v, n, at), fails_at(f, WRITES))
BEFORE(ssize_t, pwritev64, (int f, const struct iovec* v, int n, off64_t at), (f, v, n, at), fails_at(f, WRITES))
BEFORE(int, fsync, (int f), (f), fails_at(f, FLUSHES))
BEFORE(int, fdatasync, (int f), (f), fails_at(f, FLUSHES))
BEFORE(int, rename, (const char* from, const char* to), (from, to), fails(to, CHANGES))
BEFORE(int, unlink, (const char* path), (path), fails(path, CHANGES))
BEFORE(int, rmdir, (const char* path), (path), fails(path, CHANGES))
BEFORE(int, mkdir, (const char* path, mode_t mode), (path, mode), fails(path, MAKES))

static int does(const char* path, int flags) {
  struct stat found;
  if (flags & O_CREAT && stat(path, &found) != 0) return MAKES;
  return (flags & O_ACCMODE) == O_RDONLY ? READS : CHANGES;
}

#define OPENS(name)                                                                           \
  int name(const char* path, int flags, ...) {                                                \
    static int (*real)(const char*, int, ...);                                                \
    if (!real) *(void**)&real = dlsym(RTLD_NEXT, #name);                                      \
    va_list rest;                                                                             \
    va_start(rest, flags);                                                                    \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                   \
    va_end(rest);                                                                             \
    return fails(path, does(path, flags)) ? -1 : real(path, flags, mode);                     \
  }

OPENS(open)
OPENS(open64)
