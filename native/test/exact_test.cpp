// Modes, propagators and trajectories against plain loops: the full matrix M, every parameter stepped or integrated by
// itself, measures of whole states. Odd sizes, unequal and empty classes, labels in any order; and, of steps that no
// loop reaches, numbers worked out with 80 digits.
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

// A state in one vector: H (n, p), W (C, p), b (C).
struct Layout {
  const Problem& of;

  Index size() const { return (of.n + of.classes) * of.p + of.classes; }
  Index prototypes() const { return of.n * of.p; }
  Index biases() const { return (of.n + of.classes) * of.p; }
  bool of_features(Index s) const { return s < prototypes(); }

  // λ x + ∇L, from M itself.
  std::vector<double> gradient(const std::vector<double>& x, const Rates& rates) const {
    const Index n = of.n, classes = of.classes, p = of.p;
    std::vector<double> g(size());
    for (Index s = 0; s < size(); s++) g[s] = (of_features(s) ? rates.feature_decay : rates.prototype_decay) * x[s];
    for (Index i = 0; i < n; i++) {
      for (Index c = 0; c < classes; c++) {
        for (Index j = 0; j < p; j++) {
          g[i * p + j] -= of.m(c, i) * x[(n + c) * p + j];
          g[(n + c) * p + j] -= of.m(c, i) * x[i * p + j];
        }
        g[biases() + c] -= of.m(c, i);
      }
    }
    return g;
  }
};

using RateAt = double (*)(double);  // of a step, or of a time

// The descent with learning rates η_i f_i(k).
std::vector<double> descended(const Layout& layout, std::vector<double> x, const Dynamics& dynamics, RateAt features,
                              RateAt prototypes, Index steps) {
  const double mu = dynamics.momentum.mu;
  std::vector<double> v(x.size());
  for (Index k = 0; k < steps; k++) {
    const std::vector<double> g = layout.gradient(x, dynamics.rates);
    for (Index s = 0; s < layout.size(); s++) {
      v[s] = mu * v[s] + g[s];
      const double rate = layout.of_features(s) ? dynamics.rates.features * features(static_cast<double>(k))
                                                : dynamics.rates.prototypes * prototypes(static_cast<double>(k));
      x[s] -= rate * (dynamics.momentum.nesterov ? g[s] + mu * v[s] : v[s]);
    }
  }
  return x;
}

// The flow with rates η_i f_i(t), by steps of the classical Runge–Kutta method.
std::vector<double> flowed(const Layout& layout, std::vector<double> x, const Rates& rates, RateAt features,
                           RateAt prototypes, double time, Index steps) {
  const double h = time / static_cast<double>(steps);
  const auto slope = [&](double t, const std::vector<double>& at) {
    std::vector<double> g = layout.gradient(at, rates);
    for (Index s = 0; s < layout.size(); s++)
      g[s] *= -(layout.of_features(s) ? rates.features * features(t) : rates.prototypes * prototypes(t));
    return g;
  };
  const auto ahead = [&](const std::vector<double>& k, double by) {
    std::vector<double> out = x;
    for (size_t s = 0; s < x.size(); s++) out[s] += by * k[s];
    return out;
  };
  for (Index i = 0; i < steps; i++) {
    const double t = static_cast<double>(i) * h;
    const auto k1 = slope(t, x), k2 = slope(t + h / 2, ahead(k1, h / 2)), k3 = slope(t + h / 2, ahead(k2, h / 2));
    const auto k4 = slope(t + h, ahead(k3, h));
    for (size_t s = 0; s < x.size(); s++) x[s] += h / 6 * (k1[s] + 2 * k2[s] + 2 * k3[s] + k4[s]);
  }
  return x;
}

template <class T>
std::vector<double> random_state(const Layout& layout, Random& random) {
  std::vector<double> x(layout.size());
  for (double& value : x) value = static_cast<T>(random.uniform());
  return x;
}

template <class T>
Trajectory<T> trajectory_of(const Layout& layout, const std::vector<double>& x, const Dynamics& dynamics) {
  const Index weights = layout.biases();
  Start<T> start;
  start.features = Buffer<T>(layout.prototypes());
  start.prototypes = Buffer<T>(weights - layout.prototypes());
  std::copy(x.begin(), x.begin() + layout.prototypes(), start.features.get());
  std::copy(x.begin() + layout.prototypes(), x.begin() + weights, start.prototypes.get());
  start.biases.assign(x.begin() + weights, x.end());
  start.labels = layout.of.labels;
  start.dim = layout.of.p;
  return Trajectory<T>(std::move(start), layout.of.gamma, dynamics, Control());
}

// The trajectory's state and measures at a time must be those of the state x.
template <class T>
void check_state(Trajectory<T>& trajectory, const Layout& layout, const std::vector<double>& x, double time,
                 double relative, const std::string& what) {
  const Problem& of = layout.of;
  const Index n = of.n, classes = of.classes, p = of.p, weights = layout.biases();
  const Array<T> h(n * p), w(classes * p), b(classes);
  const auto size = trajectory.state(time, false, {h.get(), w.get(), b.get()}, Control());
  double largest = 1, square = 0, loss = 0, smallest = INFINITY, correct = 0;
  for (Index s = 0; s < weights; s++) {
    largest = std::max(largest, std::abs(x[s]));
    square += x[s] * x[s];
  }
  for (Index i = 0; i < n; i++) {
    std::vector<double> z(x.begin() + weights, x.end());
    double best = -INFINITY;
    for (Index c = 0; c < classes; c++) {
      for (Index j = 0; j < p; j++) z[c] += x[i * p + j] * x[(n + c) * p + j];
      loss -= of.m(c, i) * z[c];
      if (c != of.labels[i]) best = std::max(best, z[c]);
    }
    smallest = std::min(smallest, z[of.labels[i]] - best);
    correct += z[of.labels[i]] > best;
  }
  const double tolerance = relative * largest, of_logits = tolerance * largest * static_cast<double>(p);
  const auto part = [&](Index from, Index to) { return std::vector<double>(x.begin() + from, x.begin() + to); };
  check_close(distance(h, part(0, layout.prototypes())), 0, tolerance, what + ": features");
  check_close(distance(w, part(layout.prototypes(), weights)), 0, tolerance, what + ": prototypes");
  check_close(distance(b, part(weights, layout.size())), 0, tolerance * (1 + time), what + ": biases");
  check_close(size.log_norm, std::log(square) / 2, tolerance, what + ": log norm");
  double measured_loss = 0, margin = 0, accuracy = 0;
  trajectory.measure({time}, {TrajectoryMeasure::loss, TrajectoryMeasure::minMargin, TrajectoryMeasure::accuracy},
                     {&measured_loss, &margin, &accuracy}, Control());
  check_close(measured_loss, loss, of_logits, what + ": loss");
  check_close(margin, smallest, of_logits, what + ": margin");
  check_close(accuracy, correct / static_cast<double>(n), 0, what + ": accuracy");
}

// Rates that a loop and the engine are told of in their own ways.
double one(double) { return 1; }
double cosine(double k) { return 0.5 * (1 + std::cos(k < 20 ? std::acos(-1.0) * k / 20 : std::acos(-1.0))); }
double warm_steps(double k) { return std::min(1.0, (k + 1) / 6) * (k < 9 ? 1 : k < 21 ? 0.5 : 0.25); }
double exponential(double k) { return 0.8 * std::exp(-k / 15); }

Schedule::Shape shape(Schedule::Shape::Kind kind, double value, double length) {
  Schedule::Shape out;
  out.kind = kind;
  out.value = value;
  out.length = length;
  return out;
}
std::shared_ptr<const Schedule> schedule_of(RateAt rate) {
  using Kind = Schedule::Shape::Kind;
  std::vector<Schedule::Shape> shapes;
  if (rate == cosine) shapes = {shape(Kind::cosine, 1, 20)};
  if (rate == exponential) shapes = {shape(Kind::constant, 0.5, 1), shape(Kind::exponential, 1.6, 15)};
  if (rate == warm_steps) {
    shapes = {shape(Kind::steps, 1, 1)};
    shapes[0].warmup = 6;
    shapes[0].factor = 0.5;
    shapes[0].milestones = {9, 21};
  }
  return std::make_shared<const Schedule>(shapes);
}

LearningRates rates_of(RateAt features, RateAt prototypes) {
  LearningRates out;
  out.features = schedule_of(features);
  if (prototypes != features) out.prototypes = schedule_of(prototypes);
  return out;
}

// Descents by every kind of momentum, decay and schedule, of proportional learning rates and of others.
template <class T>
void descents(const Problem& of, Index steps, Random& random) {
  const Layout layout{of};
  for (const Momentum& momentum : {Momentum{0, false}, Momentum{0.8, false}, Momentum{0.8, true}}) {
    for (const Rates& rates : {Rates{0.7, 0.4, 0, 0}, Rates{0.7, 0.4, 0.05, 0.1}, Rates{0.5, 0, 0.3, 0}}) {
      for (const auto& [features, prototypes] : std::vector<std::pair<RateAt, RateAt>>{
               {one, one}, {cosine, cosine}, {warm_steps, warm_steps}, {exponential, one}, {warm_steps, cosine}}) {
        Dynamics dynamics;
        dynamics.kind = features == prototypes ? Dynamics::Kind::descent : Dynamics::Kind::stepped;
        dynamics.end = Dynamics::End::unknown;
        dynamics.rates = rates;
        dynamics.momentum = momentum;
        const LearningRates learning = rates_of(features, prototypes);
        // `stepped` takes the rates themselves.
        Dynamics told = dynamics;
        LearningRates given = learning;
        if (dynamics.kind == Dynamics::Kind::stepped) {
          const auto listed = [&](RateAt rate, double by) {
            std::vector<double> values;
            for (Index k = 0; k < steps; k++) values.push_back(by * rate(static_cast<double>(k)));
            return std::make_shared<const Schedule>(Schedule::listed(values));
          };
          given.features = listed(features, rates.features);
          given.prototypes = listed(prototypes, rates.prototypes);
          told.rates.features = told.rates.prototypes = 1;
        }
        const std::vector<double> start = random_state<T>(layout, random);
        Trajectory<T> trajectory = trajectory_of<T>(layout, start, told);
        trajectory.rates(given);
        const std::vector<double> x = descended(layout, start, dynamics, features, prototypes, steps);
        check_state(trajectory, layout, x, static_cast<double>(steps), sizeof(T) == 4 ? 1e-5 : 1e-11, "descent");
      }
    }
  }
}

double falling(double t) { return 1 - t / 4; }

// Flows: both sides, prototypes fixed, with and without decay; in closed form, and of rates that are not proportional.
void flows(const Problem& of, Random& random) {
  const Layout layout{of};
  const auto packed = [](double value, double slope) {  // value + slope (t − 1) on [0, 2]
    std::vector<double> piece(Rate::kPieceSize);
    piece[1] = 2, piece[3] = value, piece[4] = slope;
    return std::make_shared<const Rate>(piece);
  };
  for (const Rates& rates : {Rates{0.7, 0.4, 0, 0}, Rates{0.7, 0.4, 0.05, 0.1}, Rates{0.9, 0, 0.3, 0}}) {
    const std::vector<double> start = random_state<double>(layout, random);
    Dynamics dynamics;
    dynamics.rates = rates;
    Trajectory<double> closed = trajectory_of<double>(layout, start, dynamics);
    check_state(closed, layout, flowed(layout, start, rates, one, one, 2, 200), 2, 1e-9, "flow");

    dynamics.kind = Dynamics::Kind::integrated;
    dynamics.end = Dynamics::End::unknown;
    Trajectory<double> integrated = trajectory_of<double>(layout, start, dynamics);
    LearningRates given;
    given.feature_rate = packed(0.75 * rates.features, -0.25 * rates.features);
    given.prototype_rate = packed(rates.prototypes, 0);
    integrated.rates(given);
    check_state(integrated, layout, flowed(layout, start, rates, falling, one, 2, 200), 2, 1e-9, "flow of two rates");
  }
}

struct Far {
  double sigma;
  Rates rates;
  double mu;
  bool nesterov;
  double steps;
  double p[4];  // the propagator, row by row
};

Dynamics dynamics_of(const Far& far) {
  Dynamics out;
  out.kind = Dynamics::Kind::descent;
  out.rates = far.rates;
  out.momentum = {far.mu, far.nesterov};
  return out;
}

Mat2 propagated(Propagator& propagator, double step, const LearningRates& rates) {
  propagator.advance(step, rates, Control());
  Propagation out;
  propagator.read(out);
  return out.pairs[0].p * std::exp(out.pairs[0].log);
}

// Steps that no loop reaches: powers of a step's 4×4 matrix, worked out with 80 digits elsewhere.
void far_steps() {
  const Far cases[] = {
      {0.3,
       {1e-14, 2e-14, 0.0, 0.0},
       0.0,
       false,
       1000000000000000.0,
       {3.48028740333657609085e+01, 2.45991873949356794071e+01, 4.91983747898713588143e+01,
        3.48028740333657609085e+01}},
      {0.3,
       {1e-14, 2e-14, 0.05, 0.1},
       0.9,
       false,
       1000000000000000.0,
       {1.12518709132755000000e+13, 6.67315080484933398438e+12, 1.33463016096986679688e+13,
        7.91529551085083300781e+12}},
      {0.3,
       {1e-14, 2e-14, 0.05, 0.1},
       0.9,
       true,
       1000000000000000.0,
       {1.12518709132852832031e+13, 6.67315080485513574219e+12, 1.33463016097102714844e+13,
        7.91529551085771386719e+12}},
      {0.25,
       {3e-11, 1e-11, 0.25, 0.25},
       0.5,
       true,
       1000000000000.0,
       {2.50000001545865213615e-01, 7.49999998454134786385e-01, 2.49999999484711576958e-01,
        7.50000000515288367531e-01}},
      {0.2,
       {1e-08, 1e-08, 0.0, 0.0},
       0.99,
       false,
       123456789.0,
       {2.64282534681632995605e+10, 2.64282534681632995605e+10, 2.64282534681632995605e+10,
        2.64282534681632995605e+10}},
      {0.0,
       {2e-26, 1e-26, 1.0, 1.0},
       0.9999999999999991,
       false,
       1000000000000000.0,
       {-6.40737302596218749606e-01, 0.00000000000000000000e+00, 0.00000000000000000000e+00,
        5.51333079105716272750e-01}},
      {-0.4,
       {1e-07, 3e-07, 0.02, 0.01},
       0.3,
       false,
       98765432.0,
       {6.22797326010748383851e+03, -3.56986576412931663072e+03, -1.07095972923879489827e+04,
        6.13872661600425090000e+03}},
  };
  for (const Far& far : cases) {
    const Mat2 expected{far.p[0], far.p[1], far.p[2], far.p[3]};
    const auto check_far = [&](Propagator& propagator, const LearningRates& rates, const std::string& what) {
      const Mat2 p = propagated(propagator, far.steps, rates);
      check_close((p - expected).norm(), 0, 1e-13 * expected.norm(), what + ", σ = " + std::to_string(far.sigma));
    };
    check_far(*make_propagator(dynamics_of(far), {{far.sigma, true}}), {}, "a far step");
    // The same with the two learning rates told apart.
    Dynamics stepped = dynamics_of(far);
    stepped.kind = Dynamics::Kind::stepped;
    stepped.end = Dynamics::End::unknown;
    LearningRates rates;
    using Kind = Schedule::Shape::Kind;
    const auto constant = [](double value) {
      return std::make_shared<const Schedule>(std::vector{shape(Kind::constant, value, 1)});
    };
    rates.features = constant(far.rates.features);
    rates.prototypes = constant(far.rates.prototypes);
    check_far(*make_propagator(stepped, {{far.sigma, true}}), rates, "a far step of two rates");
  }
}

// Every step on the way, in extended precision: powers take over where loops end, and a state does not depend on what
// was asked for before.
void steps_on_the_way() {
  const Far far{0.3, {2e-4, 1e-4, 0.05, 0.1}, 0.9, true, 0, {}};
  LearningRates rates;
  std::vector<Schedule::Shape> shapes{shape(Schedule::Shape::Kind::steps, 1, 1)};
  shapes[0].warmup = 100;
  shapes[0].factor = 0.5;
  shapes[0].milestones = {40000, 300000};
  rates.features = std::make_shared<const Schedule>(shapes);
  const std::vector<Index> stops{1,     99,    100,   101,    16383,  16384,  16483,  16484,  39999,
                                 40000, 40001, 57000, 123456, 299999, 300001, 999999, 1000000};
  const auto steady = make_propagator(dynamics_of(far), {{far.sigma, true}});
  const auto in_one_go = [&](Index stop) {
    const auto fresh = make_propagator(dynamics_of(far), {{far.sigma, true}});
    return propagated(*fresh, static_cast<double>(stop), rates);
  };
  long double h = 1, w = 0.5L, u = 0, v = 0;
  Index k = 0;
  for (const Index stop : stops) {
    for (; k < stop; k++) {
      const long double f = std::min(1.0L, (k + 1) / 100.0L) * (k < 40000 ? 1 : k < 300000 ? 0.5L : 0.25L);
      const long double mu = static_cast<long double>(far.mu), sigma = static_cast<long double>(far.sigma);
      const long double pull_h = sigma * w - static_cast<long double>(far.rates.feature_decay) * h;
      const long double pull_w = sigma * h - static_cast<long double>(far.rates.prototype_decay) * w;
      u = mu * u + pull_h, v = mu * v + pull_w;
      h += f * static_cast<long double>(far.rates.features) * (pull_h + mu * u);
      w += f * static_cast<long double>(far.rates.prototypes) * (pull_w + mu * v);
    }
    const Mat2 p = propagated(*steady, static_cast<double>(stop), rates);
    const double size = static_cast<double>(std::abs(h) + std::abs(w));
    const std::string what = "step " + std::to_string(stop);
    check_close(p.hh + 0.5 * p.hw, static_cast<double>(h), 1e-13 * size, what + ": h");
    check_close(p.wh + 0.5 * p.ww, static_cast<double>(w), 1e-13 * size, what + ": w");
    const Mat2 alone = in_one_go(stop);
    check(p.hh == alone.hh && p.hw == alone.hw && p.wh == alone.wh && p.ww == alone.ww,
          what + ": as if asked for alone");
  }
}

// What fades keeps its digits, however far below the range of numbers, and beside what grows.
void fading_far_out() {
  Dynamics dynamics;
  dynamics.kind = Dynamics::Kind::descent;
  dynamics.rates = {0.5, 0.25, 0.5, 0};
  const auto propagator = make_propagator(dynamics, {{0.5, true}, {0.0, false}});
  for (const double steps : {1e3, 1e5, 1e9}) {
    propagator->advance(steps, {}, Control());
    Propagation out;
    propagator->read(out);
    const double decay = std::log1p(-0.25);
    check_close(std::log(out.rest) + out.rest_log, steps * decay, 1e-12 * steps, "the rest far out");
    check_close(std::log(std::abs(out.pairs[1].p.hh)) + out.pairs[1].log, steps * decay, 1e-12 * steps, "slow far out");
    check_close(out.gain, 0.25 * steps, 1e-12 * steps, "biases far out");
    check(out.keep == 1 && out.pairs[0].log > 0, "what grows beside it");
  }
}

// Where nothing moves any more, later steps cost nothing; and a state far out is the one at the end.
void frozen_end() {
  Far far{0.3, {0.02, 0.01, 0, 0}, 0.5, false, 0, {}};
  Dynamics dynamics = dynamics_of(far);
  dynamics.end = Dynamics::End::frozen;
  dynamics.end_time = 20;
  const auto at = [&](double step) {
    const auto propagator = make_propagator(dynamics, {{far.sigma, true}});
    return propagated(*propagator, step, rates_of(cosine, cosine));
  };
  const Mat2 end = at(20), later = at(9e15);
  check((end - later).norm() == 0 && (end - at(19)).norm() > 0, "frozen from the end of the schedule on");
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
  Dynamics dynamics;
  dynamics.rates = {0.6, 1.4, 0.02, 0.05};
  const std::vector<Mode> modes{{0.3, true}, {0.05, true}, {0.0, true}, {-0.2, true}};
  const auto closed = make_propagator(dynamics, modes);
  dynamics.kind = Dynamics::Kind::integrated;
  dynamics.end = Dynamics::End::unknown;
  const auto integrated = make_propagator(dynamics, modes);
  LearningRates rates;
  rates.feature_rate = rate(0.6);
  rates.prototype_rate = rate(1.4);
  for (const double t : {0.0, 0.7, 2.0, 2.1, 31.0, 50.0}) {
    closed->advance(rates.feature_rate->integral(t) / 0.6, rates, Control());
    integrated->advance(t, rates, Control());
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
        descents<double>(of, 30, random);
        descents<float>(of, 9, random);
        flows(of, random);
      }
    }
  }
  modes_factor(problem(1000, 40, 33, 0.02, false, random), random);
  descents<double>(problem(300, 5, 17, 0.2, false, random), 3, random);
  integrated_equals_closed(random);
  far_steps();
  steps_on_the_way();
  fading_far_out();
  frozen_end();
  return failures();
}
