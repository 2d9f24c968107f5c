// Products and norms of vectors, accumulated in double whatever their type, and without regard to how many threads
// there are.
//
// Of float no square under- or overflows in double; of double those beyond about 1e±154 do. `norm` is right there too.
#pragma once

#include "core/array.h"
#include "core/dispatch.h"

// The kernels, which other kernels call as they are: xᵀy, Σ x², Σ (x − y)². X and Y: float and float, double and
// double, or float and double.
LP_DECLARE(template <class X, class Y> double dot(const X* x, const Y* y, Index size);
           template <class T> double squared_norm(const T* x, Index size);
           template <class X, class Y> double squared_distance(const X* x, const Y* y, Index size);)

namespace lp {

template <class X, class Y>
double dot(const X* x, const Y* y, Index size) {
  return LP_SELECT(dot<X, Y>)(x, y, size);
}

template <class T>
double squared_norm(const T* x, Index size) {
  return LP_SELECT(squared_norm<T>)(x, size);
}

template <class X, class Y>
double squared_distance(const X* x, const Y* y, Index size) {
  return LP_SELECT(squared_distance<X, Y>)(x, y, size);
}

// ‖x‖. Where squares leave the range of a double, x is divided by the power of two of its largest element, which is
// exact.
template <class T>
double norm(const T* x, Index size);

}  // namespace lp
