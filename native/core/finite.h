// Refusal of NaN and infinities. Operations notice them in a pass that runs anyway (a sum is not finite) and come here
// only then, to find the place.
#pragma once

#include <cmath>
#include <string>

#include "core/array.h"
#include "core/error.h"

namespace lp {

// Throws LP_NOT_FINITE with the place of the first NaN or infinity, if there is one. A vector has one column. Of a
// chunk of an array, `first_row` says where in the array it begins.
template <class T>
void check_finite(Matrix<const T> array, const char* name, Index first_row = 0) {
  for (Index i = 0; i < array.size(); i++) {
    if (std::isfinite(array.data[i])) continue;
    std::string place = name + std::string("[") + std::to_string(first_row + i / array.cols);
    if (array.cols > 1) place += ", " + std::to_string(i % array.cols);
    const char* value = std::isnan(array.data[i]) ? "NaN" : array.data[i] > 0 ? "Infinity" : "-Infinity";
    throw Error("LP_NOT_FINITE", place + "] is " + value + "; expected finite values.");
  }
}

}  // namespace lp
