// Losses and their gradients against plain loops of the formulas: every loss, odd sizes, several blocks, tails, empty
// classes; and plain numbers where the formula loses its digits.
#include "ops/loss/losses.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "test/loss_cases.h"

using namespace lp;
using namespace lp::test;

template <class T>
void compare(const Sample<T>& sample, const Loss& loss, bool biased, const std::string& what) {
  const auto actual = loss_and_gradient<T>(loss, sample.state(biased), sample.gradient(biased), true, Control());
  compare_with_ref(sample, loss, biased, actual, what);
  const auto measured = loss_and_gradient<T>(loss, sample.state(biased), {}, true, Control());
  check(measured.value == actual.value && measured.regularizer == actual.regularizer &&
            measured.accuracy == actual.accuracy && measured.min_margin == actual.min_margin,
        what + ": the same numbers without a gradient");
}

template <class T>
void all() {
  for (const auto& [n, classes, p] : {std::tuple<Index, Index, Index>{1, 2, 1},
                                      {7, 3, 2},
                                      {5, 9, 17},
                                      {129, 5, 33},
                                      {640, 131, 8},
                                      {1031, 3, 67},
                                      {40, 300, 300},
                                      {600, 7001, 3}}) {
    for (Index offset : {0, 1}) {
      const Sample<T> sample(n, classes, p, offset);
      Index k = 0;
      for (const Loss& loss : losses(n, classes)) {
        if (classes > 1000 && k++ % 3 > 0) continue;
        compare(sample, loss, offset == 0, sample.called(loss));
      }
    }
  }
}

// More prototypes than one pass makes lanes for, more samples than logits of a block: the blocks' parts are added up.
template <class T>
void several_blocks() {
  const Sample<T> sample(1100, 4100, 17);
  compare(sample, Loss{}, true, "several blocks of many classes");
}

// A pass that serves again forgets the one before.
template <class T>
void serves_again() {
  for (const Index classes : {3, 300}) {
    const Sample<T> first(50, classes, 300), second(50, classes, 300);
    LossPass<T> pass(Loss{}, classes, 300);
    const auto run = [&](const Sample<T>& sample) {
      const State<T> out = sample.gradient(true);
      return pass.run(sample.state(true), nullptr, 50, out.prototypes, out.biases, {}, false, Control()).value;
    };
    const double value = run(first);
    check(value == run(second) && distance(first.dw, second.dw) == 0 && distance(first.db, second.db) == 0,
          "a second pass over " + std::to_string(classes) + " classes");
  }
}

// Classes whose logits round to the same number tie, whatever their products were before they were rounded, and the
// first of them is the decision: accuracy and margin are of the same logits.
void ties_are_of_rounded_logits() {
  const float features[] = {1, 1e-9f}, prototypes[] = {1, -1, 1, 1};
  for (const LossKind kind : {LossKind::cross_entropy, LossKind::mse, LossKind::hinge, LossKind::unhinged}) {
    Loss loss;
    loss.kind = kind;
    for (const int32_t label : {0, 1}) {
      const auto found =
          loss_and_gradient<float>(loss, {{features, 1, 2}, {prototypes, 2, 2}, nullptr, &label}, {}, true, Control());
      check(found.min_margin == 0, "a margin of 0");
      check(found.accuracy == (label == 0 ? 1 : 0), "the first of equals is the decision");
    }
  }
}

// A logit that lacks exactly the margin costs nothing and has no gradient.
void hinge_at_the_margin() {
  const double features[] = {1, 0}, prototypes[] = {1, 0, 0.25, 0, 0.5, 0};
  const int32_t labels[] = {0};
  double df[2], dw[6];
  Loss loss;
  loss.kind = LossKind::hinge;
  for (const double margin : {0.5, 0.75}) {
    loss.margin = margin;
    const auto found = loss_and_gradient<double>(loss, {{features, 1, 2}, {prototypes, 3, 2}, nullptr, labels},
                                                 {{df, 1, 2}, {dw, 3, 2}, nullptr, nullptr}, false, Control());
    const bool met = margin == 0.5;  // of class 2; at 0.75 that of class 1 is, and class 2 lacks 0.25
    check(found.value == (met ? 0 : 0.25), "hinge at the margin: value");
    check(df[0] == (met ? 0 : -0.5) && dw[0] == (met ? 0 : -1), "hinge at the margin: gradient of the own class");
    check(dw[2] == 0 && dw[4] == (met ? 0 : 1), "hinge at the margin: gradient of the others");
  }
}

// Directions do not depend on lengths, however small or large: the gradient is that of features of length 1, over the
// length.
void features_of_any_length() {
  for (const double length : {1e-200, 1e-160, 1e160, 1e200}) {
    const Sample<double> sample(6, 3, 4), small(6, 3, 4);
    for (Index k = 0; k < 24; k++) small.features[k] = sample.features[k] * length;
    for (const LossKind kind : {LossKind::cross_entropy, LossKind::unhinged}) {
      Loss loss;
      loss.kind = kind;
      loss.normalized = true;
      const auto expected =
          loss_and_gradient<double>(loss, sample.state(false), sample.gradient(false), true, Control());
      const auto found = loss_and_gradient<double>(loss, small.state(false), small.gradient(false), true, Control());
      check_close(found.value, expected.value, 1e-13, "a normalized loss of features of any length");
      check_close(distance(small.dw, sample.dw), 0, 1e-13, "its gradient by the prototypes");
      for (Index k = 0; k < 24; k++) small.df[k] *= length;
      check_close(distance(small.df, sample.df), 0, 1e-12, "its gradient by the features");
    }
  }
}

// A sample far on the right side: its loss is the sum of the others' exponentials, and so is the gradient.
void keeps_digits() {
  const double features[] = {300, 0}, prototypes[] = {1, 0, -0.5, 0, -0.75, 0};
  const int32_t labels[] = {0};
  double df[2], dw[6];
  Loss loss;
  const auto summary = loss_and_gradient<double>(loss, {{features, 1, 2}, {prototypes, 3, 2}, nullptr, labels},
                                                 {{df, 1, 2}, {dw, 3, 2}, nullptr, nullptr}, false, Control());
  const double first = std::exp(-450.0), second = std::exp(-525.0);
  check_close(summary.value / (first + second), 1, 1e-13, "a loss of e^-450");
  check_close(df[0] / (-1.5 * first - 1.75 * second), 1, 1e-13, "its gradient");
  check_close(dw[0] / (-300 * (first + second)), 1, 1e-13, "its gradient by the prototypes");
}

// Opposite to the prototype the direction aside is chosen, also along an axis, and the length and the cosine are right.
void breaks_ties() {
  for (const auto& [p, axis] : {std::pair<Index, Index>{2, -1}, {5, -1}, {2, 0}, {2, 1}, {5, 0}}) {
    std::vector<double> features(p), prototypes(2 * p), df(p);
    for (Index j = 0; j < p; j++) {
      features[j] = axis < 0 ? static_cast<double>(j + 1) : j == axis;
      prototypes[j] = -2 * features[j];
      prototypes[p + j] = 1;
    }
    const int32_t labels[] = {0};
    Loss loss;
    loss.kind = LossKind::adjusted_margin;
    loss.normalized = true;
    loss.epsilon = 0.1;
    loss_and_gradient<double>(loss, {{features.data(), 1, p}, {prototypes.data(), 2, p}, nullptr, labels},
                              {{df.data(), 1, p}, {}, nullptr, nullptr}, false, Control());
    double along = 0, square = 0, norm = 0;
    for (Index j = 0; j < p; j++)
      along += df[j] * features[j], square += df[j] * df[j], norm += features[j] * features[j];
    check_close(along, 0, 1e-12, "a gradient aside");
    check_close(std::sqrt(square), 2 * std::sqrt(1 - 0.81) / 0.9, 1e-12, "of the adjusted prototype's length");
  }
}

template <class T>
void refuses() {
  Sample<T> sample(9, 3, 4);
  const auto fails = [&](const Loss& loss, const std::string& message) {
    try {
      loss_and_gradient<T>(loss, sample.state(true), sample.gradient(true), true, Control());
      check(false, "passed: " + message);
    } catch (const Error& error) {
      check(std::string(error.what()).starts_with(message), error.what());
    }
  };
  for (const Loss& loss : losses(9, 3)) {
    const T kept = sample.features[13];
    sample.features[13] = static_cast<T>(NAN);
    fails(loss, "features[3, 1] is NaN");
    sample.features[13] = kept;
    if (!loss.normalized) continue;
    std::vector<T> row(sample.features.get() + 8, sample.features.get() + 12);
    std::fill_n(sample.features.get() + 8, 4, T(0));
    fails(loss, "features[2] is zero and has no direction");
    std::copy(row.begin(), row.end(), sample.features.get() + 8);
  }
}

int main() {
  all<float>();
  all<double>();
  several_blocks<float>();
  several_blocks<double>();
  serves_again<float>();
  serves_again<double>();
  ties_are_of_rounded_logits();
  hinge_at_the_margin();
  features_of_any_length();
  keeps_digits();
  breaks_ties();
  refuses<float>();
  refuses<double>();
  return failures();
}
