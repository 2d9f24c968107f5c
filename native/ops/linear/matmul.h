// Matrix product with batches:  out = alpha op(a) op(b) + beta out,  op transposes the last two dimensions if told.
// Shapes: op(a) (.., m, k), op(b) (.., k, n), out (.., m, n); batch dimensions broadcast.
#pragma once

#include <vector>

#include "core/array.h"
#include "core/control.h"
#include "core/device.h"

namespace lp {

// One batch dimension: how far apart, in elements, neighbours lie. A broadcast operand has stride 0.
struct BatchDim {
  Index size, a_stride, b_stride;
};

struct MatmulPlan {
  Index m, n, k;
  bool transpose_a = false, transpose_b = false;
  double alpha = 1, beta = 0;
  std::vector<BatchDim> batch;                           // outermost first; out is contiguous
  cuda::Precision precision = cuda::Precision::float32;  // of no effect on the CPU
};

// The same product with fewer batch dimensions, where these lie one after the other.
MatmulPlan simplified(const MatmulPlan& plan);

template <class T>
void matmul(const MatmulPlan& plan, const T* a, const T* b, T* out, const Control& control);

// Plain loops: the oracle.
template <class T>
void matmul_ref(const MatmulPlan& plan, const T* a, const T* b, T* out);

namespace cuda {

template <class T>
void matmul(Job& job, const MatmulPlan& plan, const T* a, const T* b, T* out);

// A row-major factor or result of products on the device.
template <class T>
struct Operand {
  T* data;
  Index ld;  // between rows, as they lie
  bool transposed = false;
  Index stride = 0;  // between neighbours of a batch
};

// The products of a job, for its body: by cuBLAS where it is, else by kernels of our own. Memory that they need is kept
// from one to the next.
class Multiplier {
 public:
  Multiplier(Job& job, Precision precision) : job_(job), precision_(precision), products_(job.products()) {}

  // c (m, n) = alpha op(a) op(b) + beta c, `count` of them. beta = 0 overwrites c, whatever it holds. Paces the job.
  template <class T>
  void gemm(Index m, Index n, Index k, T alpha, Operand<const T> a, Operand<const T> b, T beta, Operand<T> c,
            Index count = 1);

 private:
  template <class T>
  void multiply(Index m, Index n, Index k, T alpha, const Operand<const T>& a, const Operand<const T>& b, T beta,
                const Operand<T>& c, Index count);
  template <class T>
  void launch_tiles(Index m, Index n, Index k, T alpha, const Operand<const T>& a, const Operand<const T>& b, T beta,
                    const Operand<T>& c, Index count);

  Job& job_;
  Precision precision_;
  Blas* products_;
  void* parts_ = nullptr;
  Index bytes_ = 0;
  double work_ = 0;  // multiply-adds since the job was paced
};

}  // namespace cuda

}  // namespace lp
