// The fused descent against plain loops of its formula: every kind of momentum, classes of any size, odd sizes.
#include "ops/descent/fused.h"

#include <algorithm>
#include <vector>

#include "check.h"

using namespace lp;
using namespace lp::test;

template <class T>
void compare(const std::vector<Index>& counts, Index p, double momentum, bool nesterov, bool biased) {
  const Index classes = std::ssize(counts);
  std::vector<int32_t> labels;
  for (Index c = 0; c < classes; c++) labels.insert(labels.end(), counts[c], static_cast<int32_t>(c));
  const Index n = std::ssize(labels), steps = 7;
  Random random(n + p);
  for (Index i = n - 1; i > 0; i--) std::swap(labels[i], labels[random.below(i + 1)]);

  const Array<T> features(n * p, random, 1), prototypes(classes * p, random, 1), biases(classes, random);
  const Array<T> plain_features(n * p), plain_prototypes(classes * p), plain_biases(classes);
  std::copy_n(features.get(), n * p, plain_features.get());
  std::copy_n(prototypes.get(), classes * p, plain_prototypes.get());
  std::copy_n(biases.get(), classes, plain_biases.get());

  Array<double> rates1(steps), rates2(steps);
  for (Index k = 0; k < steps; k++) rates1[k] = n * 0.1 / (k + 1), rates2[k] = 0.2 + 0.01 * k;
  const FusedDescentPlan plan{0.3, 0.01, 0.02, momentum, nesterov, steps, rates1.get(), rates2.get()};
  fused_descent<T>(
      {{features.get(), n, p}, {prototypes.get(), classes, p}, biased ? biases.get() : nullptr, labels.data()}, plan,
      Control());
  fused_descent_ref<T>({{plain_features.get(), n, p},
                        {plain_prototypes.get(), classes, p},
                        biased ? plain_biases.get() : nullptr,
                        labels.data()},
                       plan);
  const std::string where = "n = " + std::to_string(n) + ", p = " + std::to_string(p) + ", momentum " +
                            std::to_string(momentum) + (nesterov ? " (Nesterov)" : "");
  check_close(distance(features, plain_features), 0, 5 * kRounding<T>, "features, " + where);
  check_close(distance(prototypes, plain_prototypes), 0, 5 * kRounding<T>, "prototypes, " + where);
  check_close(distance(biases, plain_biases), 0, 5 * kRounding<T>, "biases, " + where);
}

template <class T>
void all() {
  for (Index p : {1, 5, 16, 67, 200}) {
    for (const auto& counts : {std::vector<Index>{1, 1}, {3, 0, 5}, {10, 10, 10, 10}, {700, 2, 90}}) {
      compare<T>(counts, p, 0, false, true);
      compare<T>(counts, p, 0.9, false, false);
      compare<T>(counts, p, 0.9, true, true);
    }
  }
}

template <class T>
void refuses_overflow() {
  const Array<T> features(4), prototypes(4);
  std::fill_n(features.get(), 4, T(1));
  std::fill_n(prototypes.get(), 4, T(1));
  const int32_t labels[] = {0, 1};
  const std::vector<double> rates(2000, 1e6);
  const FusedDescentPlan plan{0, 0, 0, 0, false, 2000, rates.data(), rates.data()};
  try {
    fused_descent<T>({{features.get(), 2, 2}, {prototypes.get(), 2, 2}, nullptr, labels}, plan, Control());
    check(false, "overflow passed");
  } catch (const Error& error) {
    check(std::string(error.code()) == "LP_OVERFLOW", error.what());
  }
}

int main() {
  all<float>();
  all<double>();
  refuses_overflow<float>();
  refuses_overflow<double>();
  return failures();
}
