#include "ops/augment/augment.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "core/error.h"
#include "core/random.h"
#include "core/thread_pool.h"

namespace lp {
namespace {

// On {−reach, …, reach}.
Index within(Index reach, SplitMix64& random) {
  return static_cast<Index>(random.below(static_cast<uint64_t>(2 * reach + 1))) - reach;
}

double normal(SplitMix64& random) {  // Marsaglia's polar method
  for (;;) {
    const double x = 2 * random.uniform() - 1, y = 2 * random.uniform() - 1, square = x * x + y * y;
    if (square < 1 && square > 0) return x * std::sqrt(-2 * std::log(square) / square);
  }
}

// Logarithm of a Gamma(α, 1) variable: Marsaglia and Tsang 2000, for α + 1, times U^{1/α}.
double log_gamma(double alpha, SplitMix64& random) {
  const double d = alpha + 1 - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double z = normal(random), root = 1 + c * z, v = root * root * root;
    if (root > 0 && std::log(random.uniform()) < 0.5 * z * z + d - d * v + d * std::log(v)) {
      return std::log(d * v) + std::log(random.uniform()) / alpha;
    }
  }
}

// The rows of one augmented image, channel by channel, as bytes: out (channels, height, width).
void cut(const Images& images, Index index, const Draw& d, uint8_t* out) {
  const Index h = images.height, w = images.width, channels = images.channels;
  const uint8_t* image = images.data + index * images.size();
  const Index begin = std::clamp<Index>(-d.crop_x, 0, w), end = std::clamp<Index>(w - d.crop_x, 0, w);
  for (Index y = 0; y < h; y++) {
    const bool beyond = y + d.crop_y < 0 || y + d.crop_y >= h;
    const uint8_t* row = image + std::clamp<Index>(y + d.crop_y + d.shift_y, 0, h - 1) * w * channels;
    for (Index c = 0; c < channels; c++) {
      uint8_t* to = out + (c * h + y) * w;
      if (beyond || begin >= end) {
        std::memset(to, 0, w);
        continue;
      }
      std::memset(to, 0, begin);
      std::memset(to + end, 0, w - end);
      // Columns whose source lies inside are copied at a stride; the others repeat an edge.
      const Index offset = d.crop_x + d.shift_x;
      const Index first = std::clamp(-offset, begin, end), last = std::clamp(w - offset, first, end);
      std::memset(to + begin, row[c], first - begin);
      for (Index x = first; x < last; x++) to[x] = row[(x + offset) * channels + c];
      std::memset(to + last, row[(w - 1) * channels + c], end - last);
      if (d.flip) std::reverse(to, to + w);
    }
  }
}

void check(const Images& images, const int32_t* chosen, Index count, Index epoch, const Augmentation& how) {
  const auto refuse = [](const char* what) { throw Error("LP_OPTION", what); };
  if (images.count < 1 || images.size() < 1)
    throw Error("LP_SHAPE", "There are no images; expected at least one pixel.");
  const Index most = Index{1} << 30;
  if (how.padding < 0 || how.padding > most || how.shift < 0 || how.shift > most) {
    refuse("padding and shift are numbers of pixels; expected 0 or more.");
  }
  // From a smaller one on both variables of a share may leave the range of numbers.
  if (!(how.mixup == 0 || (how.mixup >= 1e-6 && how.mixup <= 1e6))) {
    refuse("mixup is the parameter of a Beta distribution; expected 0, or 10⁻⁶ … 10⁶.");
  }
  if (std::ssize(how.mean) != images.channels || std::ssize(how.std) != images.channels) {
    refuse("mean and std need one number a channel.");
  }
  for (double mean : how.mean) {
    if (!(std::abs(mean) <= 1e6)) refuse("mean has an entry out of range; expected one of pixels / 255.");
  }
  for (double std : how.std) {
    if (!(std >= 1e-6 && std <= 1e6)) refuse("std has an entry out of range; expected 10⁻⁶ … 10⁶, of pixels / 255.");
  }
  if (epoch < 0) refuse("epoch is negative; epochs count from 0.");
  for (Index b = 0; b < count; b++) {
    if (chosen[b] >= 0 && chosen[b] < images.all()) continue;
    throw Error("LP_SHAPE", "indices[" + std::to_string(b) + "] is " + std::to_string(chosen[b]) + "; expected 0 … " +
                                std::to_string(images.all() - 1) + ".");
  }
  const Index rows = how.mixup > 0 ? images.partners + count : count;
  if (images.samples > 0 && (images.count < rows || images.partners < 0)) {
    throw Error("LP_SHAPE", "There are " + std::to_string(images.count) + " images; expected those of all samples.");
  }
}

}  // namespace

Draw draw(const Augmentation& how, Index epoch, Index index, Index samples) {
  SplitMix64 random({how.seed, static_cast<uint64_t>(epoch), static_cast<uint64_t>(index)});
  Draw d;
  d.crop_y = within(how.padding, random);
  d.crop_x = within(how.padding, random);
  d.shift_y = within(how.shift, random);
  d.shift_x = within(how.shift, random);
  d.flip = random.below(2) == 1 && how.flip;
  d.mixture = {static_cast<int32_t>(index), 1};
  if (how.mixup > 0) {
    const auto partner = static_cast<int32_t>(random.below(static_cast<uint64_t>(samples)));
    const double own = log_gamma(how.mixup, random), other = log_gamma(how.mixup, random);
    d.mixture = {partner, std::round(0x1p16 / (1 + std::exp(other - own))) * 0x1p-16};
  }
  return d;
}

Normalization normalization(double mean, double std) {
  int exponent;
  const double mantissa = std::frexp(1 / (255 * std), &exponent);
  return {std::ldexp(std::round(mantissa * 0x1p28), exponent - 28), -mean / std};
}

void augment(const Images& images, const int32_t* chosen, Index count, Index epoch, const Augmentation& how, float* out,
             const Control& control) {
  check(images, chosen, count, epoch, how);
  const Index size = images.size(), plane = images.height * images.width;
  const auto normalize_row = LP_SELECT(normalize_row);
  const auto normalize_mixed_row = LP_SELECT(normalize_mixed_row);
  std::vector<Normalization> normal;
  for (Index c = 0; c < images.channels; c++) normal.push_back(normalization(how.mean[c], how.std[c]));

  const Index grain = std::max<Index>(1, (Index{1} << 16) / size);
  parallel_for(count, grain, control, [&](Index begin, Index end) {
    const Buffer<uint8_t> own(size), other(how.mixup > 0 ? size : 0);
    for (Index b = begin; b < end; b++) {
      const Draw d = draw(how, epoch, chosen[b], images.all());
      const auto [partner, share] = d.mixture;
      cut(images, images.row(b, chosen[b]), d, own.get());
      if (share < 1) {
        cut(images, images.partner_row(b, partner), draw(how, epoch, partner, images.all()), other.get());
      }
      for (Index c = 0; c < images.channels; c++) {
        const auto [factor, offset] = normal[c];
        float* to = out + b * size + c * plane;
        if (share < 1) {
          normalize_mixed_row(own.get() + c * plane, other.get() + c * plane, share, plane, factor, offset, to);
        } else {
          normalize_row(own.get() + c * plane, plane, factor, offset, to);
        }
      }
    }
  });
}

void mixtures(const Images& images, const int32_t* chosen, Index count, Index epoch, const Augmentation& how,
              Mixture* out) {
  check(images, chosen, count, epoch, how);
  for (Index b = 0; b < count; b++) out[b] = draw(how, epoch, chosen[b], images.all()).mixture;
}

void histogram(const Images& images, int64_t* out, const Control& control) {
  const Index channels = images.channels, pixels = images.height * images.width;
  std::fill_n(out, channels * 256, 0);
  std::mutex mutex;
  parallel_for(images.count, std::max<Index>(1, (Index{1} << 20) / std::max<Index>(images.size(), 1)), control,
               [&](Index begin, Index end) {
                 std::vector<int64_t> counts(channels * 256);
                 const uint8_t* v = images.data + begin * images.size();
                 for (Index k = 0; k < (end - begin) * pixels; k++) {
                   for (Index c = 0; c < channels; c++) counts[c * 256 + *v++]++;
                 }
                 const std::lock_guard lock(mutex);
                 for (size_t k = 0; k < counts.size(); k++) out[k] += counts[k];
               });
}

}  // namespace lp
