// Augmentation against its formula in plain loops, to the bit; against digits worked out elsewhere; and its draws.
#include "ops/augment/augment.h"

#include <cstring>
#include <vector>

#include "check.h"

using namespace lp;
using namespace lp::test;

struct Sample {
  std::vector<uint8_t> pixels;
  Images images;
  Sample(Index n, Index h, Index w, Index channels) : pixels(n * h * w * channels) {
    Random random(n + 7 * h + 31 * w + channels);
    for (auto& v : pixels) v = static_cast<uint8_t>(random.bits());
    images = {pixels.data(), n, h, w, channels};
  }
};

Augmentation plain(Index channels) {
  Augmentation how;
  how.mean.assign(channels, 0.4), how.std.assign(channels, 0.25);
  for (Index c = 0; c < channels; c++) how.mean[c] += 0.01 * c, how.std[c] += 0.03 * c;
  return how;
}

std::vector<float> run(const Sample& sample, const std::vector<int32_t>& chosen, Index epoch, const Augmentation& how) {
  std::vector<float> out(chosen.size() * sample.images.size());
  augment(sample.images, chosen.data(), std::ssize(chosen), epoch, how, out.data(), Control());
  return out;
}

void equals_the_formula() {
  for (const auto& [h, w, channels] : {std::tuple{1, 1, 1}, {5, 3, 3}, {32, 32, 3}, {28, 28, 1}, {7, 65, 2}}) {
    const Sample sample(9, h, w, channels);
    for (int variant = 0; variant < 32; variant++) {
      Augmentation how = plain(channels);
      how.padding = variant & 1 ? 4 : 0, how.shift = variant & 2 ? 2 : 0, how.flip = variant & 4;
      how.mixup = variant & 8 ? 0.3 : 0, how.seed = variant & 16 ? 12345678901234567u : 0;
      if (variant == 31) how.padding = 100, how.shift = 100;
      const std::vector<int32_t> chosen = {8, 0, 3, 3, 7};
      const auto out = run(sample, chosen, variant, how);
      std::vector<float> expected(out.size());
      augment_ref(sample.images, chosen.data(), 5, variant, how, expected.data());
      check(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)) == 0,
            "the formula, variant " + std::to_string(variant) + ", width " + std::to_string(w));
    }
  }
}

// Of a set of which only the chosen samples are here, and their partners: the same bits, wherever a batch begins.
void lacks_what_is_not_chosen() {
  const Sample sample(9, 5, 4, 3);
  const Index size = sample.images.size();
  const std::vector<int32_t> chosen = {8, 0, 3, 3, 7};
  for (const double mixup : {0.0, 0.7}) {
    Augmentation how = plain(3);
    how.padding = 1, how.flip = true, how.mixup = mixup;
    const auto whole = run(sample, chosen, 2, how);
    std::vector<int32_t> rows = chosen;
    if (mixup > 0) {
      for (const int32_t i : chosen) rows.push_back(draw(how, 2, i, 9).mixture.partner);
    }
    std::vector<uint8_t> some;
    for (const int32_t row : rows) {
      some.insert(some.end(), sample.pixels.begin() + row * size, sample.pixels.begin() + (row + 1) * size);
    }
    for (const Index first : {0, 2}) {
      const Images images{some.data() + first * size, std::ssize(rows) - first, 5, 4, 3, 9, 5};
      const Index count = 5 - first;
      std::vector<float> out(count * size), expected(count * size);
      augment(images, chosen.data() + first, count, 2, how, out.data(), Control());
      augment_ref(images, chosen.data() + first, count, 2, how, expected.data());
      check(std::memcmp(out.data(), whole.data() + first * size, out.size() * sizeof(float)) == 0, "the chosen alone");
      check(out == expected, "the chosen alone, by the formula");
    }
    try {
      const Images few{some.data(), std::ssize(rows) - 1, 5, 4, 3, 9, 5};
      std::vector<float> out(5 * size);
      augment(few, chosen.data(), 5, 2, how, out.data(), Control());
      check(false, "an image is missing");
    } catch (const Error& error) {
      check(std::string(error.code()) == "LP_SHAPE", error.what());
    }
  }
}

void normalizes() {
  const Sample sample(3, 4, 5, 3);
  const Augmentation how = plain(3);
  const auto out = run(sample, {2}, 0, how);
  for (Index c = 0; c < 3; c++) {
    for (Index k = 0; k < 20; k++) {
      const double v = sample.pixels[2 * 60 + k * 3 + c] / 255.0;
      check_close(out[c * 20 + k], (v - how.mean[c]) / how.std[c], 1e-6, "normalized pixel");
    }
  }
}

void depends_on_seed_epoch_index_alone() {
  const Sample sample(50, 8, 8, 3);
  Augmentation how = plain(3);
  how.padding = 2, how.shift = 1, how.flip = true, how.mixup = 1;
  std::vector<int32_t> all(50);
  for (int i = 0; i < 50; i++) all[i] = i;
  const auto together = run(sample, all, 3, how);
  for (int i : {0, 17, 49}) {
    const auto alone = run(sample, {i}, 3, how);
    check(std::memcmp(alone.data(), together.data() + i * sample.images.size(), alone.size() * 4) == 0, "alone");
  }
  check(together != run(sample, all, 4, how), "another epoch");
  how.seed = 1;
  check(together != run(sample, all, 3, how), "another seed");
}

// Frequencies of 40 000 draws within five standard deviations of what they should be.
void draws_are_uniform() {
  Augmentation how = plain(1);
  how.padding = 2, how.shift = 1, how.flip = true;
  const Index n = 40000;
  std::vector<Index> crop(25), shift(9), flips(2);
  for (Index i = 0; i < n; i++) {
    const Draw d = draw(how, i % 7, i, n);
    crop[(d.crop_y + 2) * 5 + d.crop_x + 2]++, shift[(d.shift_y + 1) * 3 + d.shift_x + 1]++, flips[d.flip]++;
  }
  for (const auto& counts : {crop, shift, flips}) {
    const double p = 1.0 / counts.size();
    for (Index k : counts) check_close(k, n * p, 5 * std::sqrt(n * p * (1 - p)), "frequency");
  }
}

// Beta(α, α) has mean 1/2 and variance 1 / (4 (2α + 1)).
void shares_are_beta() {
  for (double alpha : {0.05, 0.2, 1.0, 4.0}) {
    Augmentation how = plain(1);
    how.mixup = alpha;
    const Index n = 40000;
    double sum = 0, square = 0, partners = 0;
    for (Index i = 0; i < n; i++) {
      const auto [partner, share] = draw(how, 0, i, 1000).mixture;
      check(share >= 0 && share <= 1 && partner >= 0 && partner < 1000, "range");
      sum += share, square += (share - 0.5) * (share - 0.5), partners += partner;
    }
    const double variance = 0.25 / (2 * alpha + 1);
    check_close(sum / n, 0.5, 5 * std::sqrt(variance / n), "mean of shares");
    check_close(square / n, variance, 5 * 0.25 / std::sqrt(double(n)), "variance of shares");
    check_close(partners / n, 499.5, 5 * 289 / std::sqrt(double(n)), "mean partner");
  }
}

void counts_values() {
  const Sample sample(300, 9, 11, 3);
  std::vector<int64_t> expected(3 * 256), counts(3 * 256, -1);
  for (size_t k = 0; k < sample.pixels.size(); k++) expected[k % 3 * 256 + sample.pixels[k]]++;
  histogram(sample.images, counts.data(), Control());
  check(counts == expected, "histogram");
}

void refuses() {
  const Sample sample(2, 2, 2, 1);
  const auto refused = [&](const char* code, const std::vector<int32_t>& chosen, auto&& spoil) {
    Augmentation how = plain(1);
    spoil(how);
    try {
      run(sample, chosen, 0, how);
      check(false, std::string("passed, expected ") + code);
    } catch (const Error& error) {
      check(std::string(error.code()) == code, error.what());
    }
  };
  const auto nothing = [](Augmentation&) {};
  refused("LP_SHAPE", {2}, nothing);
  refused("LP_SHAPE", {-1}, nothing);
  refused("LP_OPTION", {0}, [](Augmentation& how) { how.padding = -1; });
  refused("LP_OPTION", {0}, [](Augmentation& how) { how.std[0] = 0; });
  refused("LP_OPTION", {0}, [](Augmentation& how) { how.mean.push_back(0); });
  refused("LP_OPTION", {0}, [](Augmentation& how) { how.mixup = NAN; });
}

int main() {
  equals_the_formula();
  lacks_what_is_not_chosen();
  normalizes();
  depends_on_seed_epoch_index_alone();
  draws_are_uniform();
  shares_are_beta();
  counts_values();
  refuses();
  return failures();
}
