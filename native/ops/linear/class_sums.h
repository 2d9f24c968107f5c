// Sums over classes:  S_c = Σ_{y_i = c} h_i,  features h (n, p) → sums (C, p), accumulated in double.
//
// Everything of the layer-peeled model that couples samples does so through these sums (UL Eq. 8). Samples are visited
// class by class, so that the sum being added to stays in the first-level cache however many classes there are, and in
// runs of a fixed length, so that the result does not depend on the number of threads.
#pragma once

#include <vector>

#include "core/array.h"
#include "core/control.h"
#include "core/device.h"
#include "core/dispatch.h"

namespace lp {

// Samples in order of their class: those of class c are order[start[c]] … order[start[c + 1] − 1], ascending.
struct ByClass {
  ByClass(const int32_t* labels, Index samples, Index classes);
  Index classes() const { return static_cast<Index>(start.size()) - 1; }
  Index count(Index c) const { return start[c + 1] - start[c]; }

  std::vector<Index> order, start;
};

// The runs that a sum over classes is gathered from. Threads fill `sum` of the runs, all of its elements; `combine`
// then adds up those of each class.
class ClassRuns {
 public:
  static constexpr Index kLength = 256;
  struct Run {
    Index label, begin, end;  // positions in ByClass::order
    double* sum;              // (p)
  };

  ClassRuns(const ByClass& samples, Matrix<double> sums);
  void combine(Index begin, Index end) const;  // of these columns
  // Runs that a thread takes at a time: enough work to be worth it, little enough to be stopped in time.
  Index grain() const;

  std::vector<Run> list;

 private:
  Matrix<double> sums_;  // the first run of a class sums right into its row
  Buffer<double> rest_;
};

// And the largest |h_ij| that is a number, where it is asked for.
template <class T>
void class_sums(Matrix<const T> features, const ByClass& samples, Matrix<double> sums, const Control& control,
                T* largest = nullptr);

// Plain loops: the oracle.
template <class T>
void class_sums_ref(Matrix<const T> features, const int32_t* labels, Matrix<double> sums);

namespace cuda {

// The runs of samples in the order of their class that a sum over classes is made of, on the device; `order` null
// stands for the rows as they lie.
struct ClassRuns {
  ClassRuns(Job& job, const ByClass& samples);
  // All rows as one class.
  ClassRuns(Job& job, Index rows);

  Index runs, classes;
  const Index *order, *begin;  // begin (runs + 1): positions in order
  const Index* first;          // (classes + 1): of each class's runs
};

// sums (C, p), of the rows times their factors where there are any.
template <class T>
void class_sums(Job& job, Matrix<const T> rows, const ClassRuns& runs, Matrix<double> sums,
                const double* factors = nullptr);

// Throws LP_NOT_FINITE with the place of the first NaN or infinity of an array, if there is one.
template <class T>
void check_finite(Job& job, Matrix<const T> array, const char* name);
// Whether every value is.
bool all_finite(Job& job, Matrix<const double> values);

}  // namespace cuda

// Whether every value is finite. A sum that is not says that a summand may not be.
bool all_finite(Matrix<const double> values);

}  // namespace lp

// sum (p) = Σ of the rows of h (·, p) that are listed; `largest`, unless null, becomes the largest of |h_ij| and
// itself.
LP_DECLARE(template <class T>
           void sum_rows(const T* h, const Index* rows, Index count, Index p, double* sum, T* largest);)
