// Measures of collapse against their definitions in plain loops: odd sizes, unaligned features, any order of labels,
// any chunks, collapsed features far from the origin.
#include "ops/collapse/collapse.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "check.h"
#include "core/error.h"

using namespace lp;
using namespace lp::test;

template <class T>
struct Sample {
  Sample(Index n, Index classes, Index p, double spread, double origin, Index offset = 0)
      : features(n * p, offset),
        prototypes(classes * p, offset),
        biases(classes),
        labels(n),
        n(n),
        classes(classes),
        p(p) {
    Random random(n * 31 + classes * 7 + p);
    std::vector<double> means(classes * p);
    for (double& value : means) value = origin + random.uniform();
    for (Index i = 0; i < n; i++) labels[i] = static_cast<int32_t>(i < classes ? i : random.below(classes));
    for (Index i = n - 1; i > 0; i--) std::swap(labels[i], labels[random.below(i + 1)]);
    for (Index i = 0; i < n * p; i++)
      features[i] = static_cast<T>(means[labels[i / p] * p + i % p] + spread * random.uniform());
    for (Index i = 0; i < classes * p; i++) prototypes[i] = static_cast<T>(means[i] - origin + 0.3 * random.uniform());
    for (T& bias : biases) bias = static_cast<T>(random.uniform());
  }
  State<const T> state() const {
    return {{features.get(), n, p}, {prototypes.get(), classes, p}, biases.data(), labels.data()};
  }

  Array<T> features, prototypes;
  std::vector<T> biases;
  std::vector<int32_t> labels;
  Index n, classes, p;
};

template <class T>
CollapseResult fast(const State<const T>& state, CollapseOptions options, Index chunk,
                    const CollapseResult* reference = nullptr, const int32_t* counts = nullptr) {
  const Control control;
  Collapse<T> collapse(state.classes(), state.dim(), state.prototypes.data, state.biases, options);
  const auto sweep = [&](auto step) {
    for (Index row = 0; row < state.samples(); row += chunk) {
      const Index rows = std::min(chunk, state.samples() - row);
      (collapse.*step)({state.features.row(row), rows, state.dim()}, state.labels + row, control);
    }
  };
  if (reference)
    collapse.refer({reference->class_means.data(), state.classes(), state.dim()}, counts);
  else
    sweep(&Collapse<T>::sum);
  collapse.center(control);
  sweep(&Collapse<T>::measure);
  return collapse.result(control);
}

void compare(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance,
             const std::string& what) {
  check(actual.size() == expected.size(),
        what + ": sizes " + std::to_string(actual.size()) + " and " + std::to_string(expected.size()));
  if (actual.size() == expected.size()) check_close(distance(actual, expected), 0, tolerance, what);
}

// (C, C) of the prototypes as they are.
template <class T>
std::vector<double> cosines(const Sample<T>& sample) {
  const auto product = [&](Index c, Index d) {
    double sum = 0;
    for (Index j = 0; j < sample.p; j++) {
      sum += static_cast<double>(sample.prototypes[c * sample.p + j]) *
             static_cast<double>(sample.prototypes[d * sample.p + j]);
    }
    return sum;
  };
  std::vector<double> out;
  for (Index c = 0; c < sample.classes; c++)
    for (Index d = 0; d < sample.classes; d++) out.push_back(product(c, d) / std::sqrt(product(c, c) * product(d, d)));
  return out;
}

// Against a matrix of all cosines. A cosine at the edge of a bin may have been rounded into its neighbour.
void compare_pairs(const PairCosines& pairs, const std::vector<double>& matrix, Index classes,
                   const std::string& what) {
  double smallest = INFINITY, largest = -INFINITY, below = 0;
  std::vector<double> sorted;
  for (Index c = 0; c < classes; c++) {
    for (Index d = c + 1; d < classes; d++) {
      smallest = std::min(smallest, matrix[c * classes + d]);
      largest = std::max(largest, matrix[c * classes + d]);
      sorted.push_back(matrix[c * classes + d]);
    }
  }
  check_close(pairs.smallest, smallest, 1e-6, what + ": smallest");
  check_close(pairs.largest, largest, 1e-6, what + ": largest");
  std::sort(sorted.begin(), sorted.end());
  for (Index bin = 0; bin < PairCosines::kBins; bin++) {
    below += pairs.histogram[bin];
    const double edge = -1 + 2.0 * (bin + 1) / PairCosines::kBins, slack = 1e-6;
    const auto count = [&](double to) { return std::lower_bound(sorted.begin(), sorted.end(), to) - sorted.begin(); };
    const bool last = bin + 1 == PairCosines::kBins;
    check(below >= (last ? std::ssize(sorted) : count(edge - slack)) &&
              below <= (last ? std::ssize(sorted) : count(edge + slack)),
          what + ": histogram below " + std::to_string(edge));
  }
}

template <class T>
void compare(const Sample<T>& sample, CollapseOptions options, Index chunk, double tolerance) {
  const auto plain = collapse_ref(sample.state(), options);
  const auto result = fast(sample.state(), options, chunk);
  const std::string where = " of n = " + std::to_string(sample.n) + ", C = " + std::to_string(sample.classes) +
                            ", p = " + std::to_string(sample.p) + ", chunks of " + std::to_string(chunk) +
                            (sizeof(T) == 4 ? ", float32" : ", float64");
  for (const auto& [name, expected] : plain.measures) {
    check(result.measures.contains(name), name + " is missing");
    check_close(result.measures.at(name), expected,
                tolerance * std::max(1e-30, std::abs(expected)) + (name == "nc4" || name == "accuracy" ? 0 : 1e-13),
                name + where);
  }
  check(result.measures.size() == plain.measures.size(), "more measures than defined");
  const double largest = plain.spectrum.empty() ? 0 : plain.spectrum[0];
  compare(result.spectrum, plain.spectrum, tolerance * largest, "spectrum" + where);
  compare(result.feature_cosines, plain.feature_cosines, tolerance, "feature cosines" + where);
  compare(result.prototype_cosines, plain.prototype_cosines, tolerance, "prototype cosines" + where);
  compare_pairs(result.feature_pairs, plain.feature_cosines, sample.classes, "pairs of class means" + where);
  compare_pairs(result.centered_prototype_pairs, plain.prototype_cosines, sample.classes,
                "pairs of centred prototypes" + where);
  compare_pairs(result.prototype_pairs, cosines(sample), sample.classes, "pairs of prototypes" + where);
  compare(result.class_norms, plain.class_norms, 10 * tolerance, "class norms" + where);
  compare(result.prototype_norms, plain.prototype_norms, 10 * tolerance, "prototype norms" + where);
  compare(result.class_means, plain.class_means, 1e-12 * std::abs(plain.class_means[0]) + 1e-12, "class means" + where);
}

template <class T>
void all() {
  const double tolerance = sizeof(T) == 4 ? 1e-6 : 1e-11;
  for (const auto& [n, classes, p] : {std::tuple<Index, Index, Index>{2, 2, 1},
                                      {7, 2, 3},
                                      {30, 3, 5},
                                      {65, 5, 16},
                                      {40, 9, 4},
                                      {131, 7, 33},
                                      {257, 10, 64},
                                      {90, 30, 130},
                                      {700, 4, 513}}) {
    for (Index offset : {0, 3}) {
      const Sample<T> sample(n, classes, p, 0.5, 0, offset);
      for (bool of_samples : {false, true}) compare(sample, {of_samples, of_samples}, n, tolerance);
      compare(sample, {}, 13, tolerance);
    }
  }
  // More rows than are gathered in the dtype, more than one part a thread.
  compare(Sample<T>(5000, 3, 9, 0.5, 0), {}, 5000, tolerance);
  compare(Sample<T>(5000, 3, 9, 0.5, 0), {}, 1999, tolerance);
  // More classes than a table has rows for, in chunks that have all of them and few, features narrower than the classes
  // are many.
  compare(Sample<T>(2000, 1500, 6, 0.5, 0), {}, sizeof(T) == 4 ? 2000 : 300, tolerance);
  // Far from the origin and collapsed to the last digits: what is left of the spread is still measured right.
  compare(Sample<T>(300, 5, 20, sizeof(T) == 4 ? 1e-4 : 1e-8, 100), {}, 300, sizeof(T) == 4 ? 1e-6 : 1e-8);
}

// Features whose squares under- or overflow in float32 are measured like others, at lengths with and without a tail.
void extremes() {
  const auto scaled = [](Index p, float scale) {
    Sample<float> sample(200, 3, p, 0.5, 0);
    for (Index i = 0; i < 200 * p; i++) sample.features[i] *= scale;
    return sample;
  };
  for (Index p : {40, 256, 300}) {
    const auto plain = collapse_ref(scaled(p, 1).state(), {});
    for (const float scale : {0x1p-70f, 0x1p70f}) {
      const auto measured = fast(scaled(p, scale).state(), {}, 200);
      for (const char* name : {"nc1TraceRatio", "withinClassVariation", "nc1Cdnv"}) {
        const double expected = plain.measures.at(name);
        check_close(measured.measures.at(name), expected, 1e-6 * expected,
                    std::string(name) + " at " + std::to_string(std::log2(scale)) + " binary orders");
      }
    }
  }
}

// Against the means of other samples.
template <class T>
void referred() {
  const double tolerance = sizeof(T) == 4 ? 1e-6 : 1e-11;
  for (const auto& [n, classes, p] :
       {std::tuple<Index, Index, Index>{7, 2, 3}, {131, 7, 33}, {90, 30, 13}, {2000, 1500, 6}}) {
    const Sample<T> sample(n, classes, p, 0.5, 0), other(n + classes + 1, classes, p, 0.7, 0.2);
    std::vector<int32_t> counts(classes);
    for (int32_t label : other.labels) counts[label]++;
    const auto state = sample.state(), origin = other.state();
    for (bool of_samples : {false, true}) {
      const CollapseOptions options{of_samples, 0};
      const auto plain = collapse_ref(state, options, &origin), means = collapse_ref(origin, options);
      const auto result = fast(state, options, 13, &means, counts.data());
      for (const auto& [name, expected] : plain.measures)
        check_close(result.measures.at(name), expected, tolerance * std::abs(expected) + 1e-13,
                    name + " against others of C = " + std::to_string(classes));
      compare(result.spectrum, plain.spectrum, tolerance * plain.spectrum[0], "spectrum against others");
    }
  }
  // A class that is not among them has no spread; what is not finite is found without a first sweep.
  Sample<T> sample(40, 3, 5, 1, 0);
  const auto means = collapse_ref(sample.state(), {});
  const int32_t counts[] = {10, 20, 10};
  for (auto& label : sample.labels) label = label == 1 ? 0 : label;
  const auto result = fast(sample.state(), {}, 40, &means, counts);
  check(std::isnan(result.measures.at("nc1Cdnv")) && result.measures.at("nc1") > 0, "a class that is not there");
  sample.features[17 * 5 + 3] = static_cast<T>(NAN);
  try {
    fast(sample.state(), {}, 10, &means, counts);
    check(false, "passed: a feature that is no number");
  } catch (const Error& error) {
    check(std::string(error.what()).starts_with("features[17, 3] is NaN"), error.what());
  }
}

// The same number of threads gives the same bits.
template <class T>
void repeats() {
  const Sample<T> sample(5000, 7, 33, 0.5, 0);
  const auto once = fast(sample.state(), {}, 1999), again = fast(sample.state(), {}, 1999);
  check(once.measures == again.measures && once.spectrum == again.spectrum, "repeated bits");
}

template <class T>
void refuses() {
  const Sample<T> sample(40, 3, 5, 1, 0);
  const auto fails = [&](auto change, Index chunk, const std::string& message) {
    Sample<T> bad(40, 3, 5, 1, 0);
    change(bad);
    try {
      fast(bad.state(), {}, chunk);
      check(false, "passed: " + message);
    } catch (const Error& error) {
      check(std::string(error.what()).starts_with(message), error.what());
    }
  };
  fails([](auto& bad) { bad.features[17 * 5 + 3] = static_cast<T>(NAN); }, 10, "features[17, 3] is NaN");
  fails([](auto& bad) { bad.features[0] = static_cast<T>(-INFINITY); }, 40, "features[0, 0] is -Infinity");
  fails([](auto& bad) { bad.prototypes[6] = static_cast<T>(INFINITY); }, 40, "prototypes[1, 1] is Infinity");
  fails([](auto& bad) { bad.biases[2] = static_cast<T>(NAN); }, 40, "biases[2] is NaN");
  fails(
      [](auto& bad) {
        for (auto& label : bad.labels) label = label == 1 ? 0 : label;
      },
      40, "Class 1 of 3 has no samples");
}

// All means equal: nothing between the classes, so what is measured against it is not a number.
void undefined() {
  const double features[] = {1, 2, 3, 2, 1, 2, 3, 2};
  const int32_t labels[] = {0, 0, 1, 1};
  const double prototypes[] = {1, 0, 0, 1};
  const auto result = fast<double>({{features, 4, 2}, {prototypes, 2, 2}, nullptr, labels}, {}, 4);
  for (const char* name : {"nc1", "nc1Papyan", "featureCosine", "alignment", "selfDuality", "nc3"})
    check(std::isnan(result.measures.at(name)), std::string(name) + " of equal means");
  check(result.spectrum.empty(), "spectrum of equal means");
  check_close(result.measures.at("withinClassVariation"), 1, 1e-15, "variation of equal means");
}

int main() {
  all<float>();
  extremes();
  all<double>();
  referred<float>();
  referred<double>();
  repeats<float>();
  repeats<double>();
  refuses<float>();
  refuses<double>();
  undefined();
  return failures();
}
