// matmul(mode, { a, b, out? }, { m, n, k, transposeA, transposeB, alpha, beta, batch, precision }) → { out }, the array
// given or a new one: see ops/linear/matmul. The plan is made and checked by src/array/matmul.ts; here only that it
// stays inside the arrays.
#include "ops/linear/matmul.h"

#include <algorithm>

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
  const Argument operands = call[1], left = operands["a"], right = operands["b"], given = operands["out"];
  return with_float_type(left, [&]<class T>() {
    const MatmulPlan plan = read_plan(call[2]);
    const Index a_size = left.length(), b_size = right.length();
    if (!(result_size(plan) <= kMostElements)) throw Error("LP_SHAPE", "The product has too many elements.");
    const Index size = static_cast<Index>(result_size(plan));
    if (size > 0 && (extent(plan, plan.m, plan.k, &BatchDim::a_stride) > static_cast<double>(a_size) ||
                     extent(plan, plan.k, plan.n, &BatchDim::b_stride) > static_cast<double>(b_size))) {
      throw Error("LP_SHAPE", "The product reaches beyond its operands.");
    }
    const Input<T> a(call, left, a_size), b(call, right, b_size);
    const auto multiply = [&](const Output<T>& out) {
      return call.run_placed([=](Control& control) { lp::matmul(plan, a.get(), b.get(), out.get(), control); },
                             [=](cuda::Job& job) { cuda::matmul(job, plan, a.get(), b.get(), out.get()); },
                             [=](Napi::Env env) { return named(env, {{"out", out}}); });
    };
    if (!given.given()) return multiply(Output<T>(call, size));
    if (!call.async() || device_array(given.value)) return multiply(Output<T>(call, given, size));
    // A job computes into memory of its own and copies at the end, if the caller's array is still there then.
    const Output<T> out(call, size);
    const Input<T> initial(call, given, size);
    const auto target = std::make_shared<Napi::ObjectReference>(Napi::Persistent(given.value.As<Napi::Object>()));
    return call.run_placed(
        [=](Control& control) {
          if (plan.beta != 0) std::copy_n(initial.get(), size, out.get());
          lp::matmul(plan, a.get(), b.get(), out.get(), control);
        },
        [=](cuda::Job& job) {
          if (plan.beta != 0) job.copy(out.get(), initial.get(), size * sizeof(T));
          cuda::matmul(job, plan, a.get(), b.get(), out.get());
        },
        [=](Napi::Env env) {
          const auto* from = static_cast<const T*>(locate({out.value(), "A result"}, kArrayType<T>, size));
          std::copy_n(from, size, static_cast<T*>(locate({target->Value(), "out"}, kArrayType<T>, size)));
          return named(env, {{"out", target->Value()}});
        });
  });
}
LP_EXPORT("matmul(mode, operands, plan)", matmul)

}  // namespace
}  // namespace lp::addon
