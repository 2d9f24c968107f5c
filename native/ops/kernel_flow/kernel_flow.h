// Flow of the features under a constant neural tangent kernel (UL Thm 8), prototypes and biases trained beside them.
// ζ = ∫ η is the flow's own time.
//
// The kernel K = ∇H ∇Hᵀ is symmetric and positive semidefinite, on the row-major vector of the features (np, np), or
// (n, n) and then acting on every coordinate alike. Either way features are taken as a matrix (N, q): N = n, q = p for
// an (n, n) kernel, N = np, q = 1 for an (np, np) one; K acts on its columns. Prototypes are then (m, q), m = C or Cp.
//
// Unhinged loss. With A = Mᵀ, or Mᵀ ⊗ I_p, the flow is linear, H' = K A W, W' = Aᵀ H, so W'' = G W, G = Aᵀ K A (m, m):
// only this is decomposed, whatever N is. In its eigenvectors, one a row of V, with ω = √g and the parts w = V W0,
// h = V Aᵀ H0,
//
//     W = Vᵀ (cosh(ωζ) w + sinh(ωζ)/ω h)
//     H = H0 + K A Vᵀ (sinh(ωζ)/ω w + (cosh(ωζ) − 1)/ω² h)
//
// MSE loss, L = ‖H Wᵀ + 1bᵀ − Yᵀ‖²_F/n (UL Eq. 25, along the descent): with the residual E = H Wᵀ + 1bᵀ − Yᵀ,
//
//     H' = −(2/n) K (E W)      W' = −(2/n) Eᵀ H      b' = −(2/n) Eᵀ 1
//
// integrated by the Runge-Kutta pair of Dormand and Prince of order 8(5,3).
#pragma once

#include "core/array.h"
#include "core/control.h"
#include "core/integrator.h"

namespace lp {

// Throws LP_NOT_FINITE, LP_OPTION unless the kernel is symmetric and positive semidefinite to `tolerance` times its
// largest diagonal entry.
void check_kernel(Matrix<const double> kernel, double tolerance, const Control& control);

struct KernelModes {
  Matrix<double> reach;            // (N, m)  K A
  Matrix<double> vectors;          // (m, m)  V
  double* values;                  // (m)     g, ascending, none negative
  Matrix<double> prototype_parts;  // (m, q)  w
  Matrix<double> feature_parts;    // (m, q)  h
};

// Throws LP_NOT_FINITE if the state is not finite.
void kernel_modes(Matrix<const double> kernel, const State<const double>& state, double gamma, const KernelModes& out,
                  const Control& control);

// H = initial · H0 + reach Vᵀ (rise w + lift h),  W = Vᵀ (grow w + rise h); each coefficient (m).
struct KernelCoefficients {
  double initial;
  const double *grow, *rise, *lift;
};

// features (N, q) and prototypes (m, q).
void kernel_combine(Matrix<const double> features, const KernelModes& modes, const KernelCoefficients& coefficients,
                    Matrix<double> out_features, Matrix<double> out_prototypes, const Control& control);

// Moves z = (H, W, b), one after the other in memory and b only if `biased`, from ζ = `from` to `to`, which may be
// Infinity. `step` is the first step's length, or 0. Throws LP_NOT_FINITE if z is not finite, LP_OVERFLOW where the
// flow leaves the range of doubles.
Integrator::Outcome kernel_mse(Matrix<const double> kernel, const int32_t* labels, Index samples, Index classes,
                               Index dim, bool biased, double* z, double from, double to, double step, double tolerance,
                               Index max_steps, const Control& control);

}  // namespace lp
