// Errors of the engine: a stable code, and a sentence that says what was wrong, what was expected and what to do.
// The addon turns them into JavaScript errors with the same code.
#pragma once

#include <stdexcept>
#include <string>

namespace lp {

class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const { return code_; }

 private:
  const char* code_;  // a string literal: LP_NOT_FINITE, LP_ABORTED, …
};

}  // namespace lp
