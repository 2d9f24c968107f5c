#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/cross_entropy/margins.h"

namespace lp {
namespace {

double dot(const double* x, const double* y, Index p) {
  double sum = 0;
  for (Index j = 0; j < p; j++) sum += x[j] * y[j];
  return sum;
}

// p_ij of a sample.
std::vector<double> softmax(const State<const double>& state, Index i) {
  std::vector<double> z(state.classes());
  for (Index c = 0; c < state.classes(); c++) {
    z[c] = dot(state.features.row(i), state.prototypes.row(c), state.dim());
  }
  const double most = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (double& x : z) sum += x = std::exp(x - most);
  for (double& x : z) x /= sum;
  return z;
}

// Adds g_ic of a sample to both products: oh_i += Σ_c g_ic w_c, ow_c += g_ic h_i.
void add(const std::vector<double>& g, Index i, Matrix<const double> h, Matrix<const double> w, Matrix<double> oh,
         Matrix<double> ow) {
  for (Index c = 0; c < w.rows; c++) {
    for (Index j = 0; j < w.cols; j++) {
      oh(i, j) += g[c] * w(c, j);
      ow(c, j) += g[c] * h(i, j);
    }
  }
}

void clear(Matrix<double> x) { std::fill_n(x.data, x.size(), 0.0); }

}  // namespace

void margins_ref(const State<const double>& state, double* q) {
  for (Index i = 0; i < state.samples(); i++) {
    const double* h = state.features.row(i);
    const Index y = state.labels[i];
    q[i] = std::numeric_limits<double>::infinity();
    for (Index c = 0; c < state.classes(); c++) {
      if (c == y) continue;
      const double gap = dot(h, state.prototypes.row(y), state.dim()) - dot(h, state.prototypes.row(c), state.dim());
      q[i] = std::min(q[i], gap);
    }
  }
}

double slope_ref(const State<const double>& state, Matrix<double> oh, Matrix<double> ow) {
  clear(oh);
  clear(ow);
  double loss = 0;
  for (Index i = 0; i < state.samples(); i++) {
    auto g = softmax(state, i);
    loss -= std::log(g[state.labels[i]]);
    g[state.labels[i]] -= 1;
    add(g, i, state.features, state.prototypes, oh, ow);
  }
  return loss;
}

void bend_ref(const State<const double>& state, Matrix<const double> vh, Matrix<const double> vw, Matrix<double> oh,
              Matrix<double> ow) {
  clear(oh);
  clear(ow);
  const Index classes = state.classes(), p = state.dim();
  for (Index i = 0; i < state.samples(); i++) {
    auto g = softmax(state, i);
    std::vector<double> change(classes);
    double mean = 0;
    for (Index c = 0; c < classes; c++) {
      change[c] = dot(vh.row(i), state.prototypes.row(c), p) + dot(state.features.row(i), vw.row(c), p);
      mean += g[c] * change[c];
    }
    for (Index c = 0; c < classes; c++) change[c] = g[c] * (change[c] - mean);
    add(change, i, state.features, state.prototypes, oh, ow);
    g[state.labels[i]] -= 1;
    add(g, i, vh, vw, oh, ow);
  }
}

}  // namespace lp
