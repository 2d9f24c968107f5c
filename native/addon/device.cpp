// The functions of src/engine/device.ts: devices, and arrays that lie on them. See core/device.h.
#include "addon/device.h"

namespace lp::addon {
namespace {

// deviceAvailability() → { usable, state, devices, driver, runtime, emulated }
Napi::Value device_availability(Call& call) {
  const cuda::Availability found = cuda::availability();
  return named(call.env(), {{"usable", found.usable},
                            {"state", Napi::String::New(call.env(), found.state)},
                            {"devices", static_cast<Index>(found.devices)},
                            {"driver", static_cast<Index>(found.driver)},
                            {"runtime", static_cast<Index>(found.runtime)},
                            {"emulated", found.emulated}});
}
LP_EXPORT("deviceAvailability()", device_availability)

std::vector<Entry> entries_of(Napi::Env env, const cuda::Description& of) {
  return {{"name", Napi::String::New(env, of.name)},
          {"ordinal", static_cast<Index>(of.ordinal)},
          {"major", static_cast<Index>(of.major)},
          {"minor", static_cast<Index>(of.minor)},
          {"multiprocessors", static_cast<Index>(of.multiprocessors)},
          {"memory", static_cast<Index>(of.memory)}};
}

// deviceList({ cublas }) → { devices: [{ name, ordinal, major, minor, multiprocessors, memory }], blas }
Napi::Value device_list(Call& call) {
  const std::string folder = call[0]["cublas"].text();
  std::vector<Napi::Value> list;
  for (const cuda::Description& of : cuda::devices()) list.push_back(named(call.env(), entries_of(call.env(), of)));
  return named(call.env(), {{"devices", list_of(call.env(), list)},
                            {"blas", Napi::String::New(call.env(), cuda::products_library(folder))}});
}
LP_EXPORT("deviceList(plan)", device_list)

// deviceOpen(mode, { ordinal, cublas }) → { handle, name, ordinal, major, minor, multiprocessors, memory }
Napi::Value device_open(Call& call) {
  const Index ordinal = call[1]["ordinal"].size();
  const std::string folder = call[1]["cublas"].text();
  const auto opened = std::make_shared<std::shared_ptr<cuda::Device>>();
  return call.run(
      [=](Control&) {
        *opened = cuda::Device::open(static_cast<int>(ordinal));
        cuda::products_library(folder);
      },
      [=](Napi::Env env) {
        std::vector<Entry> entries = entries_of(env, (*opened)->description());
        entries.emplace_back("handle", Handle<OpenDevice>::wrap(env, std::make_shared<OpenDevice>(*opened)));
        return named(env, entries);
      });
}
LP_EXPORT("deviceOpen(mode, plan)", device_open)

// deviceClose(handle): frees all arrays of the device.
Napi::Value device_close(Call& call) {
  const auto held = held_by(call[0].value, Kind::device);
  if (!held) call[0].fail("LP_OPTION", "is no handle of a device");
  if (held->object) std::static_pointer_cast<OpenDevice>(held->object)->device->close();
  return call.env().Undefined();
}
LP_EXPORT("deviceClose(handle)", device_close)

// deviceRoom(handle) → { held, free, total }
Napi::Value device_room(Call& call) {
  const cuda::Device::Room room = held_device(call[0])->room();
  return named(call.env(), {{"held", static_cast<Index>(room.held)},
                            {"free", static_cast<Index>(room.free)},
                            {"total", static_cast<Index>(room.total)}});
}
LP_EXPORT("deviceRoom(handle)", device_room)

// { data }, a copy of an array to, from or on the device, which lies where the mode has results. Nothing is held of the
// device but the arrays themselves: what fits there once can be put and read.
Napi::Value copy(Call& call, const Argument& data) {
  return with_float_type(data, [&]<class T>() {
    const Index size = data.length();
    const bool from_there = device_array(data.value) != nullptr, to_there = call.resident();
    const Input<T> from = Input<T>(call, data, size).staying();
    const Output<T> to = Output<T>(call, size).staying();
    const auto move = [=](cuda::Job& job) {
      const auto way = !to_there ? &cuda::Job::download : from_there ? &cuda::Job::copy : &cuda::Job::upload;
      (job.*way)(to.get(), from.get(), size * sizeof(T));
    };
    return call.run_placed([](Control&) {}, move, [=](Napi::Env env) { return named(env, {{"data", to}}); });
  });
}

// devicePut(mode, { data }) → { data }, an array of the mode's device
Napi::Value device_put(Call& call) {
  if (!call.resident()) throw Error("LP_OPTION", "An array is put on a device: the mode says which, and resident.");
  return copy(call, call[1]["data"]);
}
LP_EXPORT("devicePut(mode, plan)", device_put)

// deviceRead(mode, { data }) → { data }, a typed array of what an array of the mode's device holds
Napi::Value device_read(Call& call) {
  if (!call.device() || call.resident())
    throw Error("LP_OPTION", "An array is read from the device that the mode names.");
  return copy(call, call[1]["data"]);
}
LP_EXPORT("deviceRead(mode, plan)", device_read)

}  // namespace

}  // namespace lp::addon
