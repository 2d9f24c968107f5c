// Images and their augmentation as JavaScript describes them: ImagesOfCall and AugmentationPlan in src/data/augment.ts.
#pragma once

#include "addon/call.h"
#include "ops/augment/augment.h"

namespace lp::addon {

// Throws LP_SHAPE where the product of these sizes cannot be addressed. It is worked out in floating point, which does
// not wrap around.
void check_elements(const Argument& of, std::initializer_list<Index> sizes);

// { data, count, height, width, channels }
struct ImagesInput {
  ImagesInput(Call& call, const Argument& given)
      : sizes(sizes_in(given)), pixels(call, given["data"], sizes.count * sizes.size()) {}

  Images get() const {
    Images images = sizes;
    images.data = pixels.get();
    return images;
  }
  static Images sizes_in(const Argument& given);

  Images sizes;  // without data
  Input<uint8_t> pixels;
};

// All but the seed.
Augmentation augmentation_in(const Argument& plan);

}  // namespace lp::addon
