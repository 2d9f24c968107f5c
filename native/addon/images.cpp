#include "addon/images.h"

namespace lp::addon {

void check_elements(const Argument& of, std::initializer_list<Index> sizes) {
  double product = 1;
  for (const Index size : sizes) product *= static_cast<double>(size);
  if (!(product <= 9007199254740991.0)) of.fail("LP_SHAPE", "stands for more elements than can be addressed");
}

Images ImagesInput::sizes_in(const Argument& given) {
  const Images images{nullptr, given["count"].size(), given["height"].size(), given["width"].size(),
                      given["channels"].size()};
  check_elements(given, {images.count, images.height, images.width, images.channels});
  if (images.count < 1 || images.size() < 1) given.fail("LP_SHAPE", "has no pixels; expected at least one");
  return images;
}

Augmentation augmentation_in(const Argument& plan) {
  Augmentation how;
  how.padding = plan["padding"].size();
  how.shift = plan["shift"].size();
  how.flip = plan["flip"].flag();
  how.mixup = plan["mixup"].number();
  how.mean = plan["mean"].numbers();
  how.std = plan["std"].numbers();
  return how;
}

}  // namespace lp::addon
