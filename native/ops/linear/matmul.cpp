#include "ops/linear/matmul.h"

#include <algorithm>

#include "core/blas/blas.h"
#include "core/flushed.h"
#include "core/thread_pool.h"

namespace lp {
namespace {

// Below this many multiply-adds, handing a tile to another thread costs more than it saves.
constexpr double kThreadWork = 4e6;
// A BLAS call of this many bytes times multiply-adds takes some ten milliseconds: cancellation is polled between calls.
constexpr double kCallWork = 6.5e9;
// Where a call is too long it is cut in depth, as the BLAS does for itself at such lengths: no packing is repeated
// then, as it is where the output is cut into more tiles.
constexpr Index kDepths[] = {768, 384};

// How a product is cut: tiles of the output, and the length of k that one call covers.
struct Tiling {
  Index rows, cols, depth;
};

template <class T>
Tiling tile(Index m, Index n, Index k, Index batches) {
  const double outputs = static_cast<double>(m) * n, work = outputs * k, limit = kCallWork / sizeof(T);
  const double threads = batches >= thread_count() ? 1 : std::min<double>(thread_count(), work / kThreadWork);
  Index row_tiles = 1, col_tiles = 1;
  const auto halve = [&] { (m / row_tiles >= n / col_tiles ? row_tiles : col_tiles) *= 2; };
  const auto fits = [&](Index depth) { return outputs * depth <= limit * static_cast<double>(row_tiles * col_tiles); };
  while (static_cast<double>(row_tiles * col_tiles) < threads) halve();
  Index depth = std::max<Index>(k, 1);
  for (const Index shorter : kDepths)
    if (depth > shorter && !fits(depth)) depth = shorter;
  while (!fits(depth) && row_tiles * col_tiles < m * n) halve();
  return {divide_up(divide_up(m, row_tiles), 16) * 16, divide_up(divide_up(n, col_tiles), 16) * 16, depth};
}

}  // namespace

// Joins batch dimensions that lie one after the other, and batches that share b with the rows of a.
MatmulPlan simplified(const MatmulPlan& plan) {
  MatmulPlan out = plan;
  out.batch.clear();
  for (const BatchDim& dim : plan.batch) {
    if (dim.size == 1) continue;
    BatchDim* outer = out.batch.empty() ? nullptr : &out.batch.back();
    if (outer && outer->a_stride == dim.size * dim.a_stride && outer->b_stride == dim.size * dim.b_stride) {
      *outer = {outer->size * dim.size, dim.a_stride, dim.b_stride};
    } else {
      out.batch.push_back(dim);
    }
  }
  if (out.batch.size() == 1 && out.batch[0].b_stride == 0 && out.batch[0].a_stride == plan.m * plan.k &&
      !plan.transpose_a) {
    out.m *= out.batch[0].size;
    out.batch.clear();
  }
  return out;
}

template <class T>
void matmul(const MatmulPlan& given, const T* a, const T* b, T* out, const Control& control) {
  const FlushedIfFloat<T> flushed;
  const MatmulPlan plan = simplified(given);
  const Index m = plan.m, n = plan.n, k = plan.k;
  Index batches = 1;
  for (const BatchDim& dim : plan.batch) batches *= dim.size;
  if (batches * m * n == 0) return;

  const Tiling tiling = tile<T>(m, n, k, batches);
  const Index row_tiles = divide_up(m, tiling.rows), col_tiles = divide_up(n, tiling.cols);
  const Index lda = plan.transpose_a ? m : k, ldb = plan.transpose_b ? k : n;
  const Index tiles = batches * row_tiles * col_tiles;
  const double work = static_cast<double>(tiling.rows) * tiling.cols * std::max<Index>(k, 1);
  const Index grain =
      std::max<Index>(1, std::min<Index>(tiles / (8 * thread_count()), static_cast<Index>(kThreadWork / work)));

  parallel_for(tiles, grain, control, [&](Index begin, Index end) {
    for (Index tile = begin; tile < end; tile++) {
      Index batch = tile / (row_tiles * col_tiles);
      const Index row = tile / col_tiles % row_tiles * tiling.rows, col = tile % col_tiles * tiling.cols;
      const Index rows = std::min(tiling.rows, m - row), cols = std::min(tiling.cols, n - col);
      T* c = out + batch * m * n + row * n + col;
      const T* left = a + (plan.transpose_a ? row : row * k);
      const T* right = b + (plan.transpose_b ? col * k : col);
      for (Index d = std::ssize(plan.batch) - 1; d >= 0; d--) {
        const Index at = batch % plan.batch[d].size;
        left += at * plan.batch[d].a_stride;
        right += at * plan.batch[d].b_stride;
        batch /= plan.batch[d].size;
      }
      T beta = static_cast<T>(plan.beta);
      for (Index from = 0; from == 0 || from < k; from += tiling.depth) {
        control.poll();
        blas::gemm<T>(plan.transpose_a, plan.transpose_b, rows, cols, std::min(tiling.depth, k - from),
                      static_cast<T>(plan.alpha), left + (plan.transpose_a ? from * lda : from), lda,
                      right + (plan.transpose_b ? from : from * ldb), ldb, beta, c, n);
        beta = 1;
      }
    }
  });
}

template void matmul(const MatmulPlan&, const float*, const float*, float*, const Control&);
template void matmul(const MatmulPlan&, const double*, const double*, double*, const Control&);

}  // namespace lp
