// Locks of files, which the system takes from a process that is gone, however it went; Node.js has none.
#include <sys/file.h>

#include <cerrno>

#include "addon/call.h"

namespace lp::addon {
namespace {

// Locks the open file of a descriptor for as long as it is open: "held", or "taken" where another process (or another
// descriptor of this one) has it, or "unknown" where its file system has no locks.
Napi::Value lock_file(Call& call) {
  const int descriptor = static_cast<int>(call[0]["descriptor"].number(0, 1e9));
  int failed = 0;
  do {
    failed = flock(descriptor, LOCK_EX | LOCK_NB);
  } while (failed != 0 && errno == EINTR);
  const char* state = failed == 0 ? "held" : errno == EWOULDBLOCK ? "taken" : "unknown";
  return Napi::String::New(call.env(), state);
}
LP_EXPORT("lockFile(plan)", lock_file)

}  // namespace
}  // namespace lp::addon
