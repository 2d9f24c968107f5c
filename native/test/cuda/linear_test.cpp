// Class sums, the structured products, the five parts and matrix products on the device, against the oracles or plain
// loops: odd sizes, empty classes, rows that no pack fits, single rows, and what is refused.
#include <limits>
#include <numeric>

#include "ops/linear/class_sums.h"
#include "ops/linear/matmul.h"
#include "ops/linear/products.h"
#include "ops/linear/projections.h"
#include "test/cuda/device.h"

using namespace lp;
using namespace lp::test;

namespace {

using DeviceOf = std::shared_ptr<cuda::Device>;

struct Size {
  Index n, classes, p, offset;
};
std::string called(const char* what, const Size& size, bool single) {
  return std::string(what) + " of n = " + std::to_string(size.n) + ", C = " + std::to_string(size.classes) +
         ", p = " + std::to_string(size.p) + ", " + std::to_string(size.offset) + " off" + (single ? ", float32" : "");
}

template <class T>
struct Sample {
  explicit Sample(const Size& size, bool balanced = false)
      : size(size),
        random(size.n * 131 + size.classes * 17 + size.p),
        h(size.n * size.p, random),
        w(size.classes * size.p, random),
        on_h(h, size.offset),
        on_w(w, size.offset) {
    for (Index i = 0; i < size.n; i++)
      labels.push_back(static_cast<int32_t>(balanced ? i % size.classes : random.below(size.classes)));
  }
  State<const T> here() const {
    return {{h.get(), size.n, size.p}, {w.get(), size.classes, size.p}, nullptr, labels.data()};
  }
  State<const T> there() const {
    return {{on_h.get(), size.n, size.p}, {on_w.get(), size.classes, size.p}, nullptr, labels.data()};
  }
  Size size;
  Random random;
  Array<T> h, w;
  Shifted<T> on_h, on_w;
  std::vector<int32_t> labels;
};

// ---- class sums: with factors, and of all rows as one class

template <class T>
void sums(const DeviceOf& device, const Size& size) {
  const auto [n, classes, p, offset] = size;
  const Sample<T> sample(size);
  std::vector<double> factors(n, 1.5), plain(classes * p), total(p);
  for (Index i = 0; i < n; i += 2) factors[i] = -0.75;
  class_sums_ref<T>(sample.here().features, sample.labels.data(), {plain.data(), classes, p});
  std::vector<double> weighted(classes * p);
  for (Index i = 0; i < n; i++)
    for (Index j = 0; j < p; j++) {
      weighted[sample.labels[i] * p + j] += factors[i] * static_cast<double>(sample.h[i * p + j]);
      total[j] += static_cast<double>(sample.h[i * p + j]);
    }
  const OnDevice<double> out(classes * p), of_factors(classes * p), all(p);
  Control control;
  cuda::Job job(device, control);
  const cuda::ClassRuns runs(job, ByClass(sample.labels.data(), n, classes));
  const Matrix<const T> rows = sample.there().features;
  cuda::class_sums<T>(job, rows, runs, {out.get(), classes, p});
  cuda::class_sums<T>(job, rows, runs, {of_factors.get(), classes, p}, job.uploaded(factors.data(), n));
  cuda::class_sums<T>(job, rows, cuda::ClassRuns(job, n), {all.get(), 1, p});
  job.wait();
  const std::string name = called("class sums", size, sizeof(T) == 4);
  check_close(distance(plain, out.read()), 0, 1e-12, name);
  check_close(distance(weighted, of_factors.read()), 0, 1e-12, name + ", with factors");
  check_close(distance(total, all.read()), 0, 1e-12, name + ", of all");
}

// ---- structured products: against the matrix that they do not form

template <class T>
void structured(const DeviceOf& device, const Size& size) {
  const auto [n, classes, p, offset] = size;
  const double gamma = 0.3;
  const Sample<T> sample(size);
  const Shifted<T> mw(n * p, offset), mh(classes * p, offset), m1(classes, offset);
  {
    Control control;
    cuda::Job job(device, control);
    cuda::products<T>(job, sample.there(), gamma,
                      {{mw.get(), n, p}, {mh.get(), classes, p}, m1.get(), sample.labels.data()});
    job.wait();
  }
  std::vector<double> of_h(n * p), of_w(classes * p), of_b(classes);
  for (Index c = 0; c < classes; c++)
    for (Index i = 0; i < n; i++) {
      const double m = ((sample.labels[i] == c ? 1 + gamma : 0) - gamma) / static_cast<double>(n);
      of_b[c] += m;
      for (Index j = 0; j < p; j++) {
        of_h[i * p + j] += m * static_cast<double>(sample.w[c * p + j]);
        of_w[c * p + j] += m * static_cast<double>(sample.h[i * p + j]);
      }
    }
  const Array<T> h(n * p), w(classes * p), b(classes);
  mw.read(h), mh.read(w), m1.read(b);
  const std::string name = called("products", size, sizeof(T) == 4);
  check_close(distance(h, of_h), 0, kRounding<T>, name + ": features");
  check_close(distance(w, of_w), 0, kRounding<T>, name + ": prototypes");
  check_close(distance(b, of_b), 0, kRounding<T>, name + ": biases");
}

// ---- the five parts

template <class T>
struct Parts {
  Parts(const Size& size) : offset(size.offset) {
    for (int k = 0; k < 5; k++) {
      features.emplace_back(size.n * size.p, size.offset);
      prototypes.emplace_back(size.classes * size.p, size.offset);
      of.features[k] = features[k].get();
      of.prototypes[k] = prototypes[k].get();
    }
  }
  Index offset;
  std::vector<Shifted<T>> features, prototypes;
  Projections<T> of;
};

template <class T>
void parts(const DeviceOf& device, const Size& size) {
  const auto [n, classes, p, offset] = size;
  if (n % classes != 0) return;
  const Sample<T> sample(size, true);
  const Parts<T> made(size);
  {
    Control control;
    cuda::Job job(device, control);
    cuda::projections<T>(job, sample.there(), made.of);
    job.wait();
  }
  std::vector<Array<T>> features, prototypes;
  Projections<T> plain;
  for (int k = 0; k < 5; k++) {
    plain.features[k] = features.emplace_back(n * p).get();
    plain.prototypes[k] = prototypes.emplace_back(classes * p).get();
  }
  projections_ref<T>(sample.here(), plain);
  const Array<T> h(n * p), w(classes * p);
  for (int k = 0; k < 5; k++) {
    const std::string name = called("part ", size, sizeof(T) == 4) + ", " + std::to_string(k);
    made.features[k].read(h), made.prototypes[k].read(w);
    check_close(distance(h, features[k]), 0, kRounding<T>, name + ": features");
    check_close(distance(w, prototypes[k]), 0, kRounding<T>, name + ": prototypes");
  }
}

// The first number that is not finite is named, whichever threads see others.
template <class T>
void not_finite(const DeviceOf& device) {
  for (const bool in_features : {true, false}) {
    Sample<T> sample({600, 6, 3, 0}, true);
    const Array<T>& bad = in_features ? sample.h : sample.w;
    bad[7] = std::numeric_limits<T>::infinity();
    bad[bad.size() - 1] = std::numeric_limits<T>::quiet_NaN();
    const Shifted<T> h(sample.h, 0), w(sample.w, 0);
    const Parts<T> made({600, 6, 3, 0});
    const State<const T> state{{h.get(), 600, 3}, {w.get(), 6, 3}, nullptr, sample.labels.data()};
    for (const bool structured : {true, false}) {
      Control control;
      std::string said;
      try {
        cuda::Job job(device, control);
        structured ? cuda::products<T>(job, state, 0.5,
                                       {{made.of.features[0], 600, 3},
                                        {made.of.prototypes[0], 6, 3},
                                        made.of.prototypes[1],
                                        sample.labels.data()})
                   : cuda::projections<T>(job, state, made.of);
      } catch (const Error& error) {
        said = error.what();
      }
      check(said.find(in_features ? "features[2, 1]" : "prototypes[2, 1]") != std::string::npos, "refused: " + said);
    }
  }
}

// ---- matrix products: of small integers, so that every precision gives them to the bit

template <class T>
void product(const DeviceOf& device, MatmulPlan plan, Index offset) {
  Random random(plan.m + 7 * plan.n + 31 * plan.k);
  Index a_size = plan.m * plan.k, b_size = plan.k * plan.n, size = plan.m * plan.n;
  for (const BatchDim& dim : plan.batch) {
    a_size += (dim.size - 1) * dim.a_stride;
    b_size += (dim.size - 1) * dim.b_stride;
    size *= dim.size;
  }
  const auto integers = [&](Index count) {
    Array<T> array(count);
    for (Index i = 0; i < count; i++) array[i] = static_cast<T>(random.below(7) - 3);
    return array;
  };
  const Array<T> a = integers(a_size), b = integers(b_size), plain = integers(size), made(size);
  if (plan.beta == 0) std::fill_n(plain.get(), size, std::numeric_limits<T>::quiet_NaN());  // is overwritten
  const Shifted<T> of_a(a, offset), of_b(b, offset), out(plain, offset);
  {
    Control control;
    cuda::Job job(device, control);
    cuda::matmul<T>(job, plan, of_a.get(), of_b.get(), out.get());
    job.wait();
  }
  out.read(made);
  matmul_ref<T>(plan, a.get(), b.get(), plain.get());
  check(distance(made, plain) == 0,
        std::to_string(plan.m) + " × " + std::to_string(plan.n) + " × " + std::to_string(plan.k) +
            (plan.transpose_a ? " aᵀ" : "") + (plan.transpose_b ? " bᵀ" : "") +
            (plan.precision == cuda::Precision::tf32 ? ", tf32" : "") + (sizeof(T) == 4 ? ", float32" : ""));
}

template <class T>
void all_products(const DeviceOf& device) {
  for (const bool tensors : {false, true}) {
    if (tensors && sizeof(T) == 8) continue;
    Index which = 0;
    const auto times = [&](Index m, Index n, Index k, std::vector<BatchDim> batch = {}) {
      MatmulPlan plan{m, n, k, (which & 1) != 0, (which & 2) != 0, which % 3 == 0 ? 1.0 : 2.0, which % 2 ? -1.0 : 0.0,
                      {}};
      plan.batch = std::move(batch);
      plan.precision = tensors ? cuda::Precision::tf32 : cuda::Precision::float32;
      product<T>(device, plan, which++ % 2);
    };
    times(66, 35, 17);
    times(3, 5, 1100);                                     // in parts of its depth
    times(130, 66, 8, {{2, 130 * 8, 0}, {2, 0, 66 * 8}});  // tiles enough for the large ones
    if (kRacesAlone) continue;
    for (int transposed = 0; transposed < 4; transposed++) times(5, 7, 3);
    times(1, 1, 1);
    times(1, 70, 33);
    times(65, 1, 9);
    times(3, 4, 0);
    times(4, 3, 6, {{3, 24, 18}, {2, 0, 0}});  // a factor for two
  }
}

template <class T>
void all(const DeviceOf& device) {
  const std::vector<Size> table =
      kRacesAlone ? std::vector<Size>{{6, 3, 8, 0}, {540, 2, 3, 0}}
                  : std::vector<Size>{{1, 1, 1, 0}, {1, 3, 4, 1},   {6, 3, 8, 0},    {6, 3, 8, 1},
                                      {7, 4, 5, 0}, {540, 2, 3, 0}, {40, 20, 33, 1}, {4, 2, 1030, 0}};
  for (const Size& size : table) {
    sums<T>(device, size);
    structured<T>(device, size);
    parts<T>(device, size);
  }
  sums<T>(device, {0, 2, 3, 0});
  not_finite<T>(device);
  all_products<T>(device);
}

}  // namespace

int main() {
  const auto device = cuda::Device::open(0);
  all<float>(device);
  all<double>(device);
  return failures();
}
