// Blocks through the BLAS against plain loops, at sizes around the block.
#include "ops/kernel_flow/measure.h"

#include <random>
#include <vector>

#include "test/check.h"

using namespace lp;
using namespace lp::test;

namespace {

template <class T>
void check_size(Index n, Index p, Index classes, bool biased, double tolerance) {
  std::mt19937_64 random(n * 31 + p);
  std::normal_distribution<double> normal;
  const auto draw = [&](Index size) {
    std::vector<T> x(size);
    for (T& value : x) value = static_cast<T>(normal(random));
    return x;
  };
  const auto h = draw(n * p), w = draw(classes * p), b = draw(classes), dh = draw(n * p), dw = draw(classes * p);
  std::vector<int32_t> labels(n);
  for (auto& label : labels) label = static_cast<int32_t>(random() % classes);
  const State<const T> state{{h.data(), n, p}, {w.data(), classes, p}, biased ? b.data() : nullptr, labels.data()};
  const DirectionRef<T> direction{dh.data(), dw.data()};
  const KernelMeasures got = measure(state, direction, Control()), want = measure_ref(state, direction);
  const double *g = &got.mean_own, *e = &want.mean_own;
  for (Index k = 0; k < KernelMeasures::kNumbers; k++) {
    check_close(g[k], e[k], tolerance * (1 + std::abs(e[k])),
                "number " + std::to_string(k) + " at n = " + std::to_string(n) + ", C = " + std::to_string(classes));
  }
}

}  // namespace

int main() {
  for (Index n : {1, 2, 63, 64, 65, 200}) {
    for (Index classes : {2, 3, 17}) {
      check_size<double>(n, 5, classes, true, 1e-13);
      check_size<float>(n, 7, classes, false, 1e-5);
    }
  }
  return failures();
}
