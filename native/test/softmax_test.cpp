// Rows of a softmax against probabilities in extended precision: any number of classes, temperature, type and
// alignment; ties, saturation, rows that are not finite.
#include "ops/loss/softmax.h"

#include <cmath>
#include <string>
#include <vector>

#include "check.h"

using namespace lp;
using namespace lp::test;

struct Rows {
  static constexpr Index kNumbers = 9;

  explicit Rows(Index n) : predicted(n), numbers(n * kNumbers, -1.0) {}
  SoftmaxRows out() {
    const auto at = [&](Index k) { return numbers.data() + k * std::ssize(predicted); };
    return {predicted.data(), at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8)};
  }
  std::vector<int32_t> predicted;
  std::vector<double> numbers;
};

template <class T>
void compare(Index n, Index classes, double scale, double beta, bool labelled) {
  Random random(n * 17 + classes);
  const Array<T> z(n * classes, random, classes % 3);
  std::vector<int32_t> labels(n);
  for (Index i = 0; i < n * classes; i++) z[i] *= static_cast<T>(scale);
  for (Index i = 0; i < n; i++) labels[i] = static_cast<int32_t>(random.below(classes));
  for (Index i = 0; i < n; i += 3) z[i * classes + random.below(classes)] = z[i * classes];  // some ties
  const Matrix<const T> logits{z.get(), n, classes};
  Rows fast(n), plain(n);
  softmax_rows(logits, labelled ? labels.data() : nullptr, beta, fast.out(), Control());
  softmax_rows_ref(logits, labelled ? labels.data() : nullptr, beta, plain.out());
  const std::string where = " of n = " + std::to_string(n) + ", C = " + std::to_string(classes) +
                            ", scale = " + std::to_string(scale) + ", beta = " + std::to_string(beta);
  check(fast.predicted == plain.predicted, "decisions" + where);
  const char* names[] = {"largest", "confidence", "log-odds", "mean", "variance", "ties", "nll", "brier", "missed"};
  for (Index k = 0; k < Rows::kNumbers; k++) {
    if (beta == 0 && k == 4) continue;  // variance
    for (Index i = 0; i < n; i++) {
      const double expected = plain.numbers[k * n + i];
      check_close(fast.numbers[k * n + i], expected, 1e-12 * std::abs(expected) + 1e-14, names[k] + where);
    }
  }
}

void saturates() {
  const double z[] = {900, 0, 0, 0, 1000, -1e5}, huge[] = {1e200, 0, -1e200};
  const int32_t labels[] = {0, 0};
  Rows rows(2);
  const SoftmaxRows out = rows.out();
  softmax_rows(Matrix<const double>{z, 2, 3}, labels, 1, out, Control());
  check(out.confidence[0] == 1 && out.confidence[1] == 1, "saturated confidences");
  check_close(out.log_odds[0], 900 - std::log(2), 1e-12, "saturated log-odds");
  check_close(out.nll[1], 1000, 0, "large loss");
  check(out.mean[0] == 0 && out.variance[0] == 0 && out.nll[0] == 0, "moments of a saturated row");
  softmax_rows(Matrix<const double>{huge, 1, 3}, labels, 1, rows.out(), Control());
  for (const double value : rows.numbers) check(!std::isnan(value), "huge logits");
}

// A masked class changes nothing: the rows are those without its column.
template <class T>
void masks() {
  constexpr Index n = 40;
  for (Index classes : {2, 3, 7, 40}) {
    for (Index masked : {1, 2, 33}) {
      for (double beta : {0.0, 0.3, 2.0}) {
        Random random(classes * 100 + masked);
        const Index all = classes + masked;
        const Array<T> z(n * classes, random), wide(n * all, random, 1);
        std::vector<int32_t> labels(n), moved(n);
        for (Index i = 0; i < n; i++) {
          labels[i] = static_cast<int32_t>(random.below(classes));
          Index left = masked;
          for (Index j = 0, k = 0; j < all; j++) {
            const bool hide = left > 0 && (j - k < masked) && (all - j == left || random.below(2) == 0);
            if (k < classes && !hide) {
              if (k == labels[i]) moved[i] = static_cast<int32_t>(j);
              wide[i * all + j] = z[i * classes + k++];
            } else {
              wide[i * all + j] = static_cast<T>(-HUGE_VAL);
              left--;
            }
          }
        }
        Rows few(n), many(n), plain(n);
        softmax_rows_ref(Matrix<const T>{z.get(), n, classes}, labels.data(), beta, few.out());
        softmax_rows(Matrix<const T>{wide.get(), n, all}, moved.data(), beta, many.out(), Control());
        softmax_rows_ref(Matrix<const T>{wide.get(), n, all}, moved.data(), beta, plain.out());
        for (Index k = 0; k < Rows::kNumbers * n; k++) {
          if (beta == 0 && k / n == 4) continue;  // variance
          const double expected = few.numbers[k];
          check_close(many.numbers[k], expected, 1e-12 * std::abs(expected) + 1e-14, "a masked class");
          check_close(plain.numbers[k], expected, 1e-12 * std::abs(expected) + 1e-14, "a masked class of the oracle");
        }
        for (Index i = 0; i < n; i++)
          check(wide[i * all + many.predicted[i]] == static_cast<T>(few.out().largest[i]), "a decision");
      }
    }
  }
  // All masked but one.
  const T one[] = {static_cast<T>(-HUGE_VAL), 3, static_cast<T>(-HUGE_VAL)};
  const int32_t label[] = {1};
  for (double beta : {0.0, 1.0}) {
    Rows rows(1);
    const SoftmaxRows out = rows.out();
    softmax_rows(Matrix<const T>{one, 1, 3}, label, beta, out, Control());
    check(out.predicted[0] == 1 && out.largest[0] == 3 && out.confidence[0] == 1 && out.log_odds[0] == HUGE_VAL,
          "one left");
    check(out.mean[0] == 0 && out.variance[0] == 0 && out.ties[0] == 1, "moments of one left");
    check(out.nll[0] == 0 && out.brier[0] == 0 && out.missed[0] == 0, "losses of one left");
  }
}

template <class T>
void marks() {
  for (Index classes : {2, 5, 40}) {
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      for (Index at = 0; at < classes; at++) {
        Random random(7);
        const Array<T> z(3 * classes, random);
        z[classes + at] = static_cast<T>(bad);
        const auto own = static_cast<int32_t>(bad == -HUGE_VAL ? at : 0);
        const int32_t labels[] = {0, own, 0};
        Rows rows(3);
        softmax_rows(Matrix<const T>{z.get(), 3, classes}, labels, 1, rows.out(), Control());
        const double* confidence = rows.out().confidence;
        check(!std::isnan(confidence[0]) && std::isnan(confidence[1]) && !std::isnan(confidence[2]), "a bad row");
      }
    }
    Random random(8);
    const Array<T> none(classes, random);
    for (Index j = 0; j < classes; j++) none[j] = static_cast<T>(-HUGE_VAL);
    Rows rows(1);
    softmax_rows(Matrix<const T>{none.get(), 1, classes}, nullptr, 1, rows.out(), Control());
    check(std::isnan(rows.out().confidence[0]), "a row of masked classes alone");
  }
}

template <class T>
void all() {
  for (Index classes : {2, 3, 7, 16, 33, 250}) {
    for (Index n : {1, 5, 300}) {
      for (double scale : {1e-3, 1.0, 30.0}) {
        for (double beta : {0.0, 0.2, 1.0, 10.0}) compare<T>(n, classes, scale, beta, n != 5);
      }
    }
  }
}

int main() {
  all<float>();
  all<double>();
  saturates();
  masks<float>();
  masks<double>();
  marks<float>();
  marks<double>();
  return failures();
}
