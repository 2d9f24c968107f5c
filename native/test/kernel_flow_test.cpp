// Both flows against Runge-Kutta steps of their definitions on plain loops, and kernels that are none.
#include "ops/kernel_flow/kernel_flow.h"

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "core/error.h"
#include "test/check.h"

using namespace lp;
using namespace lp::test;

namespace {

using Vector = std::vector<double>;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Vector draw(Index size, unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  Vector x(size);
  for (double& value : x) value = normal(random);
  return x;
}

// B Bᵀ/rank
Vector gram(Index order, Index rank, unsigned seed) {
  const Vector b = draw(order * rank, seed);
  Vector k(order * order, 0.0);
  for (Index i = 0; i < order; i++) {
    for (Index j = 0; j < order; j++) {
      for (Index t = 0; t < rank; t++)
        k[i * order + j] += b[i * rank + t] * b[j * rank + t] / static_cast<double>(rank);
    }
  }
  return k;
}

struct Problem {
  Index n = 5, classes = 3, p = 2;
  std::vector<int32_t> labels{2, 0, 1, 0, 2};
  double gamma = 0.3;
  bool mse = false;
  Vector kernel;  // (np, np)

  Index size() const { return (n + classes) * p + classes; }

  // z' of z = (H, W, b)
  Vector slope(const Vector& z) const {
    const double *h = z.data(), *w = h + n * p, *b = w + classes * p;
    Vector dz(size(), 0.0), pull(n * p, 0.0);
    for (Index i = 0; i < n; i++) {
      for (Index c = 0; c < classes; c++) {
        double logit = b[c];
        for (Index d = 0; d < p; d++) logit += w[c * p + d] * h[i * p + d];
        const double own = c == labels[i];
        const double force = (mse ? -2 * (logit - own) : own > 0 ? 1 : -gamma) / static_cast<double>(n);
        for (Index d = 0; d < p; d++) {
          pull[i * p + d] += force * w[c * p + d];
          dz[(n + c) * p + d] += force * h[i * p + d];
        }
        dz[(n + classes) * p + c] += force;
      }
    }
    for (Index i = 0; i < n * p; i++) {
      for (Index j = 0; j < n * p; j++) dz[i] += kernel[i * n * p + j] * pull[j];
    }
    return dz;
  }

  Vector integrate(Vector z, double zeta, int steps) const {
    const double h = zeta / steps;
    const auto moved = [&](const Vector& k, double by) {
      Vector x = z;
      for (size_t j = 0; j < x.size(); j++) x[j] += by * k[j];
      return x;
    };
    for (int s = 0; s < steps; s++) {
      const Vector k1 = slope(z), k2 = slope(moved(k1, h / 2)), k3 = slope(moved(k2, h / 2)), k4 = slope(moved(k3, h));
      for (size_t j = 0; j < z.size(); j++) z[j] += h / 6 * (k1[j] + 2 * k2[j] + 2 * k3[j] + k4[j]);
    }
    return z;
  }
};

void check_unhinged() {
  Problem problem;
  const Index n = problem.n, classes = problem.classes, p = problem.p, rows = n * p, m = classes * p;
  problem.kernel = gram(rows, 4, 1);
  const Vector z = draw(problem.size(), 2);
  const State<const double> state{
      {z.data(), n, p}, {z.data() + rows, classes, p}, z.data() + rows + m, problem.labels.data()};
  Vector reach(rows * m), vectors(m * m), values(m), parts(m), feature_parts(m);
  const KernelModes modes{{reach.data(), rows, m},
                          {vectors.data(), m, m},
                          values.data(),
                          {parts.data(), m, 1},
                          {feature_parts.data(), m, 1}};
  const Control control;
  kernel_modes({problem.kernel.data(), rows, rows}, state, problem.gamma, modes, control);
  check(values[0] == 0, "a kernel of low rank has modes that do not grow");
  for (double zeta : {0.0, 0.5, 2.0}) {
    Vector grow(m), rise(m), lift(m), h(rows), w(m);
    for (Index k = 0; k < m; k++) {
      const double omega = std::sqrt(values[k]), x = omega * zeta;
      grow[k] = std::cosh(x);
      rise[k] = omega > 0 ? std::sinh(x) / omega : zeta;
      lift[k] = omega > 0 ? (std::cosh(x) - 1) / values[k] : zeta * zeta / 2;
    }
    kernel_combine({z.data(), rows, 1}, modes, {1, grow.data(), rise.data(), lift.data()}, {h.data(), rows, 1},
                   {w.data(), m, 1}, control);
    const Vector expected = problem.integrate(z, zeta, 400);
    for (Index j = 0; j < rows; j++) check_close(h[j], expected[j], 1e-9, "unhinged features");
    for (Index j = 0; j < m; j++) check_close(w[j], expected[rows + j], 1e-9, "unhinged prototypes");
  }
}

void check_mse() {
  Problem problem;
  problem.mse = true;
  const Index rows = problem.n * problem.p;
  problem.kernel = gram(rows, 12, 3);
  const Vector start = draw(problem.size(), 4);
  const Control control;
  const auto run = [&](Vector& z, double from, double to, double step, Index max_steps) {
    return kernel_mse({problem.kernel.data(), rows, rows}, problem.labels.data(), problem.n, problem.classes, problem.p,
                      true, z.data(), from, to, step, 1e-13, max_steps, control);
  };
  Vector z = start;
  double step = 0, from = 0;
  for (double to : {0.3, 0.3, 1.0, 3.0}) {
    const Integrator::Outcome outcome = run(z, from, to, step, 1'000'000);
    check(outcome.time == to, "the flow reaches its time");
    step = outcome.step, from = to;
    const Vector expected = problem.integrate(start, to, 3000);
    for (Index j = 0; j < problem.size(); j++) check_close(z[j], expected[j], 1e-10, "mse state");
  }
  const Integrator::Outcome end = run(z, from, kInfinity, step, 1'000'000);
  check(end.at_rest && end.rate > 0, "the flow comes to rest");
  double largest = 0;
  for (double value : problem.slope(z)) largest = std::max(largest, std::abs(value));
  check_close(largest, 0, 1e-13, "where the slope is zero");
  const Vector rest = z;
  check(run(z, 0, 1e15, end.step, 1'000'000).time == 1e15 && z == rest, "and stays there");
}

void check_kernels() {
  const Control control;
  const auto refused = [&](const Vector& kernel, Index order) {
    try {
      check_kernel({kernel.data(), order, order}, 1e-8, control);
      return false;
    } catch (const Error&) {
      return true;
    }
  };
  for (Index order : {1, 2, 63, 64, 65, 130}) {
    const std::string what = "order " + std::to_string(order);
    Vector kernel = gram(order, std::max<Index>(1, order / 3), order);
    check(!refused(kernel, order), what + ": of low rank");
    check(!refused(Vector(order * order, 0.0), order), what + ": zero");
    for (Index i : {Index{0}, order / 2, order - 1}) {
      const double kept = kernel[i * order + i];
      kernel[i * order + i] -= 2 * kept + 1;
      check(refused(kernel, order), what + ": negative");
      kernel[i * order + i] = kInfinity;
      check(refused(kernel, order), what + ": infinite");
      kernel[i * order + i] = kept;
    }
    if (order == 1) continue;
    kernel[1] += 0.5;
    check(refused(kernel, order), what + ": not symmetric");
  }
}

}  // namespace

int main() {
  check_unhinged();
  check_mse();
  check_kernels();
  return failures();
}
