#include "cuda/emulated/blas.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "cuda/emulated/stream.h"

struct cublasContext {
  cudaStream_t stream = nullptr;
  bool workspace = false;
};

namespace emu {
namespace {

using Functions = lp::cuda::BlasFunctions;

// To the nearest with `dropped` bits of the mantissa less: ties to even, or away from zero.
float rounded(float x, int dropped, bool to_even) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7f800000) == 0x7f800000) return x;
  const uint32_t half = 1u << (dropped - 1);
  const uint32_t up = to_even ? half - 1 + (bits >> dropped & 1) : half;
  return std::bit_cast<float>((bits + up) & ~((1u << dropped) - 1));
}

struct Product {
  bool transpose_a, transpose_b;
  int m, n, k, lda, ldb, ldc, count, computed_in;
  long long stride_a, stride_b, stride_c;
};

// As the unit sees it.
template <class T>
T factor(T x, int computed_in) {
  if constexpr (sizeof(T) == 4) {
    if (computed_in == Functions::kInTf32) return rounded(x, 13, false);
    if (computed_in == Functions::kInBf16) return rounded(x, 16, true);
  }
  return x;
}

// Column-major.
template <class T>
void multiply(const Product& p, T alpha, const T* a, const T* b, T beta, T* c) {
  std::vector<T> column(p.m);
  for (int which = 0; which < p.count; which++, a += p.stride_a, b += p.stride_b, c += p.stride_c) {
    for (int j = 0; j < p.n; j++) {
      std::fill(column.begin(), column.end(), T(0));
      for (int l = 0; l < p.k; l++) {
        const T y =
            factor(p.transpose_b ? b[std::ptrdiff_t{l} * p.ldb + j] : b[std::ptrdiff_t{j} * p.ldb + l], p.computed_in);
        for (int i = 0; i < p.m; i++) {
          const T x = p.transpose_a ? a[std::ptrdiff_t{i} * p.lda + l] : a[std::ptrdiff_t{l} * p.lda + i];
          column[i] += factor(x, p.computed_in) * y;
        }
      }
      T* const to = c + std::ptrdiff_t{j} * p.ldc;
      for (int i = 0; i < p.m; i++) to[i] = alpha * column[i] + (beta == T(0) ? T(0) : beta * to[i]);
    }
  }
}

// Elements from the first to the last that a matrix with `rows` in a column reaches, over all of the batch.
std::size_t reach(long long rows, long long columns, long long ld, long long stride, long long count) {
  return static_cast<std::size_t>(std::max(stride, 0ll) * (count - 1) + ld * (columns - 1) + rows);
}

template <class T>
Functions::Status enqueue(cublasContext* handle, const Product& p, const void* alpha, const void* a, const void* b,
                          const void* beta, void* c) {
  const auto fits = [&](const void* at, int rows, int columns, int ld, long long stride) {
    return rows == 0 || columns == 0 || on_device(at, sizeof(T) * reach(rows, columns, ld, stride, p.count));
  };
  const bool there = fits(a, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.lda, p.stride_a) &&
                     fits(b, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.ldb, p.stride_b) &&
                     fits(c, p.m, p.n, p.ldc, p.stride_c);
  T by, old;
  std::memcpy(&by, alpha, sizeof(T));
  std::memcpy(&old, beta, sizeof(T));
  const cudaError_t error =
      there
          ? give(handle->stream,
                 [=] { multiply(p, by, static_cast<const T*>(a), static_cast<const T*>(b), old, static_cast<T*>(c)); })
          : give_illegal(handle->stream, "a matrix of a product reaches beyond what is allocated");
  return error == cudaSuccess ? Functions::kSuccess : Functions::kExecutionFailed;
}

Functions::Status create(Functions::Handle* handle) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return Functions::kNotInitialized;
  *handle = new cublasContext;
  return Functions::kSuccess;
}
Functions::Status destroy(Functions::Handle handle) {
  if (!handle) return Functions::kNotInitialized;
  delete handle;
  return Functions::kSuccess;
}
Functions::Status set_stream(Functions::Handle handle, cudaStream_t stream) {
  if (!handle) return Functions::kNotInitialized;
  *handle = {stream, false};
  return Functions::kSuccess;
}
Functions::Status set_workspace(Functions::Handle handle, void* workspace, std::size_t bytes) {
  if (!handle) return Functions::kNotInitialized;
  if (reinterpret_cast<std::uintptr_t>(workspace) % 256 != 0) return Functions::kInvalidValue;
  if (bytes > 0 && !on_device(workspace, bytes)) return Functions::kInvalidValue;
  handle->workspace = bytes > 0;
  return Functions::kSuccess;
}

Functions::Status gemm_strided_batched(Functions::Handle handle, int operation_a, int operation_b, int m, int n, int k,
                                       const void* alpha, const void* a, int type_a, int lda, long long stride_a,
                                       const void* b, int type_b, int ldb, long long stride_b, const void* beta,
                                       void* c, int type_c, int ldc, long long stride_c, int count, int computed_in,
                                       int) {
  if (!handle) return Functions::kNotInitialized;
  const bool ta = operation_a != Functions::kAsIs, tb = operation_b != Functions::kAsIs;
  if (m < 0 || n < 0 || k < 0 || count < 0 || lda < std::max(1, ta ? k : m) || ldb < std::max(1, tb ? n : k) ||
      ldc < std::max(1, m) || !alpha || !beta) {
    return Functions::kInvalidValue;
  }
  const bool floats =
      type_a == Functions::kFloat32 &&
      (computed_in == Functions::kInFloat32 || computed_in == Functions::kInTf32 || computed_in == Functions::kInBf16);
  const bool doubles = type_a == Functions::kFloat64 && computed_in == Functions::kInFloat64;
  if (type_b != type_a || type_c != type_a || !(floats || doubles)) return Functions::kNotSupported;
  if (m == 0 || n == 0 || count == 0) return Functions::kSuccess;
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(handle->stream, &capture) != cudaSuccess) return Functions::kExecutionFailed;
  if (capture != cudaStreamCaptureStatusNone && !handle->workspace) return Functions::kInternalError;
  const Product p{ta, tb, m, n, k, lda, ldb, ldc, count, computed_in, stride_a, stride_b, stride_c};
  return floats ? enqueue<float>(handle, p, alpha, a, b, beta, c) : enqueue<double>(handle, p, alpha, a, b, beta, c);
}

}  // namespace

lp::cuda::BlasFunctions blas_functions() { return {create, destroy, set_stream, set_workspace, gemm_strided_batched}; }

}  // namespace emu
