#include <algorithm>

#include "ops/augment/augment.h"

namespace lp {

void augment_ref(const Images& images, const int32_t* chosen, Index count, Index epoch, const Augmentation& how,
                 float* out) {
  const Index h = images.height, w = images.width, channels = images.channels;
  const auto pixel = [&](Index i, const Draw& d, Index y, Index x, Index c) -> double {
    if (d.flip) x = w - 1 - x;
    y += d.crop_y, x += d.crop_x;
    if (y < 0 || y >= h || x < 0 || x >= w) return 0;
    y = std::clamp<Index>(y + d.shift_y, 0, h - 1), x = std::clamp<Index>(x + d.shift_x, 0, w - 1);
    return images.data[((i * h + y) * w + x) * channels + c];
  };
  for (Index b = 0; b < count; b++) {
    const Draw own = draw(how, epoch, chosen[b], images.all());
    const Draw other = draw(how, epoch, own.mixture.partner, images.all());
    const double share = own.mixture.share;
    const Index row = images.row(b, chosen[b]), partner = images.partner_row(b, own.mixture.partner);
    for (Index c = 0; c < channels; c++) {
      const auto [factor, offset] = normalization(how.mean[c], how.std[c]);
      for (Index y = 0; y < h; y++) {
        for (Index x = 0; x < w; x++) {
          // Where none has a part, the partner's image need not be there.
          const double rest = share < 1 ? (1 - share) * pixel(partner, other, y, x, c) : 0;
          const double mixed = share * pixel(row, own, y, x, c) + rest;
          *out++ = static_cast<float>(factor * mixed + offset);
        }
      }
    }
  }
}

}  // namespace lp
