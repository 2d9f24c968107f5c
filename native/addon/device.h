// Devices as JavaScript holds them.
#pragma once

#include "addon/call.h"
#include "addon/handle.h"
#include "core/device.h"

namespace lp::addon {

// A device that JavaScript has opened.
struct OpenDevice {
  static constexpr Kind kKind = Kind::device;
  explicit OpenDevice(std::shared_ptr<cuda::Device> device) : device(std::move(device)) {}
  int64_t bytes() const { return 0; }  // its arrays say what they hold
  std::shared_ptr<cuda::Device> device;
};

// The device that a handle holds. Throws LP_OPTION where it is none, LP_DEVICE where it is closed or lost.
std::shared_ptr<cuda::Device> held_device(const Argument& given);

// How products are made on a device, as a plan says: all bits where it does not.
cuda::Precision precision_in(const Argument& plan);

}  // namespace lp::addon
