// Devices and their arrays as arguments and results of calls; the functions that open and fill them are in device.cpp.
#include "addon/device.h"

namespace lp::addon {

std::shared_ptr<cuda::Device> held_device(const Argument& given) {
  const auto held = held_by(given.value, Kind::device);
  if (!held) given.fail("LP_OPTION", "is no handle of a device");
  if (!held->object) throw Error("LP_DEVICE", "The device has been closed; open it again.");
  const auto& device = std::static_pointer_cast<OpenDevice>(held->object)->device;
  device->check_open();
  return device;
}

std::shared_ptr<DeviceArray> device_array(const Napi::Value& value) {
  const auto held = held_by(value, Kind::device_array);
  if (!held) return nullptr;
  if (!held->object) throw Error("LP_OPTION", "An array of a device has been disposed of; put or compute another.");
  return std::static_pointer_cast<DeviceArray>(held->object);
}

Napi::Value wrap(Napi::Env env, std::shared_ptr<DeviceArray> array) {
  return wrap(env, Kind::device_array,
              {std::move(array), [](const void* held) {
                 return static_cast<int64_t>(static_cast<const DeviceArray*>(held)->memory->bytes());
               }});
}

cuda::Precision precision_in(const Argument& plan) {
  const Argument given = plan["precision"];
  if (!given.given()) return cuda::Precision::float32;
  return given.choice<cuda::Precision>(
      {{"float32", cuda::Precision::float32}, {"tf32", cuda::Precision::tf32}, {"bf16", cuda::Precision::bf16}});
}

}  // namespace lp::addon
