// Of images { data, count, height, width, channels }; see ops/augment.
//   augment(mode, images, { indices, epoch, padding, shift, flip, mixup, mean, std, seed }) → { images, partners,
//   shares } histogram(mode, images) → { counts }, of each channel and value (channels, 256)
#include "ops/augment/augment.h"

#include <algorithm>

#include "addon/images.h"

namespace lp::addon {
namespace {

Napi::Value augment(Call& call) {
  const Argument plan = call[2];
  const ImagesInput images(call, call[1]);
  const Argument indices = plan["indices"];
  const Index count = indices.length(), epoch = plan["epoch"].count();
  Augmentation how = augmentation_in(plan);
  how.seed = static_cast<uint64_t>(plan["seed"].count());
  check_elements(indices, {count, images.sizes.size()});
  const Indices chosen(call, indices, count, images.sizes.count);
  const Output<float> out(call, count * images.sizes.size());
  const Output<int32_t> partners(call, count);
  const Output<double> shares(call, count);
  return call.run(
      [=](Control& control) {
        lp::augment(images.get(), chosen.get(), count, epoch, how, out.get(), control);
        const Buffer<Mixture> mixed(count);
        mixtures(images.get(), chosen.get(), count, epoch, how, mixed.get());
        for (Index b = 0; b < count; b++) partners.get()[b] = mixed[b].partner, shares.get()[b] = mixed[b].share;
      },
      [=](Napi::Env env) { return named(env, {{"images", out}, {"partners", partners}, {"shares", shares}}); });
}
LP_EXPORT("augment(mode, images, plan)", augment)

Napi::Value histogram(Call& call) {
  const ImagesInput images(call, call[1]);
  const Index size = images.sizes.channels * 256;
  const Output<double> out(call, size);
  return call.run(
      [=](Control& control) {
        const Buffer<int64_t> counts(size);
        lp::histogram(images.get(), counts.get(), control);
        std::copy(counts.begin(), counts.end(), out.get());
      },
      [=](Napi::Env env) { return named(env, {{"counts", out}}); });
}
LP_EXPORT("histogram(mode, images)", histogram)

}  // namespace
}  // namespace lp::addon
