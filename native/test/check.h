// What a C++ test needs: a test is a program that returns `lp::test::failures()`.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>

namespace lp::test {

inline int& failures() {
  static int count = 0;
  return count;
}

inline void check(bool good, const std::string& what) {
  if (good) return;
  failures()++;
  std::fprintf(stderr, "FAILED %s\n", what.c_str());
}

inline void check_close(double actual, double expected, double tolerance, const std::string& what) {
  if (std::abs(actual - expected) <= tolerance) return;
  failures()++;
  std::fprintf(stderr, "FAILED %s: %.17g is not %.17g within %g\n", what.c_str(), actual, expected, tolerance);
}

}  // namespace lp::test
