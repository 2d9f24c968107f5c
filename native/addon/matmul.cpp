// matmul(mode, a, aSize, b, bSize, plan, out?) → out: see ops/linear/matmul. The plan is made and checked by
// src/matmul.ts; here only that it stays inside the arrays.
#include "ops/linear/matmul.h"

#include "addon/addon.h"
#include "addon/job.h"

namespace lp::addon {
namespace {

constexpr double kMostElements = 9007199254740991.0;

MatmulPlan read_plan(Napi::Object object) {
  MatmulPlan plan;
  plan.m = size_in(object, "m");
  plan.n = size_in(object, "n");
  plan.k = size_in(object, "k");
  plan.transpose_a = object.Get("transposeA").ToBoolean();
  plan.transpose_b = object.Get("transposeB").ToBoolean();
  plan.alpha = number_in(object, "alpha");
  plan.beta = number_in(object, "beta");
  const auto batch = numbers_in(object, "batch");  // triples: size, stride of a, stride of b
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

template <class T>
T* locate_output(Napi::Env env, Napi::Value array, Index size) {
  void* data = nullptr;
  locate(env, array, kArrayType<T>, size, &data);
  return static_cast<T*>(data);
}

}  // namespace

Napi::Value matmul(const Napi::CallbackInfo& info) {
  return with_float_type(info, 1, [&]<class T>() -> Napi::Value {
    const MatmulPlan plan = read_plan(info[5].As<Napi::Object>());
    const Index a_size = count_argument(info, 2), b_size = count_argument(info, 4);
    if (!(result_size(plan) <= kMostElements)) throw Error("LP_SHAPE", "The product has too many elements.");
    const Index size = static_cast<Index>(result_size(plan));
    if (size > 0 && (extent(plan, plan.m, plan.k, &BatchDim::a_stride) > static_cast<double>(a_size) ||
                     extent(plan, plan.k, plan.n, &BatchDim::b_stride) > static_cast<double>(b_size))) {
      throw Error("LP_SHAPE", "The product reaches beyond its operands.");
    }
    const Input<T> a(info, 1, a_size), b(info, 3, b_size);
    const bool given = info[6].IsTypedArray();
    if (given && !is_async(info)) {
      T* out = locate_output<T>(info.Env(), info[6], size);
      return run(
          info, [=](Control& control) { lp::matmul(plan, a.get(), b.get(), out, control); },
          [array = info[6]](Napi::Env) { return array; });
    }
    const Output<T> out(info.Env(), size);
    if (!given) {
      return run(
          info, [=](Control& control) { lp::matmul(plan, a.get(), b.get(), out.get(), control); },
          [=](Napi::Env) { return out.value(); });
    }
    // A job computes into memory of its own and copies at the end, if the caller's array is still there then.
    const T* initial = locate_output<T>(info.Env(), info[6], size);
    if (plan.beta != 0 && size > 0) std::memcpy(out.get(), initial, size * sizeof(T));
    const auto target = std::make_shared<Napi::ObjectReference>(Napi::Persistent(info[6].As<Napi::Object>()));
    return run(
        info, [=](Control& control) { lp::matmul(plan, a.get(), b.get(), out.get(), control); },
        [=](Napi::Env env) -> Napi::Value {
          T* data = locate_output<T>(env, target->Value(), size);
          if (size > 0) std::memcpy(data, out.get(), size * sizeof(T));
          return target->Value();
        });
  });
}

}  // namespace lp::addon
