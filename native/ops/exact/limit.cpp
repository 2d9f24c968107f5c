// Where a trajectory goes (UL Cors. 3 and 5, corrected, for any class sizes, decay and optimizer). From the end of what
// varies on the state is a sum of parts, each multiplied by e^{exponent t}: of every group the part along the fast
// eigenvector of its A and what remains of it, and the rest. The largest exponent among the parts that the start has
// wins; the next one says how fast. A flow's exponent is the eigenvalue α itself, a descent's log |z|, z the larger
// root of its recurrence.
#include <algorithm>
#include <cmath>

#include "ops/exact/trajectory.h"

namespace lp {
namespace {

struct Part {
  Index group;  // −1: the rest
  bool fast;    // along the fast eigenvector
  double alpha;
  bool polynomial = false;
  Mat2 skeleton{};
  double rest = 0;
  Mat2 map{};  // makes it of the group
  double exponent = 0;
  bool oscillates = false;
};

// Growth of a step's recurrence at eigenvalue α, with momentum μ and a = f α: z = 1 + δ solves δ² + b δ − a = 0,
// b = 1 − μ − a (heavy ball), 1 − μ − (1 + μ) a (Nesterov). Written in δ it is exact for small steps.
void grow_in_steps(Part& part, const Dynamics& dynamics) {
  const double a = dynamics.end_factor * part.alpha, mu = dynamics.momentum.mu;
  const double b = 1 - mu - (dynamics.momentum.nesterov ? 1 + mu : 1) * a;
  const double discriminant = b * b + 4 * a;
  if (discriminant < 0) {
    // A conjugate pair: |z|² is the recurrence's determinant.
    part.exponent = std::log(mu * (dynamics.momentum.nesterov ? 1 + a : 1)) / 2;
    part.oscillates = true;
    return;
  }
  const double root = std::sqrt(discriminant);
  const double far = -(b >= 0 ? b + root : b - root) / 2, near = far == 0 ? 0 : -a / far;
  double delta = std::abs(1 + far) > std::abs(1 + near) ? far : near;
  part.oscillates = delta < -1;
  part.exponent = delta > -1 ? std::log1p(delta) : std::log(-(1 + delta));
}

// Eigenvalues that differ by rounding alone are made equal, so that equal exponents are found to be so.
void join_close(std::vector<Part>& parts, double scale) {
  std::vector<Part*> order;
  for (Part& part : parts) order.push_back(&part);
  std::sort(order.begin(), order.end(), [](const Part* a, const Part* b) { return a->alpha < b->alpha; });
  const double tolerance = 64 * std::numeric_limits<double>::epsilon() * scale;
  for (size_t i = 0; i < order.size();) {
    size_t end = i + 1;
    while (end < order.size() && order[end]->alpha - order[end - 1]->alpha <= tolerance) end++;
    double joint = order[i]->alpha;
    for (size_t j = i; j < end; j++)
      if (std::abs(order[j]->alpha) < std::abs(joint)) joint = order[j]->alpha;
    if (std::abs(joint) <= tolerance) joint = 0;
    for (; i < end; i++) order[i]->alpha = joint;
  }
}

Skeleton normalized(Skeleton skeleton) {
  const double norm = std::sqrt(skeleton.square());
  for (Mat2& group : skeleton.groups) group = group * (1 / norm);
  skeleton.rest /= norm;
  return skeleton;
}

}  // namespace

template <class T>
std::unique_ptr<Limit> Trajectory<T>::find_limit(const Control& control) {
  auto limit = std::make_unique<Limit>();
  const size_t groups = pairs_.size();
  const bool steps = dynamics_.kind == Dynamics::Kind::descent || dynamics_.kind == Dynamics::Kind::stepped;
  const bool restarted = dynamics_.kind == Dynamics::Kind::integrated || dynamics_.kind == Dynamics::Kind::stepped ||
                         dynamics_.end == Dynamics::End::frozen;
  Propagation begin;
  if (restarted) {
    begin = propagate(dynamics_.end_time, control);
  } else {
    make_propagator(dynamics_, pairs_)->read(begin);
  }
  const Skeleton origin = skeleton(begin);
  const double norm = std::sqrt(origin.square());
  limit->reference.leads.resize(groups);
  limit->reference.remainder.resize(groups);
  limit->map = begin;
  if (dynamics_.end == Dynamics::End::frozen || !(norm > 0)) {
    limit->kind = Limit::Kind::frozen;
    limit->reference.unit = normalized(origin);
    limit->norm = {norm, origin.log};
    limit->rate = std::numeric_limits<double>::infinity();
    return limit;
  }

  std::vector<Part> parts;
  double scale = std::abs(dynamics_.rates.features * dynamics_.rates.feature_decay);
  for (size_t g = 0; g < groups; g++) {
    const Mat2& start = origin.groups[g];
    const Pair pair(modes_.sigma[g], dynamics_.rates);
    scale = std::max({scale, std::abs(pair.slow), std::abs(pair.fast)});
    const double size = start.norm();
    if (size <= kRounding<T> * norm) continue;
    const Index group = static_cast<Index>(g);
    const Mat2 rise = pair.lift * start;
    const bool lifted = restarted ? rise.norm() > kRounding<T> * pair.lift.norm() * size : pairs_[g].lifted;
    if (!lifted) {
      parts.push_back({group, false, pair.slow, false, start, 0, scalar(1)});
      continue;
    }
    const Mat2 map = pair.lift * (pair.gap > 0 ? 1 / pair.gap : 1);
    const Mat2 rest_map = pair.gap > 0 ? scalar(1) - map : scalar(1);
    parts.push_back({group, true, pair.fast, pair.gap == 0, map * start, 0, map});
    if ((rest_map * start).norm() > kRounding<T> * size)
      parts.push_back({group, false, pair.slow, false, rest_map * start, 0, rest_map});
  }
  if (origin.rest > kRounding<T> * norm)
    parts.push_back({-1, false, -dynamics_.rates.feature_decay * dynamics_.rates.features, false, {}, origin.rest});

  join_close(parts, scale);
  for (Part& part : parts) {
    part.exponent = part.alpha;
    if (steps) grow_in_steps(part, dynamics_);
  }
  const auto order = [](const Part& a, const Part& b) {
    return a.exponent != b.exponent ? a.exponent < b.exponent : a.polynomial < b.polynomial;
  };
  const Part& first = *std::max_element(parts.begin(), parts.end(), order);
  const auto leads = [&](const Part& part) {
    return part.exponent == first.exponent && part.polynomial == first.polynomial;
  };
  limit->exponent = first.exponent;
  limit->polynomial = first.polynomial;
  limit->rate = std::numeric_limits<double>::infinity();

  Skeleton lead;
  lead.groups.resize(groups);
  for (PairPropagator& pair : limit->map.pairs) pair.p = {};
  limit->map.rest = 0;
  for (const Part& part : parts) {
    if (!leads(part)) {
      limit->rate = std::min(limit->rate, first.exponent - part.exponent);
      continue;
    }
    if (part.oscillates) limit->kind = Limit::Kind::oscillating;
    if (part.group < 0) {
      limit->rest = limit->reference.rest_leads = true;
      limit->map.rest = begin.rest;
      lead.rest = part.rest;
      continue;
    }
    (part.group < modes_.sizes() ? limit->within : limit->between) = true;
    limit->reference.leads[part.group] = true;
    lead.groups[part.group] = lead.groups[part.group] + part.skeleton;
    Mat2& map = limit->map.pairs[part.group].p;
    map = map + part.map * begin.pairs[part.group].p;
  }
  for (const Part& part : parts) {
    // What of a leading group does not lead, as F(slow) multiplies it.
    if (part.group < 0 || leads(part) || !limit->reference.leads[part.group]) continue;
    limit->reference.remainder[part.group] = part.map * begin.pairs[part.group].p * origin_.groups[part.group];
  }
  const double length = std::sqrt(lead.square());
  limit->norm = {length, origin.log};
  limit->reference.unit = normalized(std::move(lead));
  // What becomes of the biases: keep and gain in the end.
  const double pull = dynamics_.rates.prototypes, decay = dynamics_.rates.prototype_decay;
  if (pull > 0) {
    limit->map.keep = decay > 0 ? 0 : 1;
    limit->map.gain = decay > 0 ? 1 / decay : std::numeric_limits<double>::infinity();
  }
  return limit;
}

template <class T>
std::shared_ptr<const Limit> Trajectory<T>::limit(const Control& control) {
  {
    std::lock_guard lock(mutex_);
    if (limit_) return limit_;
  }
  std::shared_ptr<const Limit> found = find_limit(control);
  std::lock_guard lock(mutex_);
  return limit_ = found;
}

template <class T>
void Trajectory<T>::limit_state(const Limit& limit, bool unit, const StateOut<T>& out, const Control& control) const {
  write(limit.map, unit ? &limit.norm : nullptr, out, control);
}

// Z̄ of UL Cors. 3 and 5: of the differences between balanced classes the part along the fast eigenvector.
template <class T>
Reference Trajectory<T>::aligned() const {
  Reference out;
  const Pair pair(modes_.sigma[0], dynamics_.rates);
  const Mat2& start = origin_.groups[0];
  const Mat2 map = pair.lift * (pair.gap > 0 ? 1 / pair.gap : 1);
  out.unit.groups.resize(pairs_.size());
  out.remainder.resize(pairs_.size());
  out.leads.resize(pairs_.size());
  if (pairs_[0].lifted) {
    out.unit.groups[0] = map * start;
    out.remainder[0] = (pair.gap > 0 ? scalar(1) - map : scalar(1)) * start;
    out.leads[0] = true;
  }
  out.unit = normalized(std::move(out.unit));
  return out;
}

// ‖Z/‖Z‖ − N‖ for a unit N. With X the state without its part along N (as a whole: it may be all of the state but
// rounding), X⊥ = X − ⟨N, X⟩ N, a = ⟨N, Z⟩ and ‖Z‖² = a² + ‖X⊥‖²:
//   ‖Z/‖Z‖ − N‖² = ‖X⊥‖²/‖Z‖² + (1 − a/‖Z‖)²,   1 − a/‖Z‖ = ‖X⊥‖²/(‖Z‖ (‖Z‖ + a)) where a > 0
// X is over its own size, which falls behind that of Z without end.
template <class T>
Scaled Trajectory<T>::distance(const Reference& to, const Propagation& at, const Parts& parts, const Skeleton& state,
                               Apart& apart) const {
  const size_t groups = state.groups.size();
  auto& [left, x] = apart;
  left = parts;
  if (to.rest_leads && at.pairs[0].slow != 0) left.rest = 0;
  for (size_t g = 0; g < groups; g++) {
    const PairPropagator& pair = at.pairs[g];
    if (!to.leads[g] || pair.slow == 0) continue;
    left.groups[g] = to.remainder[g] * pair.slow;
    left.logs[g] = pair.slow_log;
  }
  left.gather(x);
  double along = to.unit.rest * x.rest, along_state = to.unit.rest * state.rest;
  for (size_t g = 0; g < groups; g++) {
    along += to.unit.groups[g].dot(x.groups[g]);
    along_state += to.unit.groups[g].dot(state.groups[g]);
  }
  const double rest_across = x.rest - along * to.unit.rest;
  double across = rest_across * rest_across;
  for (size_t g = 0; g < groups; g++) {
    const Mat2 part = x.groups[g] - to.unit.groups[g] * along;
    across += part.dot(part);
  }
  if (across == 0 && x.square() == 0) return {};
  const double square = state.square(), norm = std::sqrt(square), size = weight(x.log - state.log);
  const double short_by =
      along_state > 0 ? size * across / (norm * (norm + along_state)) : (1 - along_state / norm) / size;
  return {std::sqrt(across / square + short_by * short_by), x.log - state.log};
}

#define LP_INSTANTIATE(T)                                                                                              \
  template std::shared_ptr<const Limit> Trajectory<T>::limit(const Control&);                                          \
  template void Trajectory<T>::limit_state(const Limit&, bool, const StateOut<T>&, const Control&) const;              \
  template Reference Trajectory<T>::aligned() const;                                                                   \
  template Scaled Trajectory<T>::distance(const Reference&, const Propagation&, const Parts&, const Skeleton&, Apart&) \
      const;
LP_INSTANTIATE(float)
LP_INSTANTIATE(double)

}  // namespace lp
