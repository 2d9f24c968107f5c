// The five orthogonal parts of a state with balanced classes (UL Eq. 8, Lemmas 13–17). With the class sums S_c, N
// samples a class, P^ε = ½ (ε S/√N + W) with rows centred over the classes, q^ε = (1/2C) Σ_c (ε S_c/√N + w_c), ε = ±1:
//
//   plus1, minus1   features_i = ε P^ε_{y_i}/√N           prototypes = P^ε
//   plus2, minus2   features_i = ε q^ε/√N                 prototypes_c = q^ε
//   rest            features_i = h_i − mean of its class  prototypes = 0
//
// features (n, p), prototypes (C, p). Reads the features twice and writes every result once.
#pragma once

#include "core/array.h"
#include "core/control.h"
#include "core/device.h"
#include "core/dispatch.h"

namespace lp {

// The parts in the order plus1, minus1, plus2, minus2, rest; each (n, p) or (C, p).
template <class T>
struct Projections {
  T* features[5];
  T* prototypes[5];
};

// Throws LP_NOT_FINITE. Classes are balanced (checked above).
template <class T>
void projections(const State<const T>& state, const Projections<T>& out, const Control& control);

// Plain loops: the oracle.
template <class T>
void projections_ref(const State<const T>& state, const Projections<T>& out);

namespace cuda {

template <class T>
void projections(Job& job, const State<const T>& state, const Projections<T>& out);

}  // namespace cuda

}  // namespace lp

// The features of the parts for consecutive samples: rows of the tables plus1, minus1, means (C, p) by label, the rows
// plus2, minus2 (p) for all. scratch (p); out are the results' rows.
LP_DECLARE(template <class T> void project_rows(const T* h, const int32_t* labels, Index count, Index p, const T* plus1,
                                                const T* minus1, const T* plus2, const T* minus2, const T* means,
                                                T* scratch, T* const* out);)
