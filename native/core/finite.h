// Refusal of NaN and infinities. Operations notice them in a pass that runs anyway (a sum is not finite) and come here
// only then, to find the place.
#pragma once

#include <cmath>
#include <string>

#include "core/array.h"
#include "core/error.h"

namespace lp {

// Throws LP_NOT_FINITE with the place of a value. A vector has one column.
template <class T>
[[noreturn]] void refuse_not_finite(const char* name, Index row, Index column, Index columns, T value) {
  std::string place = name + std::string("[") + std::to_string(row);
  if (columns > 1) place += ", " + std::to_string(column);
  const char* word = std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  throw Error("LP_NOT_FINITE", place + "] is " + word + "; expected finite values.");
}

// Throws LP_NOT_FINITE with the place of the first NaN or infinity, if there is one. Of a chunk of an array,
// `first_row` says where in the array it begins.
template <class T>
void check_finite(Matrix<const T> array, const char* name, Index first_row = 0) {
  for (Index i = 0; i < array.size(); i++) {
    if (std::isfinite(array.data[i])) continue;
    refuse_not_finite(name, first_row + i / array.cols, i % array.cols, array.cols, array.data[i]);
  }
}

}  // namespace lp
