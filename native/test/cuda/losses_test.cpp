// Losses and their gradients on the device against plain loops of the formulas: every loss, odd sizes, rows that no
// pack fits, empty classes, more classes than a warp takes, and what is refused.
#include "ops/loss/losses.h"

#include <limits>

#include "test/cuda/device.h"
#include "test/loss_cases.h"

using namespace lp;
using namespace lp::test;

namespace {

// A sample's state and gradient on the device, `offset` elements from where memory is aligned.
template <class T>
struct Placed {
  Placed(const Sample<T>& sample, bool biased, Index offset)
      : features(sample.features, offset),
        prototypes(sample.prototypes, offset),
        biases(sample.biases, offset),
        df(sample.df, offset),
        dw(sample.dw, offset),
        db(sample.db, offset),
        state{{features.get(), sample.n, sample.p},
              {prototypes.get(), sample.classes, sample.p},
              biased ? biases.get() : nullptr,
              sample.labels.data()},
        gradient{{df.get(), sample.n, sample.p},
                 {dw.get(), sample.classes, sample.p},
                 biased ? db.get() : nullptr,
                 nullptr} {}
  Shifted<T> features, prototypes, biases, df, dw, db;
  State<const T> state;
  State<T> gradient;
};

template <class T>
void compare(const std::shared_ptr<cuda::Device>& device, const Sample<T>& sample, const Loss& loss, bool biased,
             Index offset) {
  const Placed<T> placed(sample, biased, offset);
  Control control;
  LossSummary actual, measured;
  {
    cuda::Job job(device, control);
    actual = cuda::loss_and_gradient<T>(job, cuda::Precision::float32, loss, placed.state, placed.gradient, true);
    placed.df.read(sample.df), placed.dw.read(sample.dw), placed.db.read(sample.db);
    measured =
        kRacesAlone ? actual : cuda::loss_and_gradient<T>(job, cuda::Precision::float32, loss, placed.state, {}, true);
  }
  compare_with_ref(sample, loss, biased, actual, sample.called(loss));
  check(measured.value == actual.value && measured.accuracy == actual.accuracy &&
            measured.min_margin == actual.min_margin,
        sample.called(loss) + ": the same numbers without a gradient");
}

bool has_logits(const Loss& loss) {
  return loss.kind == LossKind::cross_entropy || loss.kind == LossKind::mse || loss.kind == LossKind::hinge;
}

template <class T>
void all(const std::shared_ptr<cuda::Device>& device) {
  struct Case {
    Index n, classes, p, offset, each;  // every so many of the losses
  };
  const std::vector<Case> table =
      kRacesAlone ? std::vector<Case>{{70, 5, 17, 1, 3}, {2, 4099, 3, 0, 3}}
                  : std::vector<Case>{
                        {1, 2, 1, 0, 4}, {7, 3, 4, 0, 2}, {37, 5, 17, 1, 4}, {130, 9, 8, 1, 10}, {3, 4099, 3, 0, 7}};
  for (const auto& [n, classes, p, offset, each] : table) {
    const Sample<T> sample(n, classes, p);
    Index k = n + static_cast<Index>(sizeof(T)) / 4;  // others of each dtype
    for (const Loss& loss : losses(n, classes)) {
      if (k++ % each != 0) continue;
      // What is a block's for each of thousands of classes is another's for a few, and takes minutes there.
      const bool few = !kRacesAlone || classes < 4096;
      if (few || has_logits(loss)) compare(device, sample, loss, few && k % 2 == 0, offset);
    }
  }
}

// w against h but for rounding: what is beside h is an axis'.
template <class T>
void turned(const std::shared_ptr<cuda::Device>& device) {
  for (const Index p : {1, 2, 5}) {
    const Sample<T> sample(4, 2, p);
    for (Index i = 0; i < 4; i++)
      for (Index j = 0; j < p; j++) {
        sample.features[i * p + j] = i == 0 ? T(j == 0) : T(0.25) * static_cast<T>(j + 1 + i);
        sample.prototypes[sample.labels[i] * p + j] = -sample.features[i * p + j];
      }
    Loss loss;
    loss.kind = LossKind::adjusted_margin;
    loss.gamma = 0.3;
    loss.epsilon = 0.2;
    const Sample<T> plain(4, 2, p);
    std::copy_n(sample.features.get(), 4 * p, plain.features.get());
    std::copy_n(sample.prototypes.get(), 2 * p, plain.prototypes.get());
    const LossSummary expected = loss_and_gradient_ref<T>(loss, plain.state(false), plain.gradient(false));
    const Placed<T> placed(sample, false, 0);
    Control control;
    cuda::Job job(device, control);
    const LossSummary actual =
        cuda::loss_and_gradient<T>(job, cuda::Precision::float32, loss, placed.state, placed.gradient, false);
    placed.df.read(sample.df), placed.dw.read(sample.dw);
    const double rounding = sizeof(T) == 4 ? 1e-5 : 1e-13;
    const std::string what = "turned away, p = " + std::to_string(p);
    check_close(actual.value, expected.value, rounding, what + ": value");
    check_close(distance(sample.df, plain.df), 0, rounding, what + ": features");
    check_close(distance(sample.dw, plain.dw), 0, rounding, what + ": prototypes");
  }
}

template <class T>
void refused(const std::shared_ptr<cuda::Device>& device) {
  for (const bool zero : {false, true}) {
    const Sample<T> sample(9, 3, 5);
    for (Index j = 0; j < 5; j++) sample.features[20 + j] = zero ? T(0) : std::numeric_limits<T>::quiet_NaN();
    for (const LossKind kind : {LossKind::cross_entropy, LossKind::unhinged}) {
      const Placed<T> placed(sample, false, 0);
      Loss loss;
      loss.kind = kind;
      loss.normalized = zero;
      Control control;
      std::string said;
      try {
        cuda::Job job(device, control);
        cuda::loss_and_gradient<T>(job, cuda::Precision::float32, loss, placed.state, placed.gradient, false);
      } catch (const Error& error) {
        said = error.what();
      }
      check(said.find(zero ? "4" : "features[4, 0]") != std::string::npos, "refused: " + said);
    }
  }
}

}  // namespace

int main() {
  const auto device = cuda::Device::open(0);
  all<float>(device), all<double>(device);
  turned<float>(device), turned<double>(device);
  refused<float>(device), refused<double>(device);
  return failures();
}
