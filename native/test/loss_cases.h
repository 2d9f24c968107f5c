// Cases of tests of losses, on the CPU and on a device: states, every loss, and how near results are to the oracle's.
#pragma once

#include <string>
#include <vector>

#include "ops/loss/losses.h"
#include "test/check.h"

namespace lp::test {

template <class T>
struct Sample {
  Sample(Index n, Index classes, Index p, Index offset = 0)
      : n(n),
        classes(classes),
        p(p),
        random(n * 131 + classes * 17 + p),
        features(n * p, random, offset),
        prototypes(classes * p, random, offset),
        biases(classes, random),
        df(n * p),
        dw(classes * p),
        db(classes),
        labels(n) {
    for (auto& label : labels) label = static_cast<int32_t>(random.below(classes));
  }
  State<const T> state(bool biased) const {
    return {{features.get(), n, p}, {prototypes.get(), classes, p}, biased ? biases.get() : nullptr, labels.data()};
  }
  State<T> gradient(bool biased) const {
    return {{df.get(), n, p}, {dw.get(), classes, p}, biased ? db.get() : nullptr, nullptr};
  }

  std::string called(const Loss& loss) const {
    return "loss " + std::to_string(static_cast<int>(loss.kind)) + " of n = " + std::to_string(n) +
           ", C = " + std::to_string(classes) + ", p = " + std::to_string(p) + (loss.normalized ? ", normalized" : "") +
           (sizeof(T) == 4 ? ", float32" : "");
  }

  Index n, classes, p;
  Random random;
  Array<T> features, prototypes, biases, df, dw, db;
  std::vector<int32_t> labels;
};

// Every loss, with what may be added to it.
inline std::vector<Loss> losses(Index n, Index classes) {
  Random random(n + classes);
  std::vector<double> weights(classes), lengths(classes), soft(n * classes);
  for (double& weight : weights) weight = 1 + random.uniform();
  for (double& length : lengths) length = 1.5 + random.uniform();
  for (Index i = 0; i < n; i++) {
    double sum = 0;
    for (Index c = 0; c < classes; c++) sum += soft[i * classes + c] = 1.1 + random.uniform();
    for (Index c = 0; c < classes; c++) soft[i * classes + c] /= sum;
  }
  std::vector<Loss> all;
  const auto add = [&](auto change) {
    Loss loss;
    change(loss);
    for (bool normalized : {false, true}) {
      loss.normalized = normalized;
      loss.radius = normalized ? 1.3 : 1;
      all.push_back(loss);
    }
    loss.class_weights = weights;
    loss.sum = true;
    loss.regularization = 0.03;
    all.push_back(loss);
  };
  add([](Loss& loss) { loss.kind = LossKind::unhinged, loss.gamma = 0.3; });
  add([](Loss& loss) { loss.kind = LossKind::cross_entropy; });
  add([](Loss& loss) { loss.kind = LossKind::cross_entropy, loss.smoothing = 0.1; });
  add([&](Loss& loss) { loss.kind = LossKind::cross_entropy, loss.soft_labels = soft; });
  add([](Loss& loss) { loss.kind = LossKind::mse; });
  add([](Loss& loss) { loss.kind = LossKind::hinge, loss.margin = 0.7; });
  add([&](Loss& loss) {
    loss.kind = LossKind::dot_regression, loss.targets = lengths, loss.curvatures = lengths;
    loss.prototype_lengths = lengths;
  });
  add([&](Loss& loss) { loss.kind = LossKind::dot_regression, loss.targets = lengths, loss.curvatures = weights; });
  add([&](Loss& loss) {
    loss.kind = LossKind::dot_regression, loss.targets = lengths, loss.curvatures = weights, loss.own_length = true;
  });
  add([](Loss& loss) { loss.kind = LossKind::adjusted_margin, loss.gamma = 0.3, loss.epsilon = 0.8; });
  return all;
}

// What a pass made of the sample, with its gradient in the sample's arrays, beside the oracle's.
template <class T>
void compare_with_ref(const Sample<T>& sample, const Loss& loss, bool biased, const LossSummary& actual,
                      const std::string& what) {
  const Sample<T> plain(sample.n, sample.classes, sample.p);
  const auto expected = loss_and_gradient_ref<T>(loss, sample.state(biased), plain.gradient(biased));
  const double n = static_cast<double>(sample.n), scale = loss.sum ? n : 1, size = std::sqrt(sample.p) + 2;
  // The gradients of a class are of size 1 for these, not all of them together.
  const bool large = loss.kind == LossKind::mse || loss.kind == LossKind::hinge;
  const double rounding = (sizeof(T) == 4 ? 2e-6 : 1e-14) * size * (large ? sample.classes : 1);
  check_close(actual.value, expected.value, rounding * scale * size * (1 + sample.classes / 100), what + ": value");
  check_close(actual.regularizer, expected.regularizer, rounding * scale * size, what + ": regularizer");
  check_close(distance(sample.df, plain.df), 0, rounding * size * scale / n, what + ": features");
  check_close(distance(sample.dw, plain.dw), 0, rounding * scale, what + ": prototypes");
  if (biased) check_close(distance(sample.db, plain.db), 0, rounding * scale, what + ": biases");
  check_close(actual.min_margin, expected.min_margin, rounding * size, what + ": margin");
  if (sizeof(T) == 8) check_close(actual.accuracy, expected.accuracy, 1e-15, what + ": accuracy");
}

}  // namespace lp::test
