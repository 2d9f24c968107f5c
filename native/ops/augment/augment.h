// Images to what a network takes: augmented at random, normalized, float, channels first.
//
// With v the pixels of sample i, (height, width, channels), everything outside of it 0:
//
//   shifted(y, x)  = v(clamp(y + s_y), clamp(x + s_x))                s uniform on {−shift, …, shift}², edges repeated
//   cropped(y, x)  = shifted(y + c_y, x + c_x)                        c uniform on {−padding, …, padding}², 0 beyond
//   flipped(y, x)  = cropped(y, width − 1 − x) or cropped             each with probability ½, where asked for
//   mixed          = λ flipped + (1 − λ) flipped of a partner         λ ~ Beta(mixup, mixup), the partner any sample
//   out(ch, y, x)  = (mixed(y, x, ch) / 255 − mean_ch) / std_ch
//
// Crop and flip: He et al. 2016, §4.2. Mixup: Zhang et al. 2018, with labels λ y_i + (1 − λ) y_partner.
//
// How a sample is augmented follows from (seed, epoch, index) alone (core/random.h). The bits of `out` are the same for
// any number of threads and any instruction set: λ has 16 bits after the point and 1/(255 std) is rounded to 28
// significant bits, so that every product below is exact in double and it does not matter whether it is fused with the
// sum that follows.
#pragma once

#include <cstdint>
#include <vector>

#include "core/array.h"
#include "core/control.h"
#include "core/dispatch.h"

namespace lp {

struct Images {
  const uint8_t* data;  // (count, height, width, channels)
  Index count, height, width, channels;
  // Of a set whose images are not all here: how many samples it has. Then the rows are those of the chosen samples
  // alone, in their order, and those of their partners from row `partners` on.
  Index samples = 0, partners = 0;

  Index size() const { return height * width * channels; }  // of one image
  Index all() const { return samples > 0 ? samples : count; }
  // Where the b-th of the chosen samples lies, and its partner.
  Index row(Index b, Index sample) const { return samples > 0 ? b : sample; }
  Index partner_row(Index b, Index partner) const { return samples > 0 ? partners + b : partner; }
};

struct Augmentation {
  Index padding = 0;              // pixels
  Index shift = 0;                // pixels
  bool flip = false;              // left and right
  double mixup = 0;               // α; 0 mixes nothing
  std::vector<double> mean, std;  // of each channel, of pixels / 255; std above 0
  uint64_t seed = 0;
};

// out (count, channels, height, width) from the samples `chosen` (count) of `images` in this epoch (from 0).
// Throws LP_OPTION, LP_SHAPE where `chosen` leaves the images, or these lack some of them.
void augment(const Images& images, const int32_t* chosen, Index count, Index epoch, const Augmentation& how, float* out,
             const Control& control);

// With whom each chosen sample is mixed, and its own share λ; itself and 1 without mixup.
struct Mixture {
  int32_t partner;
  double share;
};
void mixtures(const Images& images, const int32_t* chosen, Index count, Index epoch, const Augmentation& how,
              Mixture* out);

// Plain loops over the formula above: the oracle.
void augment_ref(const Images& images, const int32_t* chosen, Index count, Index epoch, const Augmentation& how,
                 float* out);

// How often each channel has each value: out (channels, 256). Mean and deviation follow from it exactly.
void histogram(const Images& images, int64_t* out, const Control& control);

// How one sample is augmented, as kernel and oracle draw it.
struct Draw {
  Index crop_y = 0, crop_x = 0, shift_y = 0, shift_x = 0;
  bool flip = false;
  Mixture mixture{};
};
Draw draw(const Augmentation& how, Index epoch, Index index, Index samples);

// out = (mixed / 255 − mean) / std as one product and one sum.
struct Normalization {
  double factor, offset;
};
Normalization normalization(double mean, double std);

}  // namespace lp

// out (n) = factor · own + offset; and of the mixture λ own + (1 − λ) other.
LP_DECLARE(void normalize_row(const uint8_t* own, Index n, double factor, double offset, float* out);
           void normalize_mixed_row(const uint8_t* own, const uint8_t* other, double share, Index n, double factor,
                                    double offset, float* out);)
