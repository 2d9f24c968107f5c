// The kernel of every instruction set against plain loops that work with vectors, and the measures against sums by
// hand.
#include "ops/spherical/spherical.h"

#include <random>
#include <vector>

#include "test/check.h"

using namespace lp;
using namespace lp::test;

namespace {

using Steps = decltype(&baseline::spherical_steps);

std::vector<std::pair<const char*, Steps>> kernels() {
  std::vector<std::pair<const char*, Steps>> list{{"baseline", &baseline::spherical_steps}};
#if defined(__x86_64__)
  if (available_isa() >= Isa::avx2) list.emplace_back("avx2", &avx2::spherical_steps);
  if (available_isa() >= Isa::avx512) list.emplace_back("avx512", &avx512::spherical_steps);
#endif
  return list;
}

// A step of the definition on a vector in the plane: h ← h + η/‖h‖ (I − ĥĥᵀ) g, g = pull · (1, 0).
void step(long double& x, long double& y, long double pull, long double rate, bool rescaled) {
  const long double r = hypotl(x, y), c = x / r, s = y / r;
  const long double f = rate * (rescaled ? 1 : 1 / r) * pull;
  x += f * (1 - c * c);
  y -= f * c * s;
}

void check_kernel(const char* name, Steps kernel, Index count, bool rescaled) {
  std::mt19937_64 random(count);
  std::uniform_real_distribution<double> angle(0, 3.14), size(0.5, 3), weight(0, 0.5);
  std::vector<double> c(count), s(count), r(count), pull(count), rates(50);
  std::vector<long double> x(count), y(count);
  for (Index i = 0; i < count; i++) {
    const double a = angle(random);
    c[i] = std::cos(a), s[i] = std::sin(a), r[i] = size(random), pull[i] = weight(random);
    x[i] = static_cast<long double>(r[i]) * c[i], y[i] = static_cast<long double>(r[i]) * s[i];
  }
  for (double& rate : rates) rate = weight(random);
  kernel(count, c.data(), s.data(), r.data(), pull.data(), rates.data(), rates.size(), rescaled);
  for (Index i = 0; i < count; i++) {
    for (double rate : rates) step(x[i], y[i], pull[i], rate, rescaled);
    const std::string what = std::string(name) + (rescaled ? " rescaled" : "") + " sample " + std::to_string(i);
    check_close(r[i] * c[i], x[i], 1e-13, what + " along");
    check_close(r[i] * s[i], y[i], 1e-13, what + " across");
    check_close(c[i] * c[i] + s[i] * s[i], 1, 1e-15, what + " on the circle");
  }
}

// sin θ keeps its relative accuracy: near alignment every step multiplies it by 1 − α, to within α θ²/2.
void check_convergence(const char* name, Steps kernel) {
  double c = std::cos(0.001), s = std::sin(0.001), r = 1;
  const double pull = 1;
  const std::vector<double> rates(600, 0.5);
  kernel(1, &c, &s, &r, &pull, rates.data(), rates.size(), true);
  long double angle = 0.001L, norm = 1;
  for (int k = 0; k < 600; k++) {
    const long double alpha = 0.5L / norm, across = alpha * sinl(angle);
    angle -= atanl(across);
    norm *= sqrtl(1 + across * across);
  }
  check_close(s / static_cast<double>(angle), 1, 1e-12, std::string(name) + " keeps the sine's digits");
}

void check_measures() {
  // Classes on the axes of three dimensions; γ = 0, so the targets are the prototypes.
  const std::vector<double> w{2, 0, 0, 0, 1, 0};
  const std::vector<double> h{3, 4, 0, 0, 0, 5, -1, 0, 0};
  const std::vector<int32_t> labels{0, 1, 0};
  const std::vector<double> biases{0.1, 0.2};
  const State<const double> state{{h.data(), 3, 3}, {w.data(), 2, 3}, nullptr, labels.data()};
  const Control control;
  std::vector<double> angles(9), pull(3), targets(6), ahead(4), aside(6), out(kSphereMeasures);
  const Sphere sphere = Sphere::over(angles.data(), 3);
  spherical_start(state, 0.0, sphere, pull.data(), {targets.data(), 2, 3}, control);
  check_close(sphere.cosine[0], 0.6, 1e-15, "cosine");
  check_close(sphere.sine[0], 0.8, 1e-15, "sine");
  check_close(sphere.norm[1], 5, 1e-15, "norm");
  check(sphere.cosine[2] == -1 && sphere.sine[2] == 0, "opposite the target");
  check_close(pull[0], 2.0 / 3, 1e-15, "pull");
  spherical_logits(state, {targets.data(), 2, 3}, sphere, {ahead.data(), 2, 2}, {aside.data(), 3, 2}, control);
  const SphereLogits logits{{ahead.data(), 2, 2}, {aside.data(), 3, 2}, biases.data(), labels.data()};
  spherical_measure(sphere, pull.data(), {}, false, {0}, 0.5, logits, {out.data(), 1, kSphereMeasures}, control);
  // Logits: (1.2, 0.8), (0, 0), (−2, 0), and the biases.
  check_close(out[kPulled], (2 * 0.6 + 0 - 2) / 3, 1e-15, "pulled");
  check_close(out[kSquaredDistance], 0.8 + 2, 1e-15, "distance");
  check_close(out[kSquaredNorm], (25 + 25 + 1) / 4.0, 1e-14, "norm");
  check_close(out[kCorrect], 2, 0, "correct");
  check_close(out[kMarginSum], 0.3 + 0.1 - 2.1, 1e-15, "margin sum");
  check_close(out[kMarginMin], -2.1, 1e-15, "margin min");
}

}  // namespace

int main() {
  for (const auto& [name, kernel] : kernels()) {
    for (Index count : {1, 2, 3, 4, 5, 7, 8, 9, 31, 513}) {
      check_kernel(name, kernel, count, false);
      check_kernel(name, kernel, count, true);
    }
    check_convergence(name, kernel);
  }
  check_measures();
  return failures();
}
