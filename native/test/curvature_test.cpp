// Margins, certificates and curvature of the cross-entropy layer-peeled model: products against plain loops, on odd
// sizes and several blocks; the lowest eigenpair against a dense Hessian; and states whose loss no double holds.
#include "ops/cross_entropy/curvature.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "check.h"
#include "ops/cross_entropy/margins.h"

using namespace lp;
using namespace lp::test;

using Vector = std::vector<double>;

struct Sample {
  Sample(Index n, Index classes, Index p, double size = 1)
      : n(n), classes(classes), p(p), labels(n), z((n + classes) * p) {
    Random random(n * 131 + classes * 17 + p);
    for (auto& label : labels) label = static_cast<int32_t>(random.below(classes));
    for (double& x : z) x = size * random.uniform();
  }
  State<const double> state() const { return {h(z), w(z), nullptr, labels.data()}; }
  Matrix<const double> h(const Vector& x) const { return {x.data(), n, p}; }
  Matrix<const double> w(const Vector& x) const { return {x.data() + n * p, classes, p}; }
  Matrix<double> h(Vector& x) const { return {x.data(), n, p}; }
  Matrix<double> w(Vector& x) const { return {x.data() + n * p, classes, p}; }
  State<double> parts(Vector& x) const { return {h(x), w(x), nullptr, nullptr}; }
  std::string name() const {
    return "n = " + std::to_string(n) + ", C = " + std::to_string(classes) + ", p = " + std::to_string(p);
  }

  Index n, classes, p;
  std::vector<int32_t> labels;
  Vector z;  // H, W
};

double dot(const Vector& x, const Vector& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); i++) sum += x[i] * y[i];
  return sum;
}

Vector scaled(Vector x, double factor) {
  for (double& value : x) value *= factor;
  return x;
}

void products_equal_loops() {
  for (const auto& [n, classes, p] : {std::tuple<Index, Index, Index>{1, 2, 1},
                                      {7, 3, 5},
                                      {129, 5, 33},
                                      {300, 5003, 2},
                                      {1031, 131, 17},
                                      {20, 11, 300}}) {
    const Sample sample(n, classes, p);
    const auto state = sample.state();
    const std::string what = sample.name();
    Vector q(n), q_ref(n);
    margins(state, q.data(), Control());
    margins_ref(state, q_ref.data());
    check_close(distance(q, q_ref), 0, 1e-13 * p, what + ": margins");

    Weights weights(state, Control());
    check_close(weights.smallest(), *std::min_element(q_ref.begin(), q_ref.end()), 1e-13 * p, what + ": smallest");
    Random random(5);
    Vector v(sample.z.size()), out(v.size()), expected(v.size());
    for (double& x : v) x = random.uniform();
    const double loss = slope_ref(state, sample.h(expected), sample.w(expected));
    check_close(std::exp(weights.log_loss()) / loss, 1, 1e-12, what + ": loss");
    weights.slope(sample.h(out), sample.w(out), Control());
    check_close(distance(scaled(out, loss), expected), 0, 1e-12 * n, what + ": gradient");
    bend_ref(state, sample.h(v), sample.w(v), sample.h(expected), sample.w(expected));
    weights.bend(sample.h(v), sample.w(v), sample.h(out), sample.w(out), Control());
    check_close(distance(scaled(out, loss), expected), 0, 1e-12 * n * (1 + p), what + ": product with the Hessian");
  }
}

// The gradient is the slope of the loss, and the product with the Hessian that of the gradient.
void products_equal_differences() {
  const Sample sample(5, 4, 3);
  Random random(7);
  Vector v(sample.z.size()), gradient(v.size()), product(v.size());
  for (double& x : v) x = random.uniform();
  slope_ref(sample.state(), sample.h(gradient), sample.w(gradient));
  bend_ref(sample.state(), sample.h(v), sample.w(v), sample.h(product), sample.w(product));
  const double step = 1e-5;
  const auto at = [&](double by, Vector& out) {
    Sample moved = sample;
    for (size_t i = 0; i < v.size(); i++) moved.z[i] += by * v[i];
    return slope_ref(moved.state(), sample.h(out), sample.w(out));
  };
  Vector up(v.size()), down(v.size());
  check_close((at(step, up) - at(-step, down)) / (2 * step), dot(gradient, v), 1e-8, "gradient");
  for (size_t i = 0; i < v.size(); i++) check_close((up[i] - down[i]) / (2 * step), product[i], 1e-8, "Hessian");
}

// Eigenvalues of a symmetric matrix, by Jacobi's rotations.
Vector eigenvalues(Vector a, Index n) {
  for (int sweep = 0; sweep < 30; sweep++) {
    for (Index i = 0; i < n; i++) {
      for (Index j = 0; j < i; j++) {
        const double angle = 0.5 * std::atan2(2 * a[i * n + j], a[i * n + i] - a[j * n + j]);
        const double c = std::cos(angle), s = std::sin(angle);
        const auto rotate = [&](double& x, double& y) {
          const double first = c * x + s * y;
          y = c * y - s * x;
          x = first;
        };
        for (Index k = 0; k < n; k++) rotate(a[k * n + i], a[k * n + j]);
        for (Index k = 0; k < n; k++) rotate(a[i * n + k], a[j * n + k]);
      }
    }
  }
  Vector out(n);
  for (Index i = 0; i < n; i++) out[i] = a[i * n + i];
  std::sort(out.begin(), out.end());
  return out;
}

// The lowest eigenvalue of (I − νν ᵀ)(∇²L + λ)(I − ννᵀ) on the complement of ν = θ/‖θ‖, the Hessian made column by
// column.
double densest(const Sample& sample) {
  const Index size = std::ssize(sample.z);
  const double radius = std::sqrt(dot(sample.z, sample.z));
  const Vector normal = scaled(sample.z, 1 / radius);
  Vector gradient(size);
  slope_ref(sample.state(), sample.h(gradient), sample.w(gradient));
  const double multiplier = -dot(normal, gradient) / radius;
  Vector dense(size * size);
  double largest = 1;
  for (Index k = 0; k < size; k++) {
    Vector v = scaled(normal, -normal[k]), out(size);
    v[k] += 1;
    bend_ref(sample.state(), sample.h(v), sample.w(v), sample.h(out), sample.w(out));
    for (Index i = 0; i < size; i++) out[i] += multiplier * v[i];
    const double along = dot(out, normal);
    for (Index i = 0; i < size; i++) dense[k * size + i] = out[i] - along * normal[i];
    largest = std::max(largest, 10 * std::sqrt(dot(out, out)) * static_cast<double>(size));
  }
  for (Index i = 0; i < size; i++)
    for (Index k = 0; k < size; k++) dense[k * size + i] += largest * normal[i] * normal[k];
  return eigenvalues(dense, size).front();
}

void lowest_is_that_of_the_dense_hessian() {
  for (const auto& [n, classes, p] :
       {std::tuple<Index, Index, Index>{1, 2, 1}, {3, 2, 1}, {5, 3, 4}, {7, 5, 3}, {11, 4, 5}, {2, 7, 5}}) {
    for (double size : {0.3, 1.7}) {
      const Sample sample(n, classes, p, size);
      Vector gradient(sample.z.size()), direction(sample.z.size()), expected(sample.z.size()), product(sample.z.size());
      const auto found = tangent_curvature(sample.state(), {1e-10, 1000, 3}, sample.parts(gradient),
                                           sample.parts(direction), Control());
      const double loss = slope_ref(sample.state(), sample.h(expected), sample.w(expected));
      const double eigenvalue = loss * found.eigenvalue, multiplier = loss * found.multiplier;
      check_close(eigenvalue, densest(sample), 1e-9 * loss * found.scale, sample.name() + ": eigenvalue");
      check_close(distance(scaled(gradient, loss), expected), 0, 1e-12 * n, sample.name() + ": gradient");
      check_close(dot(direction, direction), 1, 1e-12, sample.name() + ": unit norm");
      check_close(dot(direction, sample.z), 0, 1e-12 * size * n, sample.name() + ": tangent");
      check_close(multiplier * dot(sample.z, sample.z), -dot(expected, sample.z), 1e-12 * n,
                  sample.name() + ": multiplier");
      // (∇²L + λ − eigenvalue) v lies along the normal.
      bend_ref(sample.state(), sample.h(direction), sample.w(direction), sample.h(product), sample.w(product));
      for (size_t i = 0; i < product.size(); i++) product[i] += (multiplier - eigenvalue) * direction[i];
      const double along = dot(product, sample.z) / dot(sample.z, sample.z);
      for (size_t i = 0; i < product.size(); i++) product[i] -= along * sample.z[i];
      check_close(std::sqrt(dot(product, product)), 0, 1e-9 * loss * found.scale, sample.name() + ": eigenvector");
      check(found.residual <= 1e-10 * found.scale || found.steps == static_cast<double>(sample.z.size() - 1),
            sample.name() + ": residual");
    }
  }
}

// Two samples x and −x in one dimension and prototypes the same: s = 2x², e^{−s} below any double.
void holds_where_the_loss_underflows() {
  const double x = 30, s = 2 * x * x;
  Sample sample(2, 2, 1);
  sample.labels = {0, 1};
  sample.z = {x, -x, x, -x};
  Weights weights(sample.state(), Control());
  check_close(weights.log_loss(), std::log(2) - s, 1e-12 * s, "log L");
  Vector out(4), multipliers(4);
  weights.slope(sample.h(out), sample.w(out), Control());
  // G_ij = ½ for the other class: each gradient is −½ · 2x.
  check_close(distance(out, Vector{-x, x, -x, x}), 0, 1e-10, "∇L over L");
  const Certificate found = kkt_certificate(sample.state(), multipliers.data(), Control());
  check_close(found.alignment, 1, 1e-14, "alignment");
  check_close(found.apart, 0, 1e-25, "apart");
  check_close(found.slack, 0, 1e-13, "slack");
  check_close(found.square, 4 * x * x, 0, "square");
  // θ = Σ λ ∇s: x = λ 2x.
  check_close(distance(multipliers, Vector{0, 0.5, 0.5, 0}), 0, 1e-12, "multipliers");
  Vector direction(4);
  const auto curvature =
      tangent_curvature(sample.state(), {1e-9, 50, 0}, sample.parts(out), sample.parts(direction), Control());
  check_close(curvature.multiplier, 1, 1e-10, "λ over L");
  check_close(curvature.tangent, 0, 1e-10, "tangent gradient");
  check(curvature.eigenvalue > -1e-6 * curvature.scale, "an optimum");
}

// Certificates against the definition, of a state that separates its samples.
void certificates() {
  Sample sample(23, 3, 4, 0.3);
  for (Index i = 0; i < 23; i++) sample.z[i * 4 + sample.labels[i]] += 2;
  for (Index c = 0; c < 3; c++) sample.z[(23 + c) * 4 + c] += 2;
  Vector multipliers(69), q(23), gradient(sample.z.size());
  const Certificate found = kkt_certificate(sample.state(), multipliers.data(), Control());
  const Certificate without = kkt_certificate(sample.state(), nullptr, Control());
  check(without.slack == found.slack, "a certificate without multipliers");
  margins_ref(sample.state(), q.data());
  check_close(found.smallest, *std::min_element(q.begin(), q.end()), 1e-12, "q_min");
  const double loss = slope_ref(sample.state(), sample.h(gradient), sample.w(gradient));
  check_close(found.log_loss, std::log(loss), 1e-12, "log L");
  const double radius = std::sqrt(dot(sample.z, sample.z)), norm = std::sqrt(dot(gradient, gradient));
  check_close(found.alignment, -dot(sample.z, gradient) / (radius * norm), 1e-13, "alignment");
  check_close(found.apart, 2 - 2 * found.alignment, 1e-12, "apart");
  double slack = 0;
  for (Index i = 0; i < 23; i++) {
    const auto logit = [&](Index c) {
      double sum = 0;
      for (Index j = 0; j < 4; j++) sum += sample.z[i * 4 + j] * sample.z[(23 + c) * 4 + j];
      return sum;
    };
    double total = 0;
    for (Index c = 0; c < 3; c++) total += std::exp(logit(c));
    for (Index c = 0; c < 3; c++) {
      const bool own = c == sample.labels[i];
      const double multiplier = own ? 0 : radius / norm * std::exp(logit(c)) / total;
      check_close(multipliers[i * 3 + c], multiplier, 1e-12, "multiplier");
      slack += multiplier * ((logit(sample.labels[i]) - logit(c)) / found.smallest - 1);
    }
  }
  check_close(found.slack, slack, 1e-11, "slack");
}

void refuses() {
  Sample sample(5, 3, 2);
  Vector out(sample.z.size());
  const auto fails = [&](const char* code, const std::string& message, const auto& call) {
    try {
      call();
      check(false, "passed: " + message);
    } catch (const Error& error) {
      check(std::string(error.code()) == code && std::string(error.what()).starts_with(message), error.what());
    }
  };
  const auto curvature = [&](const Control& control = {}) {
    tangent_curvature(sample.state(), {1e-9, 50, 0}, sample.parts(out), sample.parts(out), control);
  };
  fails("LP_OPTION", "The smallest margin is -", [&] { kkt_certificate(sample.state(), nullptr, Control()); });
  Control stopped;
  stopped.cancel();
  fails("LP_ABORTED", "The operation was stopped", [&] { curvature(stopped); });
  sample.z[3] = NAN;
  fails("LP_NOT_FINITE", "features[1, 1] is NaN", [&] { curvature(); });
  sample.z[3] = 1e200;
  fails("LP_OVERFLOW", "The squares of this state", [&] { kkt_certificate(sample.state(), nullptr, Control()); });
  std::fill(sample.z.begin(), sample.z.end(), 0.0);
  fails("LP_OPTION", "The state is zero", [&] { curvature(); });
}

int main() {
  products_equal_loops();
  products_equal_differences();
  lowest_is_that_of_the_dense_hessian();
  holds_where_the_loss_underflows();
  certificates();
  refuses();
  return failures();
}
