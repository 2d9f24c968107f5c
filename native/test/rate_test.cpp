// A rate of two pieces: 2t up to 1, then t² + 3.
#include "core/rate.h"

#include "core/error.h"
#include "test/check.h"

using namespace lp;
using namespace lp::test;

int main() {
  std::vector<double> packed(2 * Rate::kPieceSize);
  const auto set = [&](Index piece, std::initializer_list<double> values) {
    std::copy(values.begin(), values.end(), packed.begin() + piece * Rate::kPieceSize);
  };
  set(0, {0, 1, 0, 1, 1});         // 1 + x, x = 2t − 1
  set(1, {1, 3, 1, 7.5, 4, 0.5});  // (2 + x)² + 3 = 7.5 + 4x + ½ T_2, x = t − 2
  const Rate rate(packed);

  check(rate.pieces() == 2 && rate.start(1) == 1 && rate.horizon() == 3, "pieces");
  for (double t : {0.0, 0.3, 0.9}) {
    check_close(rate.value(t), 2 * t, 1e-15, "value on the first piece");
    check_close(rate.integral(t), t * t, 1e-15, "integral on the first piece");
  }
  for (double t : {1.0, 1.5, 2.9, 3.0}) {
    check_close(rate.value(t), t * t + 3, 1e-14, "value on the second piece");
    check_close(rate.integral(t), 1 + (t * t * t - 1) / 3 + 3 * (t - 1), 1e-14, "integral on the second piece");
  }
  check_close(rate.value(10), 12, 1e-14, "beyond the horizon");

  for (const auto& wrong :
       {std::vector<double>{}, std::vector<double>(7), std::vector<double>(Rate::kPieceSize, 1.0)}) {
    try {
      Rate{wrong};
      check(false, "a malformed rate is refused");
    } catch (const Error&) {
    }
  }
  return failures();
}
