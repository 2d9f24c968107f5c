// The structured products: what a gradient step under the unhinged loss adds. With the loss ⟨−M, W Hᵀ⟩ − ⟨m, b⟩ (UL
// Eq. 1, a mean over samples), M = ((1+γ) Y − γ 11ᵀ)/n and n_c samples in class c,
//
//   (MᵀW)_i = ((1+γ) w_{y_i} − γ Σ_c w_c)/n       (n, p)   = −∂L/∂H
//   (M H)_c = ((1+γ) S_c − γ Σ_i h_i)/n           (C, p)   = −∂L/∂W
//   m_c     = ((1+γ) n_c − γ n)/n                 (C)      = −∂L/∂b
//
// M is never formed: all three are the same contrast of what each class holds, at a cost of O(p (n + C)).
#pragma once

#include "core/array.h"
#include "core/control.h"
#include "core/device.h"

namespace lp {

// out_c = ((1+γ) x_c − γ Σ_d x_d)/n for x, out (C, p).
template <class T>
void contrast(Matrix<const T> x, double gamma, Index samples, Matrix<double> out);

// −gradient (n, p), (C, p), (C). Throws LP_NOT_FINITE.
template <class T>
void products(const State<const T>& state, double gamma, const State<T>& out, const Control& control);

namespace cuda {

template <class T>
void contrast(Job& job, Matrix<const T> x, double gamma, Index samples, Matrix<double> out);

template <class T>
void products(Job& job, const State<const T>& state, double gamma, const State<T>& out);

}  // namespace cuda

}  // namespace lp
