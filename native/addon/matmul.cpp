// matmul(mode, a, b, { m, n, k, transposeA, transposeB, alpha, beta, batch, precision }, out?) → { out }, the array
// given or a new one: see ops/linear/matmul. The plan is made and checked by src/array/matmul.ts; here only that it
// stays inside the arrays.
#include "ops/linear/matmul.h"

#include "addon/call.h"
#include "addon/device.h"

namespace lp::addon {
namespace {

constexpr double kMostElements = 9007199254740991.0;

MatmulPlan read_plan(const Argument& given) {
  MatmulPlan plan;
  plan.m = given["m"].size();
  plan.n = given["n"].size();
  plan.k = given["k"].size();
  plan.transpose_a = given["transposeA"].flag();
  plan.transpose_b = given["transposeB"].flag();
  plan.alpha = given["alpha"].number();
  plan.beta = given["beta"].number();
  plan.precision = precision_in(given);
  const auto batch = given["batch"].numbers();  // triples: size, stride of a, stride of b
  for (double number : batch) {
    if (!(number >= 0 && number <= kMostElements)) throw Error("LP_SHAPE", "A batch dimension is out of range.");
  }
  for (size_t i = 0; i + 2 < batch.size(); i += 3) {
    plan.batch.push_back(
        {static_cast<Index>(batch[i]), static_cast<Index>(batch[i + 1]), static_cast<Index>(batch[i + 2])});
  }
  return plan;
}

// Sizes are worked out in floating point, which does not wrap around.
double result_size(const MatmulPlan& plan) {
  double size = static_cast<double>(plan.m) * static_cast<double>(plan.n);
  for (const BatchDim& dim : plan.batch) size *= static_cast<double>(dim.size);
  return size;
}

// One past the last element that a strided operand reaches.
double extent(const MatmulPlan& plan, Index rows, Index cols, Index BatchDim::* stride) {
  double last = static_cast<double>(rows) * static_cast<double>(cols);
  for (const BatchDim& dim : plan.batch) last += static_cast<double>(dim.size - 1) * static_cast<double>(dim.*stride);
  return last;
}

Napi::Value matmul(Call& call) {
  const Argument left = call[1], right = call[2];
  return with_float_type(left, [&]<class T>() {
    const MatmulPlan plan = read_plan(call[3]);
    const Index a_size = left.length(), b_size = right.length();
    if (!(result_size(plan) <= kMostElements)) throw Error("LP_SHAPE", "The product has too many elements.");
    const Index size = static_cast<Index>(result_size(plan));
    if (size > 0 && (extent(plan, plan.m, plan.k, &BatchDim::a_stride) > static_cast<double>(a_size) ||
                     extent(plan, plan.k, plan.n, &BatchDim::b_stride) > static_cast<double>(b_size))) {
      throw Error("LP_SHAPE", "The product reaches beyond its operands.");
    }
    const Input<T> a(call, left, a_size), b(call, right, b_size);
    const Output<T> out(call, call[4], size, plan.beta != 0);
    return call.run_placed([=](Control& control) { lp::matmul(plan, a.get(), b.get(), out.get(), control); },
                           [=](cuda::Job& job) { cuda::matmul(job, plan, a.get(), b.get(), out.get()); },
                           [=](Napi::Env env) { return named(env, {{"out", out}}); });
  });
}
LP_EXPORT("matmul(mode, a, b, plan, out)", matmul)

}  // namespace
}  // namespace lp::addon
