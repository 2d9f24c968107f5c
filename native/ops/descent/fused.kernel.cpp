#include "ops/descent/fused.h"

namespace lp::LP_ISA {

namespace {

enum class Kind { plain, momentum, nesterov };

template <Kind kind, class T>
inline void move(T& x, T& velocity, T ascent, T rate, T decay, T momentum) {
  const T d = ascent - decay * x;
  if constexpr (kind == Kind::plain) {
    x += rate * d;
  } else {
    velocity = momentum * velocity + d;
    x += rate * (kind == Kind::nesterov ? d + momentum * velocity : velocity);
  }
}

// There is no velocity without momentum.
template <Kind kind, class T>
T* at(T* velocity, Index offset) {
  return kind == Kind::plain ? nullptr : velocity + offset;
}

// Columns [begin, end) of `Rows` rows at once, so that `ascent` and `sum` are read, and `sum` is written, once for all.
template <Kind kind, int Rows, class T>
inline __attribute__((always_inline)) void move_block(T* h, T* velocity, const T* ascent, Index p, Index begin,
                                                      Index end, T rate, T decay, T momentum, double* sum) {
#pragma omp simd
  for (Index j = begin; j < end; j++) {
    double total = sum[j];
    for (int r = 0; r < Rows; r++) {
      T x = h[r * p + j], v = kind == Kind::plain ? T(0) : velocity[r * p + j];
      move<kind>(x, v, ascent[j], rate, decay, momentum);
      h[r * p + j] = x;
      if constexpr (kind != Kind::plain) velocity[r * p + j] = v;
      total += static_cast<double>(x);
    }
    sum[j] = total;
  }
}

template <Kind kind, int Rows, class T>
void move_rows(T* h, T* velocity, const T* ascent, Index p, T rate, T decay, T momentum, double* sum) {
  constexpr Index kLine = 64 / sizeof(T);
  Index j = 0;
  for (; j + kLine <= p; j += kLine) {
    for (int r = 0; r < Rows; r++) {
      __builtin_prefetch(h + (Rows + r) * p + j, 1);
      if constexpr (kind != Kind::plain) __builtin_prefetch(velocity + (Rows + r) * p + j, 1);
    }
    move_block<kind, Rows>(h, velocity, ascent, p, j, j + kLine, rate, decay, momentum, sum);
  }
  move_block<kind, Rows>(h, velocity, ascent, p, j, p, rate, decay, momentum, sum);
}

template <Kind kind, class T>
void step_rows_of(T* h, T* velocity, const T* ascent, Index count, Index p, const StepFactors& factors, double* sum) {
  const T rate = static_cast<T>(factors.rate), decay = static_cast<T>(factors.decay);
  const T momentum = static_cast<T>(factors.momentum);
  for (Index j = 0; j < p; j++) sum[j] = 0;
  Index i = 0;
  for (; i + 4 <= count; i += 4) {
    move_rows<kind, 4>(h + i * p, at<kind>(velocity, i * p), ascent, p, rate, decay, momentum, sum);
  }
  for (; i < count; i++) {
    move_rows<kind, 1>(h + i * p, at<kind>(velocity, i * p), ascent, p, rate, decay, momentum, sum);
  }
}

template <Kind kind, class T>
void step_columns_of(T* w, T* velocity, const double* sums, T* ascent, Index classes, Index p, Index begin, Index end,
                     Index samples, double gamma, const StepFactors& factors, double* scratch) {
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
    T *x = w + c * p + begin, *v = at<kind>(velocity, c * p + begin);
#pragma omp simd
    for (Index j = 0; j < width; j++) {
      const double product = own * row[j] - all * scratch[j];
      T velocity_j = kind == Kind::plain ? T(0) : v[j];
      move<kind>(x[j], velocity_j, static_cast<T>(product), rate, decay, momentum);
      if constexpr (kind != Kind::plain) v[j] = velocity_j;
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
    T* out = ascent + c * p + begin;
#pragma omp simd
    for (Index j = 0; j < width; j++) {
      out[j] = static_cast<T>(own * static_cast<double>(x[j]) - all * scratch[j]);
    }
  }
}

Kind kind_of(const StepFactors& factors) {
  if (factors.momentum == 0) return Kind::plain;
  return factors.nesterov ? Kind::nesterov : Kind::momentum;
}

}  // namespace

template <class T>
void step_rows(T* h, T* velocity, const T* ascent, Index count, Index p, const StepFactors& factors, double* sum) {
  switch (kind_of(factors)) {
    case Kind::plain:
      return step_rows_of<Kind::plain>(h, velocity, ascent, count, p, factors, sum);
    case Kind::momentum:
      return step_rows_of<Kind::momentum>(h, velocity, ascent, count, p, factors, sum);
    case Kind::nesterov:
      return step_rows_of<Kind::nesterov>(h, velocity, ascent, count, p, factors, sum);
  }
}

template <class T>
void step_columns(T* w, T* velocity, const double* sums, T* ascent, Index classes, Index p, Index begin, Index end,
                  Index samples, double gamma, const StepFactors& factors, double* scratch) {
  const auto step = [&]<Kind kind>() {
    step_columns_of<kind>(w, velocity, sums, ascent, classes, p, begin, end, samples, gamma, factors, scratch);
  };
  switch (kind_of(factors)) {
    case Kind::plain:
      return step.template operator()<Kind::plain>();
    case Kind::momentum:
      return step.template operator()<Kind::momentum>();
    case Kind::nesterov:
      return step.template operator()<Kind::nesterov>();
  }
}

template void step_rows(float*, float*, const float*, Index, Index, const StepFactors&, double*);
template void step_rows(double*, double*, const double*, Index, Index, const StepFactors&, double*);
template void step_columns(float*, float*, const double*, float*, Index, Index, Index, Index, Index, double,
                           const StepFactors&, double*);
template void step_columns(double*, double*, const double*, double*, Index, Index, Index, Index, Index, double,
                           const StepFactors&, double*);

}  // namespace lp::LP_ISA
