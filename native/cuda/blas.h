// Dense products on the device: cuBLAS, which is found when it is first asked for and never bundled.
#pragma once

#include <cstddef>
#include <string>

#include "core/array.h"
#include "core/device.h"
#include "cuda/runtime.h"

struct cublasContext;  // cuBLAS's own

namespace lp::cuda {

// The part of cuBLAS that is used, with the numbers of its header (CUDA 12 and 13).
struct BlasFunctions {
  using Handle = cublasContext*;
  using Status = int;
  static constexpr Status kSuccess = 0, kNotInitialized = 1, kAllocationFailed = 3, kInvalidValue = 7,
                          kExecutionFailed = 13, kInternalError = 14, kNotSupported = 15;
  static constexpr int kAsIs = 0, kTransposed = 1;                                    // cublasOperation_t
  static constexpr int kFloat32 = 0, kFloat64 = 1;                                    // cudaDataType
  static constexpr int kInFloat32 = 68, kInFloat64 = 70, kInBf16 = 75, kInTf32 = 77;  // cublasComputeType_t
  static constexpr int kAlgorithmOfItsChoice = -1;                                    // cublasGemmAlgo_t

  Status (*create)(Handle* handle);
  Status (*destroy)(Handle handle);
  Status (*set_stream)(Handle handle, cudaStream_t stream);
  Status (*set_workspace)(Handle handle, void* workspace, std::size_t bytes);
  // Column-major.
  Status (*gemm_strided_batched)(Handle handle, int operation_a, int operation_b, int m, int n, int k,
                                 const void* alpha, const void* a, int type_a, int lda, long long stride_a,
                                 const void* b, int type_b, int ldb, long long stride_b, const void* beta, void* c,
                                 int type_c, int ldc, long long stride_c, int count, int computed_in, int algorithm);
};

// Null where there is none. Looked for once: the file or folder that LAYERPEEL_CUBLAS names; what the process has
// loaded already; what the linker finds; CUDA's folders; the packages of an active Python environment; the
// folder that `products_library` was told.
const BlasFunctions* blas_functions();
// Where it was found, or everywhere it was looked for.
std::string blas_state();

// Products on one stream. One thread at a time.
class Blas {
 public:
  // LP_DEVICE where cuBLAS is not to be had.
  Blas();
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  // Bytes of memory that products of a compute capability are fastest with, as cuBLAS advises.
  static Index room(int major);
  // Where products go from now on, and memory of the device's that they may use meanwhile (a multiple of 256 bytes in
  // place and size). Without it cuBLAS allocates, which a graph's capture forbids.
  void use(cudaStream_t stream, void* workspace, std::size_t bytes);

  // c (m, n) = alpha op(a) op(b) + beta c, row-major, where op transposes if told and ld is the distance between
  // rows; `count` of them, each a stride behind the one before. beta = 0 overwrites c, whatever it holds.
  // Asynchronous; LP_DEVICE if it is refused.
  template <class T>
  void gemm(Precision precision, bool transpose_a, bool transpose_b, Index m, Index n, Index k, T alpha, const T* a,
            Index lda, const T* b, Index ldb, T beta, T* c, Index ldc, Index count = 1, Index stride_a = 0,
            Index stride_b = 0, Index stride_c = 0);

 private:
  const BlasFunctions* functions_;
  BlasFunctions::Handle handle_ = nullptr;
};

}  // namespace lp::cuda
