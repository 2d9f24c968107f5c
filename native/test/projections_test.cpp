// Class sums and the five projections against their plain loops: odd sizes, tails, unaligned arrays, any order of
// labels.
#include "ops/linear/projections.h"

#include <utility>
#include <vector>

#include "check.h"
#include "ops/linear/class_sums.h"

using namespace lp;
using namespace lp::test;

std::string sizes(Index n, Index classes, Index p, Index offset) {
  return " n = " + std::to_string(n) + ", C = " + std::to_string(classes) + ", p = " + std::to_string(p) + ", offset " +
         std::to_string(offset);
}

template <class T>
void sums(Index n, Index classes, Index p, Index offset) {
  Random random(n * 31 + p);
  const Array<T> features(n * p, random, offset);
  std::vector<int32_t> labels(n);
  for (int32_t& label : labels) label = static_cast<int32_t>(random.below(classes));
  const Array<double> fast(classes * p), plain(classes * p);
  const Matrix<const T> h{features.get(), n, p};
  class_sums<T>(h, ByClass(labels.data(), n, classes), {fast.get(), classes, p}, Control());
  class_sums_ref<T>(h, labels.data(), {plain.get(), classes, p});
  check_close(distance(fast, plain), 0, 1e-15 * n, "class sums of " + sizes(n, classes, p, offset));
}

template <class T>
void parts(Index per_class, Index classes, Index p, Index offset) {
  const Index n = per_class * classes;
  Random random(n * 31 + p);
  const Array<T> features(n * p, random, offset), prototypes(classes * p, random, offset);
  std::vector<int32_t> labels(n);
  for (Index i = 0; i < n; i++) labels[i] = static_cast<int32_t>(i % classes);
  for (Index i = n - 1; i > 0; i--) std::swap(labels[i], labels[random.below(i + 1)]);
  const State<const T> state{{features.get(), n, p}, {prototypes.get(), classes, p}, nullptr, labels.data()};
  std::vector<Array<T>> fast, plain;
  Projections<T> a, b;
  for (int i = 0; i < 10; i++) {
    const Index size = (i < 5 ? n : classes) * p;
    fast.emplace_back(size, offset);
    plain.emplace_back(size);
    (i < 5 ? a.features[i] : a.prototypes[i - 5]) = fast.back().get();
    (i < 5 ? b.features[i] : b.prototypes[i - 5]) = plain.back().get();
  }
  projections<T>(state, a, Control());
  projections_ref<T>(state, b);
  for (int i = 0; i < 10; i++) {
    check_close(distance(fast[i], plain[i]), 0, kRounding<T>,
                "part " + std::to_string(i) + sizes(n, classes, p, offset));
  }
}

template <class T>
void refuses_nan() {
  Array<T> features(6), prototypes(6);
  for (Index i = 0; i < 6; i++) features[i] = prototypes[i] = 1;
  features[4] = static_cast<T>(NAN);
  const int32_t labels[] = {0, 1};
  Array<T> out(6);
  Projections<T> parts;
  for (int i = 0; i < 5; i++) parts.features[i] = parts.prototypes[i] = out.get();
  try {
    projections<T>({{features.get(), 2, 3}, {prototypes.get(), 2, 3}, nullptr, labels}, parts, Control());
    check(false, "NaN passed");
  } catch (const Error& error) {
    check(std::string(error.what()).starts_with("features[1, 1] is NaN"), error.what());
  }
}

template <class T>
void all() {
  for (Index p : {1, 3, 4, 7, 16, 33, 130}) {
    for (Index offset : {0, 1, 3}) {
      for (Index n : {1, 2, 5, 64, 1000}) sums<T>(n, 1 + n % 7, p, offset);
      for (Index per_class : {1, 2, 9}) parts<T>(per_class, 2 + p % 5, p, offset);
    }
  }
  sums<T>(3000, 3, 512, 1);
  parts<T>(600, 2, 37, 1);
  refuses_nan<T>();
}

int main() {
  all<float>();
  all<double>();
  return failures();
}
