// A step of the usual SGD optimizer, with u = −v in place of its velocity: u ← μ u + g, x ← x + f u, or with Nesterov's
// momentum x ← x + f (g + μ u), where g is what pulls at x and f the learning rate.
#pragma once

namespace lp {

struct Momentum {
  double mu = 0;
  bool nesterov = false;

  // In any type of numbers.
  template <class N>
  void move(N& x, N& u, N pull, double f) const {
    u = N(mu) * u + pull;
    x = x + N(f) * (nesterov ? pull + N(mu) * u : u);
  }
};

}  // namespace lp
