// Kernels of several blocks, of vectors and of tiles against plain loops in double precision.
#include "test/cuda/sums.h"

#include <algorithm>
#include <cmath>

#include "test/cuda/device.h"

using namespace lp;
using namespace lp::test;

namespace {

template <class T>
constexpr const char* kName = sizeof(T) == 4 ? "float32" : "float64";

template <class T>
void sums(int n) {
  Random random(n);
  std::vector<T> x(n);
  double exact = 0;
  for (T& value : x) value = static_cast<T>(random.uniform()), exact += static_cast<double>(value);
  const OnDevice<T> given(x);
  const OnDevice<double> parts(64), out(1);
  const OnDevice<unsigned> arrived(std::vector<unsigned>{0});
  for (int again = 0; again < 2; again++) {
    sum<T>(given.get(), n, parts.get(), arrived.get(), out.get(), nullptr);
    check_close(out.read()[0], exact, 1e-12 * n, "sum of " + std::to_string(n));
  }
}

template <class T>
void rows(int count, int classes, double scale) {
  const std::string where = std::string(kName<T>) + " " + std::to_string(count) + " × " + std::to_string(classes);
  constexpr int kVector = 16 / sizeof(T);
  const int stride = (classes + kVector - 1) / kVector * kVector;
  Random random(classes);
  std::vector<T> z(count * stride, T(7));
  std::vector<int32_t> labels(count);
  for (T& value : z) value = static_cast<T>(scale * random.uniform());
  for (int32_t& label : labels) label = static_cast<int32_t>(random.below(classes));
  labels[0] = classes - 1;
  std::vector<double> slopes(z.begin(), z.end()), values(count);
  for (int i = 0; i < count; i++) {
    const T* const row = z.data() + i * stride;
    const double top = *std::max_element(row, row + classes);
    double all = 0;
    for (int j = 0; j < classes; j++) all += std::exp(row[j] - top);
    for (int j = 0; j < classes; j++) slopes[i * stride + j] = std::exp(row[j] - top) / all - (j == labels[i]);
    values[i] = std::log(all) + top - row[labels[i]];
  }
  const OnDevice<T> of_device(z), of_values(count);
  const OnDevice<int32_t> of_labels(labels);
  cross_entropy<T>(of_device.get(), stride, of_labels.get(), count, classes, of_values.get(), nullptr);
  // In float32 e^−d is __expf's, within 2 + 1.2 d units of 2⁻²³ (CUDA's guide): ex2.approx is within 2, and d log₂e is
  // rounded before it. Of a slope that is d e^−d and less; but Σ is brought along as the largest rises, by exponentials
  // of steps that add up to 2 scale at most.
  const double tolerance = (sizeof(T) == 4 ? 1e-6 : 1e-14) * (1 + scale);
  check(distance(slopes, of_device.read()) <= tolerance, "slopes of " + where);
  check(distance(values, of_values.read()) <= 8 * tolerance, "values of " + where);
}

void products(int m, int n, int k) {
  Random random(m + n + k);
  std::vector<float> a(m * k), b(n * k);
  for (float& value : a) value = static_cast<float>(random.uniform());
  for (float& value : b) value = static_cast<float>(random.uniform());
  std::vector<double> c(m * n);
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++)
      for (int l = 0; l < k; l++) c[i * n + j] += double{a[i * k + l]} * b[j * k + l];
  const OnDevice<float> of_a(a), of_b(b), of_c(m * n);
  matmul_tf32(of_a.get(), of_b.get(), of_c.get(), m, n, k, nullptr);
  const double apart = distance(c, of_c.read());
  const std::string where = std::to_string(m) + " × " + std::to_string(n) + " × " + std::to_string(k);
  check(apart <= 2e-3 * std::sqrt(k), "product of " + where);
  check(apart > 1e-6, "in TF32, of " + where);
}

}  // namespace

int main() {
  for (const int n : {1, 255, 1000, 20000}) sums<float>(n), sums<double>(n);
  for (const int classes : {2, 3, 33, 512, 513, 4099}) {
    rows<float>(classes > 600 ? 2 : 9, classes, 3);
    rows<float>(2, classes, 60);
    rows<double>(classes > 600 ? 2 : 9, classes, 30);
  }
  products(64, 64, 64);
  products(130, 65, 100);
  products(5, 70, 36);
  products(64, 64, 4);
  return failures();
}
