// Matrix products on the device: see matmul.h. A block makes a square tile of the result from tiles of the factors,
// which pass through registers into shared memory, two stages deep: the next is on its way while this one is used.
// There every factor lies the same way, [depth][row of op(a), or column of op(b)], however it lies in memory.
//
// Where a result has few tiles and much depth, the depth is cut into parts, which are added up in their order.
//
// These kernels serve where cuBLAS is not to be had, and shapes that it does not take.
#include "ops/linear/matmul.h"

#include <algorithm>

#include <limits>

#include "cuda/blas.h"
#include "cuda/launch.h"

namespace lp::cuda {

constexpr int kTileThreads = 256;
constexpr Index kMostInGrid = 65535;  // of its second and third dimension

template <class T>
struct Gemm {
  Index m, n, k;
  T alpha, beta;
  Operand<const T> a, b;
  Operand<T> c;
  Index part;  // of k, the share of each blockIdx.z; or 0, where that is the place in a batch
};

// A thread's share of a factor's tiles: every so many rows, or every so many steps in depth, by which of the two lies
// consecutively.
template <class T, int kTile, int kDepth, int kRow>
struct Side {
  static constexpr int kShare = kTile * kDepth / kTileThreads;

  // `along`: rows lie consecutively, `ld` apart in depth. Rows from `first` on, of `rows`.
  __device__ __forceinline__ Side(const T* data, Index ld, bool along, Index first, Index rows) {
    const int t = static_cast<int>(threadIdx.x);
    row = along ? t % kTile : t / kDepth;
    depth = along ? t / kTile : t % kDepth;
    row_step = along ? 0 : kTileThreads / kDepth;
    depth_step = along ? kTileThreads / kTile : 0;
    const Index of_row = along ? 1 : ld, of_depth = along ? ld : 1;
    from = data + (first + row) * of_row + depth * of_depth;
    step = row_step * of_row + depth_step * of_depth;
    advance = kDepth * of_depth;
    limit = static_cast<int>(rows - first < kTile ? rows - first : kTile);
  }
  // The next tile, zeros beyond the factor, of which `left` is left in depth.
  __device__ __forceinline__ void fetch(Index left) {
#pragma unroll
    for (int e = 0; e < kShare; e++) {
      held[e] = row + e * row_step < limit && depth + e * depth_step < left ? from[e * step] : T(0);
    }
    from += advance;
  }
  template <class F>
  __device__ __forceinline__ void store(T* to, F as) const {
#pragma unroll
    for (int e = 0; e < kShare; e++) to[(depth + e * depth_step) * kRow + row + e * row_step] = as(held[e]);
  }

  const T* from;
  Index step, advance;
  int row, depth, row_step, depth_step, limit;
  T held[kShare];
};

// Calls use(x, y) with both factors' tiles (kDepth, kRow) in shared memory, one after the other in depth.
template <int kTile, int kDepth, int kRow, class T, class F, class Use>
__device__ __forceinline__ void for_tiles(const Gemm<T>& g, Index first_row, Index first_column, F as, Use use) {
  T* const shared = shared_memory<T>();
  const Index z = blockIdx.z, begin = z * g.part;
  const Index depth = g.part > 0 && g.k - begin > g.part ? g.part : g.k - begin;
  const Index of_a = begin * (g.a.transposed ? g.a.ld : 1), of_b = begin * (g.b.transposed ? 1 : g.b.ld);
  Side<T, kTile, kDepth, kRow> a(g.a.data + of_a + z * g.a.stride, g.a.ld, g.a.transposed, first_row, g.m);
  Side<T, kTile, kDepth, kRow> b(g.b.data + of_b + z * g.b.stride, g.b.ld, !g.b.transposed, first_column, g.n);
  const auto stage = [&](Index s) { return shared + s % 2 * (2 * kDepth * kRow); };
  const auto store = [&](T* to) {
    a.store(to, as);
    b.store(to + kDepth * kRow, as);
  };
  if (depth == 0) return;
  a.fetch(depth);
  b.fetch(depth);
  store(stage(0));
  __syncthreads();
  for (Index at = 0, s = 0; at < depth; at += kDepth, s++) {
    const bool more = at + kDepth < depth;
    if (more) {
      a.fetch(depth - at - kDepth);
      b.fetch(depth - at - kDepth);
    }
    use(stage(s), stage(s) + kDepth * kRow);
    if (more) store(stage(s + 1));
    __syncthreads();
  }
}

template <class T>
__device__ __forceinline__ void put(const Gemm<T>& g, Index i, Index j, T sum) {
  if (i >= g.m || j >= g.n) return;
  T* const to = g.c.data + blockIdx.z * g.c.stride + i * g.c.ld + j;
  *to = g.beta == 0 ? g.alpha * sum : g.alpha * sum + g.beta * *to;
}

// Of all bits. A thread makes kGroups × kGroups squares of a pack's side, 16 packs apart.
template <class T, int kGroups>
struct PlainTile {
  static constexpr int kPack = Pack<T>::kSize, kTile = 16 * kPack * kGroups, kDepth = 1024 / kTile,
                       kRow = kTile + kPack;
  static constexpr size_t kShared = size_t{2} * 2 * kDepth * kRow * sizeof(T);
};
template <class T, int kGroups>
__global__ void __launch_bounds__(kTileThreads, sizeof(T) == 4 ? 2 : 1) gemm_kernel(Gemm<T> g) {
  using Tile = PlainTile<T, kGroups>;
  constexpr int kPack = Tile::kPack, kSide = kPack * kGroups;
  const Index first_row = static_cast<Index>(blockIdx.x) * Tile::kTile,
              first_column = static_cast<Index>(blockIdx.y) * Tile::kTile;
  const int row = static_cast<int>(threadIdx.x) / 16 * kPack, column = static_cast<int>(threadIdx.x) % 16 * kPack;
  T sums[kSide][kSide] = {};
  for_tiles<Tile::kTile, Tile::kDepth, Tile::kRow>(
      g, first_row, first_column, [](T x) { return x; },
      [&](const T* x, const T* y) {
#pragma unroll
        for (int d = 0; d < Tile::kDepth; d++) {
          Pack<T> of_a[kGroups], of_b[kGroups];
#pragma unroll
          for (int u = 0; u < kGroups; u++) {
            of_a[u] = *reinterpret_cast<const Pack<T>*>(x + d * Tile::kRow + row + u * 16 * kPack);
            of_b[u] = *reinterpret_cast<const Pack<T>*>(y + d * Tile::kRow + column + u * 16 * kPack);
          }
#pragma unroll
          for (int i = 0; i < kSide; i++)
#pragma unroll
            for (int j = 0; j < kSide; j++) sums[i][j] += of_a[i / kPack].x[i % kPack] * of_b[j / kPack].x[j % kPack];
        }
      });
#pragma unroll
  for (int i = 0; i < kSide; i++)
#pragma unroll
    for (int j = 0; j < kSide; j++)
      put(g, first_row + row + i / kPack * 16 * kPack + i % kPack,
          first_column + column + j / kPack * 16 * kPack + j % kPack, sums[i][j]);
}

// On tensor cores, factors rounded to TF32. A warp makes 64 × 32 of the tile.
struct TensorTile {
  static constexpr int kTile = 128, kDepth = 8, kRow = kTile + 8;  // neighbours in depth 8 banks apart
  static constexpr size_t kShared = size_t{2} * 2 * kDepth * kRow * sizeof(float);
};
__global__ void __launch_bounds__(kTileThreads, 2) gemm_tf32_kernel(Gemm<float> g) {
  using Tile = TensorTile;
  const Index first_row = static_cast<Index>(blockIdx.x) * Tile::kTile,
              first_column = static_cast<Index>(blockIdx.y) * Tile::kTile;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int group = lane / 4, place = lane % 4, rows = warp / 4 * 64, columns = warp % 4 * 32;
  float sums[4][4][4] = {};
  for_tiles<Tile::kTile, Tile::kDepth, Tile::kRow>(
      g, first_row, first_column, [](float x) { return __uint_as_float(to_tf32(x)); },
      [&](const float* x, const float* y) {
#pragma unroll
        for (int d = 0; d < Tile::kDepth; d += 8) {
          uint32_t of_a[4][4], of_b[4][2];
#pragma unroll
          for (int u = 0; u < 4; u++)
#pragma unroll
            for (int e = 0; e < 4; e++)
              of_a[u][e] = __float_as_uint(x[(d + place + e / 2 * 4) * Tile::kRow + rows + u * 16 + group + e % 2 * 8]);
#pragma unroll
          for (int v = 0; v < 4; v++)
#pragma unroll
            for (int e = 0; e < 2; e++)
              of_b[v][e] = __float_as_uint(y[(d + place + e * 4) * Tile::kRow + columns + v * 8 + group]);
#pragma unroll
          for (int u = 0; u < 4; u++)
#pragma unroll
            for (int v = 0; v < 4; v++) mma_tf32(sums[u][v], of_a[u], of_b[v]);
        }
      });
#pragma unroll
  for (int u = 0; u < 4; u++)
#pragma unroll
    for (int v = 0; v < 4; v++)
#pragma unroll
      for (int e = 0; e < 4; e++)
        put(g, first_row + rows + u * 16 + group + e / 2 * 8, first_column + columns + v * 8 + place * 2 + e % 2,
            sums[u][v][e]);
}

// c (m, n) = alpha Σ parts + beta c, the parts (count, m, n) in their order.
template <class T>
__global__ void __launch_bounds__(kTileThreads)
    join_parts_kernel(const T* parts, Index count, Index m, Index n, T alpha, T beta, T* c, Index ld) {
  const Index at = static_cast<Index>(blockIdx.x) * kTileThreads + threadIdx.x;
  if (at >= m * n) return;
  T sum = 0;
  for (Index part = 0; part < count; part++) sum += parts[part * m * n + at];
  T* const to = c + at / n * ld + at % n;
  *to = beta == 0 ? alpha * sum : alpha * sum + beta * *to;
}

namespace {

// Multiply-adds of a launch, worth at most some ten milliseconds; on the emulated device, tenths of a second.
#if defined(LAYERPEEL_CUDA_EMULATED)
constexpr double kLaunchWork = 1 << 24;
#else
constexpr double kLaunchWork = 1e11;
#endif
// Parts of this depth at least are worth adding up.
constexpr Index kLeastPart = 512;
constexpr Index kUnit = 128;  // of the largest tile

// How much of a size fits into a launch, where each of it takes so many multiply-adds: whole tiles, one at least.
Index fitting(Index size, double each, double most) {
  if (static_cast<double>(size) * each <= most) return size;
  return std::min(size, std::max<Index>(1, static_cast<Index>(most / each) / kUnit) * kUnit);
}

}  // namespace

template <class T>
void Multiplier::gemm(Index m, Index n, Index k, T alpha, Operand<const T> a, Operand<const T> b, T beta, Operand<T> c,
                      Index count) {
  if (m == 0 || n == 0) return;
  const double most = kLaunchWork / (sizeof(T) == 8 ? 8 : 1);
  const Index rows = fitting(m, static_cast<double>(n) * k, most);
  const Index columns = std::min(fitting(n, static_cast<double>(rows) * k, most), kMostInGrid * 64);
  const Index depth = std::max<Index>(fitting(k, static_cast<double>(rows) * columns, most), 1);
  const double each = static_cast<double>(rows) * columns * depth;
  const Index together = std::clamp<Index>(static_cast<Index>(most / std::max(each, 1.0)), 1, kMostInGrid);
  for (Index z = 0; z < count; z += together)
    for (Index i = 0; i < m; i += rows)
      for (Index j = 0; j < n; j += columns)
        for (Index l = 0; l == 0 || l < k; l += depth) {
          const Index batch = std::min(together, count - z);
          Operand<const T> left = a, right = b;
          Operand<T> to = c;
          left.data += z * a.stride + (a.transposed ? l * a.ld + i : i * a.ld + l);
          right.data += z * b.stride + (b.transposed ? j * b.ld + l : l * b.ld + j);
          to.data += z * c.stride + i * c.ld + j;
          multiply<T>(std::min(rows, m - i), std::min(columns, n - j), std::min(depth, k - l), alpha, left, right,
                      l == 0 ? beta : T(1), to, batch);
          work_ += each * static_cast<double>(batch);
          if (work_ < most) continue;
          job_.pace();
          work_ = 0;
        }
}

template <class T>
void Multiplier::multiply(Index m, Index n, Index k, T alpha, const Operand<const T>& a, const Operand<const T>& b,
                          T beta, const Operand<T>& c, Index count) {
  constexpr Index kMost = std::numeric_limits<int>::max();  // cuBLAS counts in int, and asks for rows of some length
  if (products_ && k > 0 && std::max({m, n, k, a.ld, b.ld, c.ld}) <= kMost) {
    products_->gemm<T>(precision_, a.transposed, b.transposed, m, n, k, alpha, a.data, a.ld, b.data, b.ld, beta, c.data,
                       c.ld, count, a.stride, b.stride, c.stride);
  } else {
    launch_tiles<T>(m, n, k, alpha, a, b, beta, c, count);
  }
}

template <class T>
void Multiplier::launch_tiles(Index m, Index n, Index k, T alpha, const Operand<const T>& a, const Operand<const T>& b,
                              T beta, const Operand<T>& c, Index count) {
  const Index wanted = 2 * job_.device().description().multiprocessors;
  const auto tiles = [&](Index tile) { return divide_up(m, tile) * divide_up(n, tile) * count; };
  const auto start = [&](auto kernel, Index tile, size_t shared) {
    Gemm<T> g{m, n, k, alpha, beta, a, b, c, 0};
    Index parts = 1;
    if (count == 1 && tiles(tile) < wanted && k >= 2 * kLeastPart) {
      parts = std::min(divide_up(wanted, tiles(tile)), k / kLeastPart);
      g.part = divide_up(k, parts);
      parts = divide_up(k, g.part);
    }
    if (parts > 1) {
      const Index bytes = parts * m * n * static_cast<Index>(sizeof(T));
      if (bytes > bytes_) parts_ = job_.scratch<char>(bytes), bytes_ = bytes;
      g.alpha = 1;
      g.beta = 0;
      g.c = {static_cast<T*>(parts_), n, false, m * n};
      g.a.stride = g.b.stride = 0;
    } else {
      g.part = 0;
    }
    const dim3 grid(blocks_for(m, tile), blocks_for(n, tile), static_cast<unsigned>(parts > 1 ? parts : count));
    launch(job_, kernel, grid, dim3(kTileThreads), shared, g);
    if (parts == 1) return;
    launch(job_, join_parts_kernel<T>, dim3(blocks_for(m * n, kTileThreads)), dim3(kTileThreads), 0,
           static_cast<const T*>(parts_), parts, m, n, alpha, beta, c.data, c.ld);
  };
  if constexpr (sizeof(T) == 8) {
    using Tile = PlainTile<T, 2>;
    start(gemm_kernel<T, 2>, Tile::kTile, Tile::kShared);
  } else if (precision_ != Precision::float32) {  // bfloat16 too: with more bits, at half of its speed
    start(gemm_tf32_kernel, TensorTile::kTile, TensorTile::kShared);
  } else if (tiles(kUnit) >= wanted) {
    start(gemm_kernel<T, 2>, PlainTile<T, 2>::kTile, PlainTile<T, 2>::kShared);
  } else {
    start(gemm_kernel<T, 1>, PlainTile<T, 1>::kTile, PlainTile<T, 1>::kShared);
  }
}

template <class T>
void matmul(Job& job, const MatmulPlan& given, const T* a, const T* b, T* out) {
  const MatmulPlan plan = simplified(given);
  BatchDim inner{1, 0, 0};
  std::vector<BatchDim> outer = plan.batch;
  if (!outer.empty()) inner = outer.back(), outer.pop_back();
  Index batches = 1;
  for (const BatchDim& dim : outer) batches *= dim.size;

  Multiplier multiplier(job, plan.precision);
  const Index size = plan.m * plan.n;
  for (Index batch = 0; batch < batches; batch++) {
    Operand<const T> left{a, plan.transpose_a ? plan.m : plan.k, plan.transpose_a, inner.a_stride};
    Operand<const T> right{b, plan.transpose_b ? plan.k : plan.n, plan.transpose_b, inner.b_stride};
    Index rest = batch;
    for (Index d = std::ssize(outer) - 1; d >= 0; d--) {
      left.data += rest % outer[d].size * outer[d].a_stride;
      right.data += rest % outer[d].size * outer[d].b_stride;
      rest /= outer[d].size;
    }
    multiplier.gemm<T>(plan.m, plan.n, plan.k, static_cast<T>(plan.alpha), left, right, static_cast<T>(plan.beta),
                       {out + batch * inner.size * size, plan.n, false, size}, inner.size);
  }
}

template void Multiplier::gemm(Index, Index, Index, float, Operand<const float>, Operand<const float>, float,
                               Operand<float>, Index);
template void Multiplier::gemm(Index, Index, Index, double, Operand<const double>, Operand<const double>, double,
                               Operand<double>, Index);
template void matmul(Job&, const MatmulPlan&, const float*, const float*, float*);
template void matmul(Job&, const MatmulPlan&, const double*, const double*, double*);

}  // namespace lp::cuda
