// The generator against its published outputs; bounded integers and orders each as likely as the others.
#include "core/random.h"

#include <map>
#include <numeric>
#include <vector>

#include "check.h"

using namespace lp;
using namespace lp::test;

// The first words of seed 1234567, as Vigna's splitmix64.c prints them.
void published() {
  SplitMix64 random(1234567);
  for (const uint64_t word : {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u,
                              16408922859458223821u}) {
    check(random.next() == word, "published word " + std::to_string(word));
  }
}

// A word w counts as the high half of w · bound, unless the low half is below 2⁶⁴ mod bound: of 3 · 2⁶² that is a
// multiple of 4.
void leaves_out_the_surplus() {
  const uint64_t bound = uint64_t{3} << 62;
  SplitMix64 words(7), random(7);
  Index left_out = 0;
  for (int k = 0; k < 4000; k++) {
    for (;;) {
      const uint64_t word = words.next();
      if (word % 4 == 0) {
        left_out++;
        continue;
      }
      check(random.below(bound) == word / 4 * 3 + word % 4 * 3 / 4, "bounded by the high half");
      break;
    }
  }
  check(left_out > 1100 && left_out < 1570, "a quarter is left out: " + std::to_string(left_out));
}

void bounded() {
  SplitMix64 random(5);
  for (uint64_t bound : {1, 2, 3, 7, 10}) {
    std::vector<double> counts(bound);
    const int draws = 70000;
    for (int k = 0; k < draws; k++) counts[random.below(bound)]++;
    double statistic = 0;
    for (double count : counts)
      statistic += (count - draws / static_cast<double>(bound)) * (count - draws / static_cast<double>(bound));
    check(statistic / (draws / static_cast<double>(bound)) < 30, "below " + std::to_string(bound) + " is uniform");
  }
}

// All 24 orders of four values equally often, and a function of the seed's words.
void orders() {
  std::map<std::vector<int>, double> counts;
  const int draws = 48000;
  for (int k = 0; k < draws; k++) {
    std::vector<int> values(4);
    std::iota(values.begin(), values.end(), 0);
    SplitMix64 random({3, static_cast<uint64_t>(k)});
    shuffle(values.data(), 4, random);
    counts[values]++;
  }
  double statistic = 0;
  for (const auto& [order, count] : counts)
    statistic += (count - draws / 24.0) * (count - draws / 24.0) / (draws / 24.0);
  check(counts.size() == 24 && statistic < 60, "orders are uniform: " + std::to_string(statistic));
}

void streams() {
  check(SplitMix64({1, 2}).next() == SplitMix64({1, 2}).next(), "a stream is a function of its words");
  check(SplitMix64({1, 2}).next() != SplitMix64({2, 1}).next(), "the order of words counts");
  check(SplitMix64({0, 0}).next() != SplitMix64({0}).next(), "a further zero counts");
}

int main() {
  published();
  leaves_out_the_surplus();
  bounded();
  orders();
  streams();
  return failures();
}
