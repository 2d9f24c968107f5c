#include "ops/descent/fused.h"

#include "ops/descent/move-inl.h"

namespace lp::LP_ISA {

namespace {

// There is no velocity without momentum.
template <Rule rule, class T>
T* at(T* velocity, Index offset) {
  return rule == Rule::plain ? nullptr : velocity + offset;
}

// Columns [begin, end) of `Rows` rows at once, so that g and `sum` are read, and `sum` is written, once for all.
template <Rule rule, int Rows, class T>
inline __attribute__((always_inline)) void move_block(T* h, T* velocity, const T* g, Index p, Index begin, Index end,
                                                      T rate, T decay, T momentum, double* sum) {
#pragma omp simd
  for (Index j = begin; j < end; j++) {
    double total = sum[j];
    for (int r = 0; r < Rows; r++) {
      T x = h[r * p + j], v = rule == Rule::plain ? T(0) : velocity[r * p + j];
      move_by<rule>(x, v, g[j], rate, decay, momentum);
      h[r * p + j] = x;
      if constexpr (rule != Rule::plain) velocity[r * p + j] = v;
      total += static_cast<double>(x);
    }
    sum[j] = total;
  }
}

template <Rule rule, int Rows, class T>
void move_rows(T* h, T* velocity, const T* g, Index p, T rate, T decay, T momentum, double* sum) {
  constexpr Index kLine = 64 / sizeof(T);
  Index j = 0;
  for (; j + kLine <= p; j += kLine) {
    for (int r = 0; r < Rows; r++) {
      __builtin_prefetch(h + (Rows + r) * p + j, 1);
      if constexpr (rule != Rule::plain) __builtin_prefetch(velocity + (Rows + r) * p + j, 1);
    }
    move_block<rule, Rows>(h, velocity, g, p, j, j + kLine, rate, decay, momentum, sum);
  }
  move_block<rule, Rows>(h, velocity, g, p, j, p, rate, decay, momentum, sum);
}

template <Rule rule, class T>
void step_rows_of(T* h, T* velocity, const T* g, Index count, Index p, const MoveFactors& factors, double* sum) {
  const T rate = static_cast<T>(factors.rate), decay = static_cast<T>(factors.decay);
  const T momentum = static_cast<T>(factors.momentum);
  for (Index j = 0; j < p; j++) sum[j] = 0;
  Index i = 0;
  for (; i + 4 <= count; i += 4) {
    move_rows<rule, 4>(h + i * p, at<rule>(velocity, i * p), g, p, rate, decay, momentum, sum);
  }
  for (; i < count; i++) {
    move_rows<rule, 1>(h + i * p, at<rule>(velocity, i * p), g, p, rate, decay, momentum, sum);
  }
}

template <Rule rule, class T>
void step_columns_of(T* w, T* velocity, const double* sums, T* gradient, Index classes, Index p, Index begin, Index end,
                     Index samples, double gamma, const MoveFactors& factors, double* scratch) {
  const Index width = end - begin;
  const double own = (1 + gamma) / static_cast<double>(samples), all = gamma / static_cast<double>(samples);
  for (Index j = 0; j < width; j++) scratch[j] = 0;
  for (Index c = 0; c < classes; c++) {
    const double* row = sums + c * p + begin;
#pragma omp simd
    for (Index j = 0; j < width; j++) scratch[j] += row[j];
  }
  const T rate = static_cast<T>(factors.rate), decay = static_cast<T>(factors.decay);
  const T momentum = static_cast<T>(factors.momentum);
  for (Index c = 0; c < classes; c++) {
    const double* row = sums + c * p + begin;
    T *x = w + c * p + begin, *v = at<rule>(velocity, c * p + begin);
#pragma omp simd
    for (Index j = 0; j < width; j++) {
      const T g = static_cast<T>(all * scratch[j] - own * row[j]);
      T velocity_j = rule == Rule::plain ? T(0) : v[j];
      move_by<rule>(x[j], velocity_j, g, rate, decay, momentum);
      if constexpr (rule != Rule::plain) v[j] = velocity_j;
    }
  }
  for (Index j = 0; j < width; j++) scratch[j] = 0;
  for (Index c = 0; c < classes; c++) {
    const T* x = w + c * p + begin;
#pragma omp simd
    for (Index j = 0; j < width; j++) scratch[j] += static_cast<double>(x[j]);
  }
  for (Index c = 0; c < classes; c++) {
    const T* x = w + c * p + begin;
    T* out = gradient + c * p + begin;
#pragma omp simd
    for (Index j = 0; j < width; j++) {
      out[j] = static_cast<T>(all * scratch[j] - own * static_cast<double>(x[j]));
    }
  }
}

}  // namespace

template <class T>
void step_rows(T* h, T* velocity, const T* g, Index count, Index p, const MoveFactors& factors, double* sum) {
  with_rule(factors, [&]<Rule rule>() { step_rows_of<rule>(h, velocity, g, count, p, factors, sum); });
}

template <class T>
void step_columns(T* w, T* velocity, const double* sums, T* gradient, Index classes, Index p, Index begin, Index end,
                  Index samples, double gamma, const MoveFactors& factors, double* scratch) {
  with_rule(factors, [&]<Rule rule>() {
    step_columns_of<rule>(w, velocity, sums, gradient, classes, p, begin, end, samples, gamma, factors, scratch);
  });
}

template void step_rows(float*, float*, const float*, Index, Index, const MoveFactors&, double*);
template void step_rows(double*, double*, const double*, Index, Index, const MoveFactors&, double*);
template void step_columns(float*, float*, const double*, float*, Index, Index, Index, Index, Index, double,
                           const MoveFactors&, double*);
template void step_columns(double*, double*, const double*, double*, Index, Index, Index, Index, Index, double,
                           const MoveFactors&, double*);

}  // namespace lp::LP_ISA
