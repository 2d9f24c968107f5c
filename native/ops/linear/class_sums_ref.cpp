#include "ops/linear/class_sums.h"

namespace lp {

template <class T>
void class_sums_ref(Matrix<const T> features, const int32_t* labels, Matrix<double> sums) {
  for (Index k = 0; k < sums.size(); k++) sums.data[k] = 0;
  for (Index i = 0; i < features.rows; i++)
    for (Index j = 0; j < features.cols; j++) sums(labels[i], j) += features(i, j);
}

template void class_sums_ref(Matrix<const float>, const int32_t*, Matrix<double>);
template void class_sums_ref(Matrix<const double>, const int32_t*, Matrix<double>);

}  // namespace lp
