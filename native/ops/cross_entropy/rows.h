// The kernels of margins, of one row of logits z (classes): see margins.h, core/dispatch.h.
#pragma once

#include "core/array.h"
#include "core/dispatch.h"

namespace lp {

struct RowMargin {
  double margin;  // q = z_y − max_{j≠y} z_j
  double sum;     // e^{q} Σ_{j≠y} e^{−s_j}: from 1 to classes − 1
};

// How a row of logits becomes shares: p_j/L = exp((z_j − z_y + lift) − offset). Lift and z_y − z_j may be so large
// that nothing is left of the digits of offset beside either; it is added to their sum.
struct RowScale {
  double lift, offset;
};

}  // namespace lp

LP_DECLARE(RowMargin margin_of_row(const double* z, Index classes, Index label);)

// z turns into its shares p_j/L, 0 at the label. Returns their sum.
LP_DECLARE(double share_row(double* z, Index classes, Index label, RowScale scale);)

// Ż turns into Ġ: ġ_j = g_j (ż_j − ż_y − L Σ_k g_k (ż_k − ż_y)), g_y = 0 on entry; at y minus the sum of the others.
LP_DECLARE(void bend_row(double* change, const double* shares, Index classes, Index label, double loss);)

// Σ_{j≠y} e_j ((z_y − z_j)/margin − 1), e_j = p_j/L; z turns into factor e_j, 0 at the label.
LP_DECLARE(double slack_row(double* z, Index classes, Index label, RowScale scale, double margin, double factor);)
