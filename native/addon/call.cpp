#include "addon/call.h"

#include "addon/device.h"

#include <cmath>

namespace lp::addon {
namespace {

// All functions of the addon. They register themselves while it is loaded, in whatever order.
std::vector<const Export*>& exports_list() {
  static std::vector<const Export*> list;
  return list;
}

std::vector<std::string> words(const std::string& list) {
  std::vector<std::string> found;
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(", ", begin), list.size());
    found.push_back(list.substr(begin, end - begin));
    begin = end + 2;
  }
  return found;
}

// What an environment keeps for all calls.
struct Realm {
  // Node-API's own functions end the process where V8 cannot have the memory of an array; this one throws. It is the
  // one of when the addon was loaded, whatever a script has put in its place since.
  Napi::FunctionReference array_buffer;
};

Napi::Value enter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto& of = *static_cast<const Export*>(info.Data());
    Call call(info, of);
    return of.body(call);
  });
}

double to_integer(const Argument& argument, double most) {
  const double value = argument.number();
  if (!(value >= 0 && value <= most) || value != std::floor(value)) {
    argument.fail("LP_SHAPE", "is " + argument.value.ToString().Utf8Value() + "; expected an integer from 0 to " +
                                  std::to_string(static_cast<int64_t>(most)));
  }
  return value;
}

size_t element_size(napi_typedarray_type type) {
  return type == napi_float64_array ? 8 : type == napi_uint8_array ? 1 : 4;
}

}  // namespace

Export::Export(const char* signature, Body body) : body(body) {
  const std::string text = signature;
  const size_t open = text.find('(');
  name = text.substr(0, open);
  parameters = words(text.substr(open + 1, text.size() - open - 2));
  exports_list().push_back(this);
}

Napi::Object export_all(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Realm{Napi::Persistent(env.Global().Get("ArrayBuffer").As<Napi::Function>())});
  for (const Export* one : exports_list()) {
    auto function = Napi::Function::New(env, enter, one->name, const_cast<Export*>(one));
    function.DefineProperty(Napi::PropertyDescriptor::Value(
        "length", Napi::Number::New(env, static_cast<double>(one->parameters.size())), napi_configurable));
    exports.Set(one->name, function);
  }
  return exports;
}

Argument Argument::operator[](const char* key) const {
  if (!value.IsObject()) fail("LP_OPTION", "is no object; expected one with " + std::string(key));
  return {value.As<Napi::Object>().Get(key), name + "." + key};
}

std::vector<Argument> Argument::list() const {
  if (!value.IsArray()) fail("LP_OPTION", "is no list");
  const auto array = value.As<Napi::Array>();
  std::vector<Argument> elements;
  for (uint32_t i = 0; i < array.Length(); i++)
    elements.push_back({array.Get(i), name + "[" + std::to_string(i) + "]"});
  return elements;
}

double Argument::number() const {
  if (!value.IsNumber()) fail("LP_OPTION", "is no number");
  return value.As<Napi::Number>().DoubleValue();
}

double Argument::number(double least, double most) const {
  const double found = number();
  if (!(found >= least && found <= most)) {
    fail("LP_OPTION", "is " + value.ToString().Utf8Value() + "; expected a number from " + std::to_string(least) +
                          " to " + std::to_string(most));
  }
  return found;
}

Index Argument::size() const { return static_cast<Index>(to_integer(*this, 2147483647.0)); }
Index Argument::count() const { return static_cast<Index>(to_integer(*this, 9007199254740991.0)); }

bool Argument::flag() const {
  if (!value.IsBoolean()) fail("LP_OPTION", "is neither true nor false");
  return value.As<Napi::Boolean>().Value();
}

std::string Argument::text() const {
  if (!value.IsString()) fail("LP_OPTION", "is no string");
  return value.As<Napi::String>();
}

std::vector<double> Argument::numbers() const {
  const Index size = length();
  const auto* data = static_cast<const double*>(locate(*this, napi_float64_array, size));
  return {data, data + size};
}

Index Argument::length() const {
  if (const auto placed = device_array(value)) return placed->size;
  if (!value.IsTypedArray()) fail("LP_DTYPE", "is no typed array");
  return static_cast<Index>(value.As<Napi::TypedArray>().ElementLength());
}

void Argument::fail(const char* code, const std::string& what) const { throw Error(code, name + " " + what + "."); }

void* locate(const Argument& array, napi_typedarray_type type, Index size, bool* shared) {
  if (!array.value.IsTypedArray()) array.fail("LP_DTYPE", "is no typed array");
  napi_typedarray_type actual;
  size_t length = 0, offset = 0;
  napi_value buffer;
  void* data = nullptr;
  if (napi_get_typedarray_info(array.value.Env(), array.value, &actual, &length, &data, &buffer, &offset) != napi_ok ||
      actual != type) {
    array.fail("LP_DTYPE", "has an unexpected element type");
  }
  if (static_cast<Index>(length) != size) {
    array.fail(length == 0 ? "LP_DETACHED" : "LP_SHAPE",
               "has " + std::to_string(length) + " elements; expected " + std::to_string(size));
  }
  bool detachable = false;
  napi_is_arraybuffer(array.value.Env(), buffer, &detachable);
  if (shared) *shared = !detachable;
  return data;
}

// What a call writes shares no memory with anything else that it was given.
static void check_apart(const std::vector<std::shared_ptr<Located>>& arrays) {
  for (const auto& out : arrays) {
    if (!out->written) continue;
    for (const auto& other : arrays) {
      if (other == out || !(out->begin < other->begin + other->bytes && other->begin < out->begin + out->bytes))
        continue;
      out->given.fail("LP_OPTION", "shares memory with " + other->given.name + "; pass an array of its own");
    }
  }
}

Call::Call(const Napi::CallbackInfo& info, const Export& of) : info_(info), of_(of) {
  if (of.parameters.empty() || of.parameters[0] != "mode" || info[0].IsUndefined()) return;
  const Argument mode = (*this)[0];
  mode_.progress = mode["progress"].value;
  const Argument at_once = mode["atOnce"], device = mode["device"], resident = mode["resident"];
  mode_.async = !(at_once.given() && at_once.flag());
  if (!device.given()) return;
  device_ = held_device(device);
  resident_ = resident.given() && resident.flag();
}

void Call::check_place(const Argument& given, const DeviceArray& array) const {
  if (!device_) given.fail("LP_DEVICE", "lies on a device, but the call runs on the CPU; read() it first");
  if (array.memory->device() != device_) given.fail("LP_DEVICE", "lies on another device than the call runs on");
}

Napi::Value Call::run(Work work, Finish finish, const Launch& launch) {
  if (device_) throw Error("LP_DEVICE", "This operation cannot run on a device; read() its arrays first.");
  return this->launch(std::move(work), std::move(finish), launch);
}

Napi::Value Call::run_on_device(std::function<void(cuda::Job&)> body, Finish finish) {
  const auto work = [device = device_, arrays = arrays_, body = std::move(body)](Control& control) {
    cuda::Job job(device, control);
    for (const auto& array : arrays) array->enter(job);
    body(job);
    for (const auto& array : arrays) array->leave(job);
    job.wait();
  };
  return launch(work, std::move(finish), submit);
}

Napi::Value Call::launch(Work work, Finish finish, const Launch& launch) {
  for (const auto& array : arrays_) array->locate(env(), async());
  check_apart(arrays_);
  if (reporters_.empty()) return addon::run(env(), mode_, std::move(work), std::move(finish), launch);
  const auto reporting = [finish = std::move(finish), reporters = std::move(reporters_)](Napi::Env env) {
    const Napi::Value result = finish(env);
    for (const Reporter& report : reporters) report(env);
    return result;
  };
  return addon::run(env(), mode_, std::move(work), reporting, launch);
}

Indices::Indices(Call& call, const Argument& given, Index size, Index bound, const char* code)
    : array_(std::make_shared<Array>(given, size, bound, code)) {
  addon::locate(given, napi_int32_array, size);
  call.add(array_);
}

void Indices::Array::locate(Napi::Env, bool) {
  const auto* indices = static_cast<const int32_t*>(addon::locate(given, napi_int32_array, size));
  found(indices, size * sizeof(int32_t));
  copy.assign(indices, indices + size);
  for (const int32_t index : copy) {
    if (index < 0 || index >= bound) {
      given.fail(code, "has the entry " + std::to_string(index) + "; expected 0 … " + std::to_string(bound - 1));
    }
  }
}

static Error no_memory(Index size) {
  return {"LP_MEMORY", "There is not enough memory for a result of " + std::to_string(size) + " elements."};
}

Napi::Value new_array(Napi::Env env, napi_typedarray_type type, Index size) {
  const double bytes = static_cast<double>(size) * static_cast<double>(element_size(type));
  constexpr double kLarge = 1 << 20;
  if (bytes >= kLarge && !has_room(bytes)) throw no_memory(size);
  try {
    const auto buffer = env.GetInstanceData<Realm>()->array_buffer.New({Napi::Number::New(env, bytes)});
    napi_value array;
    if (napi_create_typedarray(env, type, size, buffer, 0, &array) == napi_ok) return {env, array};
  } catch (const Napi::Error&) {
  }
  if (env.IsExceptionPending()) env.GetAndClearPendingException();
  throw no_memory(size);
}

Napi::Object named(Napi::Env env, const std::vector<Entry>& entries) {
  const auto object = Napi::Object::New(env);
  for (const auto& [name, value] : entries) {
    if (const auto* number = std::get_if<double>(&value)) define(object, name, Napi::Number::New(env, *number));
    if (const auto* flag = std::get_if<bool>(&value)) define(object, name, Napi::Boolean::New(env, *flag));
    if (const auto* text = std::get_if<const char*>(&value)) define(object, name, Napi::String::New(env, *text));
    if (const auto* any = std::get_if<Napi::Value>(&value)) define(object, name, *any);
  }
  return object;
}

Napi::Array list_of(Napi::Env env, const std::vector<Napi::Value>& values) {
  auto list = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); i++) list.Set(i, values[i]);
  return list;
}

Sizes::Sizes(const Argument& given)
    : samples(given["samples"].size()), classes(given["classes"].size()), dim(given["dim"].size()) {
  if (samples < 1 || classes < 2 || dim < 1) {
    given.fail("LP_SHAPE", "has " + std::to_string(samples) + " samples, " + std::to_string(classes) + " classes and " +
                               std::to_string(dim) + " dimensions; expected at least 1, 2 and 1");
  }
}

}  // namespace lp::addon
