// Products on the device against plain loops in double precision: every transposition, rows with gaps, batches,
// precisions; what a captured product needs; and what is said where there is no cuBLAS.
#include "cuda/blas.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/error.h"
#include "test/cuda/device.h"

using namespace lp;
using namespace lp::cuda;
using namespace lp::test;

namespace {

template <class T>
void products(Precision precision, double least, double most) {
  constexpr Index m = 5, n = 4, k = 37, count = 3, gap = 2;
  Blas blas;
  const OnDevice<char> workspace(4096);
  blas.use(nullptr, workspace.get(), workspace.size());
  Random random(1);
  for (int which = 0; which < 8; which++) {
    const bool ta = which & 1, tb = which & 2;
    const T beta = which & 4 ? T(0.5) : T(0);
    const Index lda = (ta ? m : k) + gap, ldb = (tb ? k : n) + gap, ldc = n + gap;
    const Index size_a = (ta ? k : m) * lda, size_b = (tb ? n : k) * ldb, size_c = m * ldc;
    std::vector<T> a(count * size_a), b(count * size_b), c(count * size_c);
    for (auto* values : {&a, &b, &c})
      for (T& value : *values) value = static_cast<T>(random.uniform());
    std::vector<double> expected(c.begin(), c.end());
    for (Index t = 0; t < count; t++)
      for (Index i = 0; i < m; i++)
        for (Index j = 0; j < n; j++) {
          double sum = 0;
          for (Index l = 0; l < k; l++) {
            sum += static_cast<double>(a[t * size_a + (ta ? l * lda + i : i * lda + l)]) *
                   static_cast<double>(b[t * size_b + (tb ? j * ldb + l : l * ldb + j)]);
          }
          double& at = expected[t * size_c + i * ldc + j];
          at = 2 * sum + static_cast<double>(beta) * at;
        }
    if (beta == T(0)) c[0] = static_cast<T>(NAN);  // is overwritten
    const OnDevice<T> of_a(a), of_b(b), of_c(c);
    blas.gemm<T>(precision, ta, tb, m, n, k, T(2), of_a.get(), lda, of_b.get(), ldb, beta, of_c.get(), ldc, count,
                 size_a, size_b, size_c);
    const double apart = distance(expected, of_c.read());
    check(apart <= most && apart >= least, "product " + std::to_string(which) + ": " + std::to_string(apart));
  }
}

void captured() {
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "stream");
  const OnDevice<char> workspace(4096);
  const OnDevice<float> a(std::vector<float>{3}), b(std::vector<float>{5}), c(1);
  Blas blas;
  const auto product = [&] {
    blas.gemm<float>(Precision::float32, false, false, 1, 1, 1, 1, a.get(), 1, b.get(), 1, 0, c.get(), 1);
  };
  cudaGraph_t graph;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  blas.use(stream, nullptr, 0);
  bool refused = false;
  try {
    product();
  } catch (const Error& error) {
    refused = std::string(error.code()) == "LP_DEVICE";
  }
  check(refused, "a captured product without a workspace");
  blas.use(stream, workspace.get(), workspace.size());
  product();
  check(cudaStreamEndCapture(stream, &graph), "end of the capture");
  cudaGraphExec_t run;
  check(cudaGraphInstantiate(&run, graph, 0), "instance");
  check(cudaGraphLaunch(run, stream), "launch");
  check(cudaStreamSynchronize(stream), "wait");
  check(c.read()[0] == 15, "a captured product");
  check(cudaGraphExecDestroy(run), "destroy");
  check(cudaGraphDestroy(graph), "destroy");
  check(cudaStreamDestroy(stream), "destroy");
}

void absent() {
  check(blas_functions() == nullptr, "no cuBLAS");
  std::string code, sentence;
  try {
    Blas blas;
  } catch (const Error& error) {
    code = error.code(), sentence = error.what();
  }
  check(code == "LP_DEVICE" && sentence.find("LAYERPEEL_CUBLAS=/nowhere") != std::string::npos,
        "where it was looked for: " + sentence);
}

}  // namespace

int main(int, char** arguments) {
  if (std::getenv("LAYERPEEL_CUBLAS")) {
    absent();
    return failures();
  }
#if defined(LAYERPEEL_CUDA_EMULATED)
  setenv("LAYERPEEL_CUBLAS", "emulated", 1);
#endif
  if (blas_functions() == nullptr) {
    std::printf("Skipped: %s\n", blas_state().c_str());
    return 0;
  }
  products<double>(Precision::tf32, 0, 1e-13);
  products<float>(Precision::float32, 0, 2e-5);
  products<float>(Precision::tf32, 1e-4, 2e-2);
  products<float>(Precision::bf16, 1e-3, 2e-1);
  captured();
  setenv("LAYERPEEL_CUBLAS", "/nowhere", 1);
  check(std::system(arguments[0]) == 0, "without cuBLAS");
  return failures();
}
