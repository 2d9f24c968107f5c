// How rows of logits decide, against std::max_element, which takes the first of equals: labels at both ends, ties with
// classes before and after, rows of one class, infinities and NaN.
#include "ops/loss/row.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "check.h"

using namespace lp;
using namespace lp::test;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class T>
void against_max_element(Index classes, Random& random) {
  std::vector<T> z(classes);
  for (T& value : z) value = static_cast<T>(random.below(4)) / 4;  // many ties
  const Index first = std::max_element(z.begin(), z.end()) - z.begin();
  Decisions all;
  for (Index y = 0; y < classes; y++) {
    const std::string where = std::to_string(classes) + " classes, label " + std::to_string(y);
    const Decision one = decide(z.data(), classes, y);
    double rival = -kInfinity;
    Index other = -1;
    for (Index c = 0; c < classes; c++)
      if (c != y && static_cast<double>(z[c]) > rival) rival = static_cast<double>(z[c]), other = c;
    check(one.own == static_cast<double>(z[y]) && one.rival == rival, "own and rival, " + where);
    check(one.correct == (y == first), "the first of equals, " + where);
    if (other >= 0) check(predicted(y, one.own, other, rival) == first, "predicted, " + where);
    Decisions alone;
    alone.add(one);
    all.add(alone);
  }
  check(all.correct == 1, "one label in all is right");
}

void ends() {
  const double rows[][3] = {{1, NAN, 0}, {kInfinity, 2, kInfinity}, {-kInfinity, -kInfinity, -kInfinity}};
  check(!decide(rows[0], 3, 1).correct, "a logit that is NaN decides nothing");
  check(decide(rows[1], 3, 0).correct && !decide(rows[1], 3, 2).correct, "infinities tie");
  const double alone = 2;
  const Decision one = decide(&alone, 1, 0);
  check(one.correct && one.rival == -kInfinity, "a class without others");
  Decisions none;
  none.add(Decisions());
  check(none.min_margin == kInfinity && none.correct == 0, "no row");
}

// The lowest finite number is above −∞, and −∞ is the rival where there is no more.
template <class T>
void lowest(Index classes) {
  constexpr T kLowest = std::numeric_limits<T>::lowest(), kNone = -std::numeric_limits<T>::infinity();
  std::vector<T> z(classes, kNone);
  check(decide(z.data(), classes, 0).rival == -kInfinity, "the rival of masked classes alone");
  z[classes - 1] = kLowest;
  check(decide(z.data(), classes, 0).rival == static_cast<double>(kLowest), "a rival at the lowest finite number");
  check(!decide(z.data(), classes, 0).correct && decide(z.data(), classes, classes - 1).correct, "it is above −∞");
}

int main() {
  Random random(1);
  for (Index classes = 2; classes < 80; classes++) {
    lowest<float>(classes);
    lowest<double>(classes);
  }
  for (Index classes = 1; classes < 80; classes++) {
    against_max_element<float>(classes, random);
    against_max_element<double>(classes, random);
  }
  ends();
  return failures();
}
