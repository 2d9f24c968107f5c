// The structured products against the matrix M that they never form: unequal and empty classes, odd sizes.
#include "ops/linear/products.h"

#include <limits>
#include <string>
#include <vector>

#include "core/finite.h"
#include "test/check.h"

using namespace lp;
using namespace lp::test;

namespace {

template <class T>
void against_m(Index n, Index classes, Index p, double gamma, Random& random) {
  const Array<T> features(n * p, random, 1), prototypes(classes * p, random, 1);
  std::vector<int32_t> labels(n);
  for (int32_t& label : labels) label = static_cast<int32_t>(random.below(classes));
  const Array<T> h(n * p), w(classes * p), b(classes);
  const State<const T> state{{features.get(), n, p}, {prototypes.get(), classes, p}, nullptr, labels.data()};
  products<T>(state, gamma, {{h.get(), n, p}, {w.get(), classes, p}, b.get(), labels.data()}, Control());

  const auto m = [&](Index c, Index i) { return ((labels[i] == c ? 1 + gamma : 0) - gamma) / static_cast<double>(n); };
  std::vector<double> mw(n * p), mh(classes * p), m1(classes);
  for (Index c = 0; c < classes; c++) {
    for (Index i = 0; i < n; i++) {
      m1[c] += m(c, i);
      for (Index j = 0; j < p; j++) {
        mw[i * p + j] += m(c, i) * static_cast<double>(prototypes[c * p + j]);
        mh[c * p + j] += m(c, i) * static_cast<double>(features[i * p + j]);
      }
    }
  }
  const std::string size = std::to_string(n) + " × " + std::to_string(classes) + " × " + std::to_string(p);
  check_close(distance(h, mw), 0, kRounding<T>, "MᵀW, " + size);
  check_close(distance(w, mh), 0, kRounding<T>, "M H, " + size);
  check_close(distance(b, m1), 0, kRounding<T>, "m, " + size);
}

template <class T>
void refuses_what_is_not_finite() {
  const int32_t labels[] = {0, 1};
  for (const bool in_features : {true, false}) {
    T features[] = {1, 2, 3, 4}, prototypes[] = {1, 2, 3, 4}, h[4], w[4], b[2];
    (in_features ? features : prototypes)[2] = std::numeric_limits<T>::quiet_NaN();
    try {
      products<T>({{features, 2, 2}, {prototypes, 2, 2}, nullptr, labels}, 1, {{h, 2, 2}, {w, 2, 2}, b, labels},
                  Control());
      check(false, "NaN is refused");
    } catch (const Error& error) {
      check(error.code() == std::string("LP_NOT_FINITE"), "NaN is refused by its code");
    }
  }
}

}  // namespace

int main() {
  Random random(3);
  for (const Index classes : {2, 3, 10}) {
    for (const Index p : {1, 7, 64}) {
      for (const Index n : {1, 5, 513}) {
        against_m<float>(n, classes, p, 0.3, random);
        against_m<double>(n, classes, p, 1.7, random);
        against_m<double>(n, classes, p, 0, random);
      }
    }
  }
  refuses_what_is_not_finite<float>();
  refuses_what_is_not_finite<double>();
  return failures();
}
