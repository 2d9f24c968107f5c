// Tiled products against plain loops: odd sizes, transpositions, unaligned arrays, batches of every kind of stride.
// Entries are small integers, so results must be equal.
#include "ops/linear/matmul.h"

#include <algorithm>

#include "check.h"

using namespace lp;
using namespace lp::test;

template <class T>
Array<T> integers(Index size, Random& random) {
  Array<T> array(size, 1);
  for (Index i = 0; i < size; i++) array[i] = static_cast<T>(random.below(7) - 3);
  return array;
}

template <class T>
void compare(const MatmulPlan& plan) {
  Random random(plan.m + 7 * plan.n + 31 * plan.k);
  Index a_size = plan.m * plan.k, b_size = plan.k * plan.n, size = plan.m * plan.n;
  std::string batches;
  for (const BatchDim& dim : plan.batch) {
    a_size += (dim.size - 1) * dim.a_stride;
    b_size += (dim.size - 1) * dim.b_stride;
    size *= dim.size;
    batches += " × " + std::to_string(dim.size);
  }
  const auto a = integers<T>(a_size, random), b = integers<T>(b_size, random), fast = integers<T>(size, random);
  const Array<T> plain(size);
  std::copy_n(fast.get(), size, plain.get());
  matmul<T>(plan, a.get(), b.get(), fast.get(), Control());
  matmul_ref<T>(plan, a.get(), b.get(), plain.get());
  check(distance(fast, plain) == 0, std::to_string(plan.m) + " " + std::to_string(plan.n) + " " +
                                        std::to_string(plan.k) + (plan.transpose_a ? " aᵀ" : "") +
                                        (plan.transpose_b ? " bᵀ" : "") + batches);
}

// A product so large that its calls are cut in depth, against a vector: (a b) x = a (b x), whichever factor is given
// transposed.
void deep(bool transpose_a, bool transpose_b) {
  const Index m = 1300, n = 1300, k = 1000;
  Random random(1);
  const auto a = integers<double>(m * k, random), b = integers<double>(k * n, random), x = integers<double>(n, random);
  const Array<double> product(m * n), bx(k), expected(m), actual(m);
  const auto times = [](const Array<double>& matrix, const Array<double>& vector, const Array<double>& out) {
    for (Index i = 0; i < out.size(); i++) {
      out[i] = 0;
      for (Index j = 0; j < vector.size(); j++) out[i] += matrix[i * vector.size() + j] * vector[j];
    }
  };
  const auto turned = [](const Array<double>& matrix, Index rows, Index cols) {
    Array<double> out(rows * cols);
    for (Index i = 0; i < rows; i++)
      for (Index j = 0; j < cols; j++) out[j * rows + i] = matrix[i * cols + j];
    return out;
  };
  const Array<double> a_turned = turned(a, m, k), b_turned = turned(b, k, n);
  matmul<double>({m, n, k, transpose_a, transpose_b, 1, 0, {}}, (transpose_a ? a_turned : a).get(),
                 (transpose_b ? b_turned : b).get(), product.get(), Control());
  times(b, x, bx);
  times(a, bx, expected);
  times(product, x, actual);
  check(distance(actual, expected) == 0,
        std::string("a product cut in depth") + (transpose_a ? ", aᵀ" : "") + (transpose_b ? ", bᵀ" : ""));
}

template <class T>
void all() {
  for (Index m : {1, 2, 17, 64}) {
    for (Index n : {1, 3, 33}) {
      for (Index k : {0, 1, 5, 130}) {
        for (int flags = 0; flags < 4; flags++) {
          MatmulPlan plan{m, n, k, (flags & 1) != 0, (flags & 2) != 0, 2, -1, {}};
          compare<T>(plan);
          plan.batch = {{3, m * k, 0}};  // b shared: one product, unless a is transposed
          compare<T>(plan);
          plan.batch = {{2, 0, k * n}, {3, m * k, 0}};
          compare<T>(plan);
          plan.batch = {{2, 3 * m * k, 3 * k * n}, {1, 0, 0}, {3, m * k, k * n}};
          compare<T>(plan);
          plan.beta = 0;
          compare<T>(plan);
        }
      }
    }
  }
  // Several tiles, and several calls in depth.
  for (bool transpose : {false, true}) {
    compare<T>({300, 200, 170, transpose, !transpose, 1, 0, {}});
    compare<T>({40, 1000, 90, transpose, transpose, 1, 1, {{9, 40 * 90, 1000 * 90}}});
  }
}

int main() {
  all<float>();
  all<double>();
  for (bool transpose : {false, true}) {
    deep(transpose, false);
    deep(transpose, true);
  }
  return failures();
}
