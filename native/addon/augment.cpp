// augment(mode, images, sizes, indices, count, epoch, plan) → { images, partners, shares }, and
// histogram(mode, images, sizes) → Float64Array (channels, 256): see ops/augment.
#include "ops/augment/augment.h"

#include <algorithm>
#include <memory>

#include "addon/addon.h"
#include "addon/job.h"

namespace lp::addon {
namespace {

constexpr double kMostElements = 9007199254740991.0;

// Count, height, width and channels of images that are still to be located.
Images read_sizes(Napi::Object object) {
  const Images images{nullptr, size_in(object, "count"), size_in(object, "height"), size_in(object, "width"),
                      size_in(object, "channels")};
  const double elements = static_cast<double>(images.count) * static_cast<double>(images.height) *
                          static_cast<double>(images.width) * static_cast<double>(images.channels);
  if (!(elements <= kMostElements)) throw Error("LP_SHAPE", "There are more pixels than can be addressed.");
  if (images.count < 1 || images.size() < 1)
    throw Error("LP_SHAPE", "There are no images; expected at least one pixel.");
  return images;
}

double whole_in(Napi::Object object, const char* key) {
  const double value = number_in(object, key);
  if (!(value >= 0 && value <= kMostElements)) throw Error("LP_OPTION", std::string(key) + " is out of range.");
  return value;
}

}  // namespace

Napi::Value augment(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Images images = read_sizes(info[2].As<Napi::Object>());
    const Index count = size_argument(info, 4), epoch = count_argument(info, 5);
    const auto object = info[6].As<Napi::Object>();
    Augmentation how;
    how.padding = size_in(object, "padding");
    how.shift = size_in(object, "shift");
    how.flip = object.Get("flip").ToBoolean();
    how.mixup = number_in(object, "mixup");
    how.mean = numbers_in(object, "mean");
    how.std = numbers_in(object, "std");
    how.seed = static_cast<uint64_t>(whole_in(object, "seed"));
    if (static_cast<double>(count) * static_cast<double>(images.size()) > kMostElements) {
      throw Error("LP_SHAPE", "There are more augmented pixels than can be addressed.");
    }
    const Input<uint8_t> pixels(info, 1, images.count * images.size());
    // Copied always, so that nobody can change an index after it has been checked.
    const Input<int32_t> given(info, 3, count);
    const auto chosen = std::make_shared<const std::vector<int32_t>>(given.get(), given.get() + count);
    const Output<float> out(info.Env(), count * images.size());
    const Output<int32_t> partners(info.Env(), count);
    const Output<double> shares(info.Env(), count);
    return run(
        info,
        [=](Control& control) {
          Images all = images;
          all.data = pixels.get();
          lp::augment(all, chosen->data(), count, epoch, how, out.get(), control);
          const Buffer<Mixture> mixed(count);
          mixtures(all, chosen->data(), count, epoch, how, mixed.get());
          for (Index b = 0; b < count; b++) partners.get()[b] = mixed[b].partner, shares.get()[b] = mixed[b].share;
        },
        [=](Napi::Env env) -> Napi::Value {
          auto result = Napi::Object::New(env);
          result.Set("images", out.value());
          result.Set("partners", partners.value());
          result.Set("shares", shares.value());
          return result;
        });
  });
}

Napi::Value histogram(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Images images = read_sizes(info[2].As<Napi::Object>());
    const Input<uint8_t> pixels(info, 1, images.count * images.size());
    const Output<double> out(info.Env(), images.channels * 256);
    return run(
        info,
        [=](Control& control) {
          Images all = images;
          all.data = pixels.get();
          const Buffer<int64_t> counts(images.channels * 256);
          lp::histogram(all, counts.get(), control);
          std::copy(counts.begin(), counts.end(), out.get());
        },
        [=](Napi::Env) { return out.value(); });
  });
}

}  // namespace lp::addon
