// What this machine can do at most, measured: memory bandwidth (reading, and copying) over arrays far larger than the
// caches, and the rate of dense products, each with every compute thread. Prints one JSON object.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>

#include "core/blas/blas.h"
#include "core/thread_pool.h"

namespace {

// Median seconds of five runs after one that is not counted.
double seconds(const std::function<void()>& work) {
  double times[5];
  work();
  for (double& time : times) {
    const auto start = std::chrono::steady_clock::now();
    work();
    time = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  std::sort(times, times + 5);
  return times[2];
}

template <class T>
double gemm_rate(lp::Index n) {
  const lp::Control control;
  lp::Buffer<T> a(n * n), b(n * n), c(n * n);
  std::fill(a.begin(), a.end(), T(1));
  std::fill(b.begin(), b.end(), T(1));
  const lp::Index share = n / lp::thread_count();
  const double time = seconds([&] {
    lp::parallel_for(n, share, control, [&](lp::Index begin, lp::Index end) {
      lp::blas::gemm<T>(false, false, end - begin, n, n, 1, &a[begin * n], n, b.get(), n, 0, &c[begin * n], n);
    });
  });
  return 2.0 * n * n * n / time / 1e9;
}

}  // namespace

int main() {
  const lp::Control control;
  const lp::Index size = 1 << 27;  // 1 GiB of double
  lp::Buffer<double> x(size), y(size);
  std::fill(x.begin(), x.end(), 1.0);
  std::fill(y.begin(), y.end(), 2.0);
  const lp::Index grain = 1 << 17;
  volatile double sink = 0;
  const double read = seconds([&] {
    lp::parallel_for(size, grain, control, [&](lp::Index begin, lp::Index end) {
      double sum[8] = {};
      for (lp::Index i = begin; i + 8 <= end; i += 8) {
        for (int k = 0; k < 8; k++) sum[k] += x[i + k];
      }
      sink = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    });
  });
  const double copy = seconds([&] {
    lp::parallel_for(size, grain, control, [&](lp::Index begin, lp::Index end) {
      std::memcpy(&y[begin], &x[begin], (end - begin) * sizeof(double));
    });
  });
  const double bytes = size * sizeof(double);
  std::printf("{\"threads\": %d, \"readGBs\": %.2f, \"copyGBs\": %.2f, \"float32Gflops\": %.1f, \"float64Gflops\": %.1f}\n",
              lp::thread_count(), bytes / read / 1e9, 2 * bytes / copy / 1e9, gemm_rate<float>(3072), gemm_rate<double>(2048));
}
