// The cross-entropy flow against Runge–Kutta steps of gradients written here, in time itself; against a flow that has a
// closed form, up to t = 10¹²; and what it conserves.
#include "ops/cross_entropy/flow.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "check.h"

using namespace lp;
using namespace lp::test;

using Vector = std::vector<double>;

constexpr Index kMostSteps = 1'000'000;

struct Sample {
  Sample(Index n, Index classes, Index p, bool biased)
      : n(n), classes(classes), p(p), biased(biased), labels(n), z((n + classes) * p + biased * classes) {
    Random random(n * 131 + classes * 17 + p);
    for (Index i = 0; i < n; i++) labels[i] = static_cast<int32_t>(i < classes ? i : random.below(classes));
    for (double& x : z) x = 1.5 * random.uniform();
  }

  Index n, classes, p;
  bool biased;
  std::vector<int32_t> labels;
  Vector z;  // H, W, b
};

std::string name_of(const Sample& sample, const Loss& loss) {
  return "n = " + std::to_string(sample.n) + ", C = " + std::to_string(sample.classes) +
         ", p = " + std::to_string(sample.p) + (sample.biased ? ", biases" : "") + (loss.sum ? ", sum" : "") +
         (loss.smoothing > 0 ? ", smoothed" : "") + (loss.class_weights.empty() ? "" : ", weighted");
}

// Moves `z` from time to time; t = 10¹² is fine.
double flow(const Sample& sample, const Loss& loss, Vector& z, double from, double to, double tolerance = 1e-11) {
  return cross_entropy_flow(loss, sample.labels.data(), sample.n, sample.classes, sample.p, sample.biased, z.data(),
                            std::log1p(from), std::log1p(to), 0, tolerance, kMostSteps, Control())
      .error;
}

// −∇L by loops.
Vector pull(const Sample& sample, const Loss& loss, const Vector& z) {
  const auto& [n, classes, p, biased, labels, start] = sample;
  Vector out(z.size()), share(classes);
  const double *h = z.data(), *w = h + n * p, *b = w + classes * p;
  for (Index i = 0; i < n; i++) {
    double total = 0;
    for (Index c = 0; c < classes; c++) {
      double logit = biased ? b[c] : 0;
      for (Index j = 0; j < p; j++) logit += h[i * p + j] * w[c * p + j];
      total += share[c] = std::exp(logit);
    }
    const double weight = (loss.sum ? 1.0 : 1.0 / static_cast<double>(n)) *
                          (loss.class_weights.empty() ? 1.0 : loss.class_weights[labels[i]]);
    for (Index c = 0; c < classes; c++) {
      const double target = loss.smoothing / static_cast<double>(classes) + (c == labels[i] ? 1 - loss.smoothing : 0.0);
      const double g = weight * (target - share[c] / total);
      for (Index j = 0; j < p; j++) {
        out[i * p + j] += g * w[c * p + j];
        out[(n + c) * p + j] += g * h[i * p + j];
      }
      if (biased) out[(n + classes) * p + c] += g;
    }
  }
  return out;
}

// The classical Runge–Kutta method.
Vector brute(const Sample& sample, const Loss& loss, double time, int steps) {
  Vector z = sample.z;
  const double h = time / steps;
  const auto moved = [&](const Vector& k, double by) {
    Vector out = z;
    for (size_t i = 0; i < z.size(); i++) out[i] += by * k[i];
    return out;
  };
  for (int step = 0; step < steps; step++) {
    const Vector a = pull(sample, loss, z), b = pull(sample, loss, moved(a, h / 2)),
                 c = pull(sample, loss, moved(b, h / 2)), d = pull(sample, loss, moved(c, h));
    for (size_t i = 0; i < z.size(); i++) z[i] += h / 6 * (a[i] + 2 * b[i] + 2 * c[i] + d[i]);
  }
  return z;
}

void equals_brute_force() {
  for (const auto& [n, classes, p] : {std::tuple<Index, Index, Index>{1, 2, 1}, {7, 3, 5}, {13, 5, 2}, {11, 7, 17}}) {
    for (bool biased : {false, true}) {
      const Sample sample(n, classes, p, biased);
      Loss plain, changed;
      changed.sum = true;
      changed.smoothing = 0.1;
      for (Index c = 0; c < classes; c++) changed.class_weights.push_back(0.2 + 0.3 * static_cast<double>(c % 3));
      for (const Loss& loss : {plain, changed}) {
        const double time = 2;
        Vector once = sample.z, twice = sample.z;
        flow(sample, loss, once, 0, time);
        check_close(distance(once, brute(sample, loss, time, 2000)), 0, 1e-9, name_of(sample, loss));
        flow(sample, loss, twice, 0, time / 3);
        flow(sample, loss, twice, time / 3, time);
        check_close(distance(once, twice), 0, 1e-9, name_of(sample, loss) + ", in two calls");
      }
    }
  }
}

// Two samples x and −x in one dimension, prototypes the same: with q = 2x², x' = 2x/(1 + e^q) of the summed loss, and
// so 4t = log(q/q0) + Ei(q) − Ei(q0).
void equals_closed_form() {
  Sample sample(2, 2, 1, false);
  Loss loss;
  loss.sum = true;
  const double start = 0.3;
  for (double time : {1e-3, 1.0, 1e3, 1e6, 1e9, 1e12}) {
    Vector z{start, -start, start, -start};
    const double error = flow(sample, loss, z, 0, time);
    const double q = 2 * z[0] * z[0], first = 2 * start * start;
    check_close((std::log(q / first) + std::expint(q) - std::expint(first)) / (4 * time), 1, 1e-7,
                "closed form at t = " + std::to_string(time));
    check_close(distance(z, Vector{z[0], -z[0], z[0], -z[0]}), 0, 1e-13, "symmetry");
    check(error > 0 && error < 1e-8, "the sum of local errors");
  }
}

// WᵀW − HᵀH, and the sum of the prototypes, as it gets no gradient.
Vector conserved(const Sample& sample, const Vector& z) {
  const Index p = sample.p;
  Vector out(p * p + p);
  for (Index i = 0; i < sample.n + sample.classes; i++) {
    const double* row = z.data() + i * p;
    const double sign = i < sample.n ? -1 : 1;
    for (Index j = 0; j < p; j++) {
      for (Index k = 0; k < p; k++) out[j * p + k] += sign * row[j] * row[k];
      if (i >= sample.n) out[p * p + j] += row[j];
    }
  }
  return out;
}

void conserves() {
  for (const auto& [n, classes, p] : {std::tuple<Index, Index, Index>{9, 3, 4}, {23, 5, 7}, {130, 11, 3}}) {
    const Sample sample(n, classes, p, false);
    const Vector before = conserved(sample, sample.z);
    for (double time : {1.0, 1e4, 1e12}) {
      Vector z = sample.z;
      const double error = flow(sample, Loss(), z, 0, time);
      double square = 0;
      for (double x : z) square += x * x;
      // Local errors are over the size of the state.
      check_close(distance(conserved(sample, z), before), 0, 4 * error * square,
                  "conserved at t = " + std::to_string(time) + " of " + name_of(sample, Loss()));
    }
  }
}

void keeps_what_is_still() {
  Sample sample(5, 3, 2, false);
  std::fill(sample.z.begin(), sample.z.end(), 0.0);
  Vector z = sample.z;
  flow(sample, Loss(), z, 0, 1e12);
  check(z == sample.z, "the origin stays");
  const Sample other(5, 3, 2, true);
  z = other.z;
  flow(other, Loss(), z, 3, 3);
  check(z == other.z, "no time, no motion");
}

void refuses() {
  const Sample sample(5, 3, 2, true);
  const auto fails = [&](Vector z, const char* code, const std::string& message, const Control& control) {
    try {
      cross_entropy_flow(Loss(), sample.labels.data(), 5, 3, 2, true, z.data(), 0, 1, 0, 1e-10, kMostSteps, control);
      check(false, "passed: " + message);
    } catch (const Error& error) {
      check(std::string(error.code()) == code && std::string(error.what()).starts_with(message), error.what());
    }
  };
  for (const auto& [at, place] :
       {std::pair<Index, std::string>{3, "features[1, 1]"}, {13, "prototypes[1, 1]"}, {18, "biases[2]"}}) {
    Vector z = sample.z;
    z[at] = NAN;
    fails(z, "LP_NOT_FINITE", place + " is NaN", Control());
  }
  Vector z = sample.z;
  z[0] = z[10] = 1e200;
  fails(z, "LP_OVERFLOW", "The flow leaves the range of doubles", Control());
  Control stopped;
  stopped.cancel();
  fails(sample.z, "LP_ABORTED", "The operation was stopped", stopped);
}

int main() {
  equals_brute_force();
  equals_closed_form();
  conserves();
  keeps_what_is_still();
  refuses();
  return failures();
}
