// Modes, propagators and trajectories against plain loops: the full matrix M, iterated steps in all n + C rows,
// products of whole states. Odd sizes, unequal and empty classes, labels in any order.
#include "ops/exact/trajectory.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "test/check.h"

using namespace lp;
using namespace lp::test;

namespace {

struct Problem {
  Index n, classes, p;
  double gamma;
  std::vector<int32_t> labels;

  Index count(Index c) const { return std::count(labels.begin(), labels.end(), c); }
  // M (C, n)
  double m(Index c, Index i) const { return ((labels[i] == c ? 1 + gamma : 0) - gamma) / static_cast<double>(n); }
};

Problem problem(Index n, Index classes, Index p, double gamma, bool balanced, Random& random) {
  Problem out{n, classes, p, gamma, std::vector<int32_t>(n)};
  for (Index i = 0; i < n; i++) out.labels[i] = static_cast<int32_t>(balanced ? i % classes : random.below(classes));
  for (Index i = n - 1; i > 0; i--) std::swap(out.labels[i], out.labels[random.below(i + 1)]);
  return out;
}

// The reduced matrix, from modes: U diag(σ) Vᵀ x must be M̂ x.
void modes_factor(const Problem& of, Random& random) {
  std::vector<Index> counts;
  for (Index c = 0; c < of.classes; c++) counts.push_back(of.count(c));
  const Modes modes(counts, of.gamma);
  const Index c_count = of.classes, p = of.p, rows = modes.rows();
  const Array<double> x(c_count * p, random), mapped(rows * p), back(rows * p);
  modes.to_rows(Side::features, {x.get(), c_count, p}, {mapped.get(), rows, p});
  double square = 0, of_rows = 0;
  for (Index k = 0; k < c_count * p; k++) square += x[k] * x[k];
  for (Index k = 0; k < rows * p; k++) of_rows += mapped[k] * mapped[k];
  check_close(of_rows, square, 1e-12 * square, "modal rows are an isometry");
  for (Index k = 0; k < rows * p; k++) back[k] = mapped[k];
  modes.from_rows(Side::features, {back.get(), rows, p});
  for (Index k = 0; k < c_count * p; k++) check_close(back[k], x[k], 1e-13, "rows and back");
  for (Index r = 0; r < rows; r++)
    for (Index j = 0; j < p; j++) mapped[r * p + j] *= modes.sigma[modes.group_of(r)];
  modes.from_rows(Side::prototypes, {mapped.get(), rows, p});
  for (Index c = 0; c < c_count; c++) {
    for (Index j = 0; j < p; j++) {
      double expected = 0;
      for (Index d = 0; d < c_count; d++) {
        const double root = std::sqrt(static_cast<double>(counts[d]));
        expected += ((c == d ? 1 + of.gamma : 0) - of.gamma) * root / static_cast<double>(of.n) * x[d * p + j];
      }
      check_close(mapped[c * p + j], expected, 1e-13, "the reduced matrix");
    }
  }
}

template <class T>
void descent_steps(const Problem& of, double momentum, bool nesterov, Index steps, Random& random) {
  const Index n = of.n, classes = of.classes, p = of.p;
  const Array<T> features(n * p, random), prototypes(classes * p, random), biases(classes, random);
  Start<T> start;
  start.features = Buffer<T>(n * p);
  start.prototypes = Buffer<T>(classes * p);
  std::copy_n(features.get(), n * p, start.features.get());
  std::copy_n(prototypes.get(), classes * p, start.prototypes.get());
  start.biases.assign(biases.get(), biases.get() + classes);
  start.labels = of.labels;
  start.dim = p;
  Law law;
  law.kind = Law::Kind::descent;
  law.rates = {0.7, 0.4, 0.05, 0.1};
  law.momentum = momentum;
  law.nesterov = nesterov;
  Trajectory<T> trajectory(std::move(start), of.gamma, law, Control());

  // All parameters in one vector, iterated.
  const Index size = (n + classes) * p + classes;
  std::vector<double> x(size), v(size), g(size);
  std::copy_n(features.get(), n * p, x.begin());
  std::copy_n(prototypes.get(), classes * p, x.begin() + n * p);
  std::copy_n(biases.get(), classes, x.begin() + (n + classes) * p);
  double* w = &x[n * p];
  double* b = &x[(n + classes) * p];
  for (Index k = 0; k < steps; k++) {
    for (Index s = 0; s < size; s++) g[s] = (s < n * p ? law.rates.feature_decay : law.rates.prototype_decay) * x[s];
    for (Index i = 0; i < n; i++) {
      for (Index c = 0; c < classes; c++) {
        for (Index j = 0; j < p; j++) {
          g[i * p + j] -= of.m(c, i) * w[c * p + j];
          g[(n + c) * p + j] -= of.m(c, i) * x[i * p + j];
        }
        g[(n + classes) * p + c] -= of.m(c, i);
      }
    }
    for (Index s = 0; s < size; s++) {
      v[s] = momentum * v[s] + g[s];
      x[s] -= (s < n * p ? law.rates.features : law.rates.prototypes) * (nesterov ? g[s] + momentum * v[s] : v[s]);
    }
  }

  const Array<T> h_out(n * p), w_out(classes * p), b_out(classes);
  const StateOut<T> out{h_out.get(), w_out.get(), b_out.get()};
  const auto size_of = trajectory.state(static_cast<double>(steps), false, out, Control());
  double largest = 1, square = 0, loss = 0;
  for (Index s = 0; s < (n + classes) * p; s++) {
    largest = std::max(largest, std::abs(x[s]));
    square += x[s] * x[s];
  }
  const double tolerance = (sizeof(T) == 4 ? 1e-5 : 1e-11) * largest;
  check_close(distance(h_out, std::vector<double>(x.begin(), x.begin() + n * p)), 0, tolerance, "features");
  check_close(distance(w_out, std::vector<double>(w, w + classes * p)), 0, tolerance, "prototypes");
  check_close(distance(b_out, std::vector<double>(b, b + classes)), 0, tolerance * static_cast<double>(steps + 1),
              "biases");
  check_close(size_of.log_norm, std::log(square) / 2, tolerance, "log norm");

  double smallest = INFINITY;
  for (Index i = 0; i < n; i++) {
    std::vector<double> z(b, b + classes);
    double best = -INFINITY;
    for (Index c = 0; c < classes; c++) {
      for (Index j = 0; j < p; j++) z[c] += x[i * p + j] * w[c * p + j];
      loss -= of.m(c, i) * z[c];
      if (c != of.labels[i]) best = std::max(best, z[c]);
    }
    smallest = std::min(smallest, z[of.labels[i]] - best);
  }
  double measured_loss = 0, measured_margin = 0, distance_before = 0, accuracy = 0;
  trajectory.measure({static_cast<double>(steps)},
                     {TrajectoryMeasure::loss, TrajectoryMeasure::minMargin, TrajectoryMeasure::distanceToLimit,
                      TrajectoryMeasure::accuracy},
                     {&measured_loss, &measured_margin, &distance_before, &accuracy}, Control());
  check_close(measured_loss, loss, tolerance * largest * static_cast<double>(p), "loss");
  check_close(measured_margin, smallest, tolerance * largest * static_cast<double>(p), "margin");
  check(accuracy >= 0 && accuracy <= 1, "accuracy");
}

// ∫ of two rates that happen to be proportional must give what the closed form gives.
void integrated_equals_closed(Random& random) {
  const Problem of = problem(9, 3, 4, 0.3, false, random);
  const auto rate = [](double scale) {
    std::vector<double> packed(2 * Rate::kPieceSize);
    const double first[] = {0, 2, 0, scale, scale / 2};             // scale (1 + (t − 1)/2)
    const double second[] = {2, 50, 2 * scale, scale, -scale / 3};  // a slope down
    std::copy(std::begin(first), std::end(first), packed.begin());
    std::copy(std::begin(second), std::end(second), packed.begin() + Rate::kPieceSize);
    return std::make_shared<const Rate>(packed);
  };
  Law law;
  law.rates = {0.6, 1.4, 0.02, 0.05};
  const std::vector<Mode> modes{{0.3, true}, {0.05, true}, {0.0, true}, {-0.2, true}};
  const auto closed = make_clock(law, modes);
  law.kind = Law::Kind::integrated;
  law.end = Law::End::unknown;
  const auto integrated = make_clock(law, modes);
  Drive drive;
  drive.rate1 = rate(0.6);
  drive.rate2 = rate(1.4);
  for (const double t : {0.0, 0.7, 2.0, 2.1, 31.0, 50.0}) {
    closed->advance(drive.rate1->integral(t) / 0.6, drive, Control());
    integrated->advance(t, drive, Control());
    Propagation a, b;
    closed->read(a);
    integrated->read(b);
    for (size_t g = 0; g < modes.size(); g++) {
      const Mat2 expected = a.pairs[g].p * std::exp(a.pairs[g].log);
      const Mat2 difference = b.pairs[g].p * std::exp(b.pairs[g].log) - expected;
      check_close(difference.norm(), 0, 1e-12 * expected.norm(),
                  "pair " + std::to_string(g) + " at " + std::to_string(t));
    }
    check_close(b.keep, a.keep, 1e-13, "keep");
    check_close(b.gain, a.gain, 1e-12 * (1 + a.gain), "gain");
    check_close(b.rest * std::exp(b.rest_log), a.rest * std::exp(a.rest_log), 1e-13, "rest");
  }
}

}  // namespace

int main() {
  Random random(7);
  for (const Index classes : {2, 3, 7}) {
    for (const Index per_class : {1, 4}) {
      for (const bool balanced : {true, false}) {
        const Problem of = problem(classes * per_class, classes, 1 + classes % 4, 0.4, balanced, random);
        modes_factor(of, random);
        for (const double momentum : {0.0, 0.8}) {
          descent_steps<double>(of, momentum, false, 30, random);
          descent_steps<double>(of, momentum, true, 17, random);
          descent_steps<float>(of, momentum, true, 9, random);
        }
      }
    }
  }
  modes_factor(problem(1000, 40, 33, 0.02, false, random), random);
  descent_steps<double>(problem(700, 5, 37, 0.2, false, random), 0.5, false, 5, random);
  integrated_equals_closed(random);
  return failures();
}
