#include "ops/matmul/matmul.h"

#include <algorithm>

#include "core/blas/blas.h"
#include "core/thread_pool.h"

namespace lp {
namespace {

// A BLAS call of this many multiply-adds takes some ten milliseconds: cancellation is polled between calls.
constexpr double kTileWork = 5e8;
// Below this, handing a tile to another thread costs more than it saves.
constexpr double kThreadWork = 4e6;
// OpenBLAS packs panels of a few hundred in k: cutting there repeats no packing.
constexpr Index kDepth = 1024;

Index round_up(Index value, Index unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

template <class T>
void matmul(const MatmulPlan& plan, const T* a, const T* b, T* out, const Control& control) {
  const auto [m, n, k] = std::tuple(plan.m, plan.n, plan.k);
  Index batches = 1;
  for (const BatchDim& dim : plan.batch) batches *= dim.size;
  if (batches * m * n == 0) return;

  // Tiles of the output: as many as keep every thread busy, none so large that it cannot be cancelled in time.
  const double work = static_cast<double>(m) * n * std::max<Index>(k, 1);
  const double threads = thread_count();
  const double wanted = std::max(work / kTileWork / std::max(1.0, static_cast<double>(k) / kDepth),
                                 batches >= threads ? 1.0 : std::min(threads, work / kThreadWork));
  Index row_tiles = 1, col_tiles = 1;
  while (static_cast<double>(row_tiles) * col_tiles < wanted && row_tiles * col_tiles < m * n) {
    (m / row_tiles >= n / col_tiles ? row_tiles : col_tiles) *= 2;
  }
  const Index tile_rows = round_up((m + row_tiles - 1) / row_tiles, 16);
  const Index tile_cols = round_up((n + col_tiles - 1) / col_tiles, 16);
  row_tiles = (m + tile_rows - 1) / tile_rows;
  col_tiles = (n + tile_cols - 1) / tile_cols;

  const Index lda = plan.transpose_a ? m : k, ldb = plan.transpose_b ? k : n;
  const Index tiles = batches * row_tiles * col_tiles;
  const Index grain =
      std::max<Index>(1, std::min<Index>(tiles / (8 * thread_count()), kThreadWork / std::max(1.0, work)));
  parallel_for(tiles, grain, control, [&](Index begin, Index end) {
    for (Index tile = begin; tile < end; tile++) {
      Index batch = tile / (row_tiles * col_tiles);
      const Index row = tile / col_tiles % row_tiles * tile_rows, col = tile % col_tiles * tile_cols;
      const Index rows = std::min(tile_rows, m - row), cols = std::min(tile_cols, n - col);
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
      for (Index depth = 0; depth == 0 || depth < k; depth += kDepth) {
        control.poll();
        blas::gemm<T>(plan.transpose_a, plan.transpose_b, rows, cols, std::min(kDepth, k - depth),
                      static_cast<T>(plan.alpha), left + (plan.transpose_a ? depth * lda : depth), lda,
                      right + (plan.transpose_b ? depth : depth * ldb), ldb, beta, c, n);
        beta = 1;
      }
    }
  });
}

template void matmul(const MatmulPlan&, const float*, const float*, float*, const Control&);
template void matmul(const MatmulPlan&, const double*, const double*, double*, const Control&);

}  // namespace lp
