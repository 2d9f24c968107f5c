// How JavaScript's calls are read and answered: one way for every kind of argument and of result.
//
// A function stands beside the words under which JavaScript finds it:
//
//   Napi::Value products(Call& call) {
//     return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
//       const double gamma = call[2]["gamma"].number();
//       const StateOutput<T> out(call, state.sizes, true);
//       return call.run([=](Control& control) { lp::products(state.get(), gamma, out.get(), control); },
//                       [=](Napi::Env env) { return named(env, out.entries()); });
//     });
//   }
//   LP_EXPORT("products(mode, state, plan)", products)
//
// A first parameter `mode` says how it runs: undefined or `{ atOnce: true }`, at once, and the call returns the result;
// `{ progress? }`, on the pool, and it returns `{ promise, cancel }`. A state is `{ features, prototypes, biases?,
// labels, samples, classes, dim }`, everything else an operation is told is `plan`, and a result is an object of named
// values.
//
// Order. To read an argument may run JavaScript (a getter, a proxy), and JavaScript may take the memory of any array
// away. So a call first reads all that it is told and makes the arrays of its result, and only `run` finds the memory
// of all arrays, at once, when no JavaScript runs any more. A job copies what it reads, unless that is shared memory,
// which nobody can take away; a synchronous call reads in place. A job's results are arrays that nobody else sees until
// its promise resolves. Arrays that the caller gives for results, `out`, are written in place by a synchronous call and
// where they are shared memory; else a job's results are copied there at its end. They may share memory with nothing
// else of the call.
//
// Devices. Where the mode names a device, the operation runs there (`run_placed`): arrays of the device are used where
// they lie, others are brought there before its body, and results go back after it, or stay as arrays of the device
// where the mode says `resident`. Within the body `get()` and its like give memory of the device, but for indices and
// labels.
#pragma once

#include <napi.h>

#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "addon/job.h"
#include "core/array.h"
#include "core/device.h"

namespace lp::addon {

class Call;

// Makes a function one of the addon's. The signature is what JavaScript sees: `name(parameter, …)`, optional ones too.
class Export {
 public:
  using Body = Napi::Value (*)(Call&);
  Export(const char* signature, Body body);

  std::string name;
  std::vector<std::string> parameters;
  Body body;
};
#define LP_EXPORT(signature, body) LP_EXPORT_AT(signature, body, __LINE__)
#define LP_EXPORT_AT(signature, body, line) LP_EXPORT_NAMED(signature, body, line)
#define LP_EXPORT_NAMED(signature, body, line) static const ::lp::addon::Export exported_##line(signature, body);

// Gives JavaScript all of them; once in an environment (the main thread, and every worker that loads the addon).
Napi::Object export_all(Napi::Env env, Napi::Object exports);

// A value that JavaScript gave, and what to call it in messages. Whatever has checked it before, it is checked here, so
// that no caller reaches memory that it should not.
struct Argument {
  Napi::Value value;
  std::string name;

  // An entry of an object.
  Argument operator[](const char* key) const;
  // The elements of a list.
  std::vector<Argument> list() const;
  bool given() const { return !value.IsEmpty() && !value.IsUndefined(); }

  double number() const;
  double number(double least, double most) const;
  Index size() const;   // of a dimension, below 2³¹: the product of two is still an Index
  Index count() const;  // of anything else, below 2⁵³
  bool flag() const;
  std::string text() const;
  std::vector<double> numbers() const;  // a copy of a Float64Array
  // One of some words, as what it stands for.
  template <class T>
  T choice(std::initializer_list<std::pair<const char*, T>> choices) const {
    const std::string word = text();
    std::string known;
    for (const auto& [name, meaning] : choices) {
      if (word == name) return meaning;
      known += (known.empty() ? "" : ", ") + std::string(name);
    }
    fail("LP_OPTION", "is '" + word + "'; expected one of " + known);
  }

  // How many elements a typed array has.
  Index length() const;
  [[noreturn]] void fail(const char* code, const std::string& what) const;
};

template <class T>
constexpr napi_typedarray_type kArrayType = std::is_same_v<T, float>     ? napi_float32_array
                                            : std::is_same_v<T, double>  ? napi_float64_array
                                            : std::is_same_v<T, uint8_t> ? napi_uint8_array
                                                                         : napi_int32_array;

// The memory of a typed array of this type and size, which an argument must be; and whether it is shared. Runs no
// JavaScript.
void* locate(const Argument& array, napi_typedarray_type type, Index size, bool* shared = nullptr);

// An array that lies on a device, as JavaScript holds it (src/engine/device.ts).
struct DeviceArray {
  std::shared_ptr<cuda::Memory> memory;
  napi_typedarray_type type;
  Index size;
};
// What a value holds of that kind; none where it is no such handle. Throws LP_OPTION where it has been disposed of.
std::shared_ptr<DeviceArray> device_array(const Napi::Value& value);
Napi::Value wrap(Napi::Env env, std::shared_ptr<DeviceArray> array);

// An array of a call, whose memory `Call::run` finds, and brings to a device and back.
struct Located {
  explicit Located(Argument given = {}) : given(std::move(given)) {}
  virtual ~Located() = default;
  virtual void locate(Napi::Env env, bool async) = 0;
  virtual void enter(cuda::Job&) {}
  virtual void leave(cuda::Job&) {}

  // What the caller gave, its memory as `locate` found it (an array of a device is one byte at the object that holds
  // it), and whether the call writes it.
  Argument given;
  const char* begin = nullptr;
  size_t bytes = 0;
  bool written = false;

 protected:
  void found(const void* memory, size_t size) { begin = static_cast<const char*>(memory), bytes = size; }
  void found(const DeviceArray& array) { found(array.memory.get(), 1); }
};

// What the caller's handles hold is reported to the garbage collector when a call on them is over; see handle.h.
using Reporter = std::function<void(Napi::Env)>;

class Call {
 public:
  Call(const Napi::CallbackInfo& info, const Export& of);

  Argument operator[](size_t index) const { return {info_[index], of_.parameters.at(index)}; }
  Napi::Env env() const { return info_.Env(); }
  bool async() const { return mode_.async; }
  // Where it runs, none for the CPU; and whether its results stay there.
  const std::shared_ptr<cuda::Device>& device() const { return device_; }
  bool resident() const { return resident_; }
  // Throws LP_DEVICE unless an array lies where the call runs.
  void check_place(const Argument& given, const DeviceArray& array) const;

  // Finds the memory of all arrays and runs `work` as the mode says, then `finish` on the JavaScript thread. What they
  // capture lives until the promise has settled.
  Napi::Value run(Work work, Finish finish, const Launch& launch = submit);
  // The same of an operation without a result.
  Napi::Value run(Work work) {
    return run(std::move(work), [](Napi::Env env) { return env.Undefined(); });
  }

  // The same of an operation that has a body for the device too.
  template <class OnDevice>
  Napi::Value run_placed(Work work, OnDevice on_device, Finish finish) {
    if constexpr (cuda::kBuilt) {
      if (device_) return run_on_device(std::move(on_device), std::move(finish));
    }
    return run(std::move(work), std::move(finish));
  }

  void add(std::shared_ptr<Located> array) { arrays_.push_back(std::move(array)); }
  void add(Reporter reporter) { reporters_.push_back(std::move(reporter)); }

 private:
  Napi::Value run_on_device(std::function<void(cuda::Job&)> body, Finish finish);
  Napi::Value launch(Work work, Finish finish, const Launch& launch);

  const Napi::CallbackInfo& info_;
  const Export& of_;
  Mode mode_;
  std::shared_ptr<cuda::Device> device_;
  bool resident_ = false;
  std::vector<std::shared_ptr<Located>> arrays_;
  std::vector<Reporter> reporters_;
};

// The array of a device that an argument is, which must have this type and size and lie where the call runs; or none.
template <class T>
std::shared_ptr<DeviceArray> placed_array(const Call& call, const Argument& given, Index size) {
  auto array = device_array(given.value);
  if (!array) return nullptr;
  if (array->type != kArrayType<T>) given.fail("LP_DTYPE", "has an unexpected element type");
  if (array->size != size) {
    given.fail("LP_SHAPE", "has " + std::to_string(array->size) + " elements; expected " + std::to_string(size));
  }
  call.check_place(given, *array);
  return array;
}

// The elements of an array that is read; or none.
template <class T>
class Input {
 public:
  Input() = default;
  Input(Call& call, const Argument& given, Index size) : array_(std::make_shared<Array>(call, given, size)) {
    call.add(array_);
  }
  // None where the argument is not given.
  static Input optional(Call& call, const Argument& given, Index size) {
    return given.given() ? Input(call, given, size) : Input();
  }
  explicit operator bool() const { return array_ != nullptr; }
  const T* get() const { return array_ ? array_->data : nullptr; }
  // Where it is one of the CPU, it is not brought to the device: the body does that.
  Input staying() const {
    array_->stays = true;
    return *this;
  }
  Matrix<const T> matrix(Index rows, Index cols) const { return {get(), rows, cols}; }

  // A copy to keep, made on the thread that asks for it unless the job has one already. Once only.
  Buffer<T> take() const {
    Buffer<T> copy = std::move(array_->copy);
    if (copy.size() == array_->size) return copy;
    copy = Buffer<T>(array_->size);
    if (array_->size > 0) std::memcpy(copy.get(), get(), array_->size * sizeof(T));
    return copy;
  }

 private:
  struct Array : Located {
    Array(Call& call, const Argument& given, Index size)
        : Located(given), size(size), resident(placed_array<T>(call, given, size)) {
      if (!resident) addon::locate(given, kArrayType<T>, size);  // a wrong one is refused before anything is made
    }
    void locate(Napi::Env, bool async) override {
      if (resident) return found(*resident);
      bool shared = false;
      data = static_cast<const T*>(addon::locate(given, kArrayType<T>, size, &shared));
      found(data, size * sizeof(T));
      if (async && shared) keep = Napi::Persistent(given.value.As<Napi::Object>());
      if (async && !shared) {
        copy = Buffer<T>(size);
        if (size > 0) std::memcpy(copy.get(), data, size * sizeof(T));
        data = copy.get();
      }
    }
    void enter(cuda::Job& job) override {
      if (resident) {
        data = static_cast<const T*>(resident->memory->get());
      } else if (!stays) {
        data = job.uploaded(data, size);
      }
    }
    Index size;
    bool stays = false;
    std::shared_ptr<DeviceArray> resident;
    const T* data = nullptr;
    Buffer<T> copy;
    Napi::ObjectReference keep;
  };
  std::shared_ptr<Array> array_;
};

// Indices into something, 0 … bound − 1: copied always, so that nobody can change one after it has been checked.
class Indices {
 public:
  Indices() = default;
  Indices(Call& call, const Argument& given, Index size, Index bound, const char* code = "LP_SHAPE");
  // Of the CPU, wherever the call runs.
  const int32_t* get() const { return array_ ? array_->copy.data() : nullptr; }

 private:
  struct Array : Located {
    Array(const Argument& given, Index size, Index bound, const char* code)
        : Located(given), size(size), bound(bound), code(code) {}
    void locate(Napi::Env env, bool async) override;
    Index size, bound;
    const char* code;
    std::vector<int32_t> copy;
  };
  std::shared_ptr<Array> array_;
};

struct Labels : Indices {
  Labels() = default;
  Labels(Call& call, const Argument& given, Index samples, Index classes)
      : Indices(call, given, samples, classes, "LP_LABEL") {}
};

// A new typed array of JavaScript's, of zeros. Throws LP_MEMORY where it cannot be had.
Napi::Value new_array(Napi::Env env, napi_typedarray_type type, Index size);

// An array of the result; or none.
template <class T>
class Output {
 public:
  Output() = default;
  Output(Call& call, Index size) : Output(call, {}, size) {}
  // In the caller's array, or a new one where none is given. `read`: the operation reads what it held.
  Output(Call& call, const Argument& given, Index size, bool read = false)
      : array_(std::make_shared<Array>(call, given, size, read)) {
    call.add(array_);
  }
  explicit operator bool() const { return array_ != nullptr; }
  T* get() const { return array_ ? array_->data : nullptr; }
  // Where it is one of the CPU, the body brings it there.
  Output staying() const {
    array_->stays = true;
    return *this;
  }
  Matrix<T> matrix(Index rows, Index cols) const { return {get(), rows, cols}; }
  // For `finish`.
  Napi::Value value() const { return array_->value(); }

 private:
  struct Array : Located {
    Array(Call& call, const Argument& given, Index size, bool read)
        : Located(given), env(call.env()), size(size), read(read) {
      written = given.given();
      if (written) {
        resident = placed_array<T>(call, given, size);
        if (!resident) addon::locate(given, kArrayType<T>, size);
        keep = Napi::Persistent(given.value);
      } else if (call.resident()) {
        resident = std::make_shared<DeviceArray>(DeviceArray{nullptr, kArrayType<T>, size});
      } else {
        keep = Napi::Persistent(new_array(env, kArrayType<T>, size));
      }
    }
    T* target(bool* shared = nullptr) const {
      const Argument array{keep.Value(), written ? given.name : "A result"};
      return static_cast<T*>(addon::locate(array, kArrayType<T>, size, shared));
    }
    void locate(Napi::Env, bool async) override {
      if (resident) {
        if (written) found(*resident);
        return;
      }
      bool shared = false;
      data = target(&shared);
      if (!written) return prefer_huge_pages(data, size * sizeof(T));
      found(data, size * sizeof(T));
      if (!async || shared) return;
      aside = Buffer<T>(size);
      if (read && size > 0) std::memcpy(aside.get(), data, size * sizeof(T));
      data = aside.get();
    }
    void enter(cuda::Job& job) override {
      if (resident) {
        if (!written) {
          resident->memory = std::make_shared<cuda::Memory>(job.device().shared_from_this(), size * sizeof(T));
        }
        data = static_cast<T*>(resident->memory->get());
        return;
      }
      if (stays) return;
      host = data;
      data = read ? job.uploaded(host, size) : job.scratch<T>(size);
    }
    void leave(cuda::Job& job) override {
      if (host) job.download(host, data, size * sizeof(T));
    }
    Napi::Value value() const {
      if (resident && !written) return wrap(env, resident);
      if (aside.size() > 0) std::memcpy(target(), aside.get(), size * sizeof(T));
      return keep.Value();
    }

    Napi::Env env;
    Index size;
    bool read;
    bool stays = false;
    std::shared_ptr<DeviceArray> resident;
    T* data = nullptr;
    T* host = nullptr;  // where the result of a device goes back to
    Buffer<T> aside;    // where a job computes what is then copied into the caller's array
    Napi::Reference<Napi::Value> keep;
  };
  std::shared_ptr<Array> array_;
};

// A new array of these numbers, made once an operation is over.
template <class T>
Napi::Value array_of(Napi::Env env, const T* values, Index size) {
  const Napi::Value array = new_array(env, kArrayType<T>, size);
  if (size > 0) std::memcpy(locate({array, "A result"}, kArrayType<T>, size), values, size * sizeof(T));
  return array;
}
inline Napi::Value array_of(Napi::Env env, const std::vector<double>& values) {
  return array_of(env, values.data(), std::ssize(values));
}

// An entry of a result. What is absent is left out.
struct Entry {
  Entry(const char* name, double value) : name(name), value(value) {}
  Entry(const char* name, Index value) : name(name), value(static_cast<double>(value)) {}
  Entry(const char* name, bool value) : name(name), value(value) {}
  Entry(const char* name, const char* value) : name(name), value(value) {}
  Entry(const char* name, Napi::Value value) : name(name), value(value) {}
  template <class T>
  Entry(const char* name, const Output<T>& array) : name(name) {
    if (array) value = array.value();
  }

  const char* name;
  std::variant<std::monostate, double, bool, const char*, Napi::Value> value;
};

Napi::Object named(Napi::Env env, const std::vector<Entry>& entries);
Napi::Array list_of(Napi::Env env, const std::vector<Napi::Value>& values);

// Calls body.operator()<float>() or <double>() by the element type of a typed array.
template <class Body>
Napi::Value with_float_type(const Argument& array, Body&& body) {
  napi_typedarray_type type = napi_uint8_array;
  if (const auto placed = device_array(array.value)) {
    type = placed->type;
  } else if (array.value.IsTypedArray()) {
    type = array.value.As<Napi::TypedArray>().TypedArrayType();
  }
  if (type == napi_float32_array) return body.template operator()<float>();
  if (type == napi_float64_array) return body.template operator()<double>();
  array.fail("LP_DTYPE", "is no Float32Array and no Float64Array");
}

// How many samples, classes and dimensions a state has: at least 1, 2 and 1.
struct Sizes {
  explicit Sizes(const Argument& given);
  Sizes(Index samples, Index classes, Index dim) : samples(samples), classes(classes), dim(dim) {}
  Index samples, classes, dim;
};

template <class T>
struct StateInput {
  StateInput(Call& call, const Argument& given)
      : sizes(given),
        features(call, given["features"], sizes.samples * sizes.dim),
        prototypes(call, given["prototypes"], sizes.classes * sizes.dim),
        biases(Input<T>::optional(call, given["biases"], sizes.classes)),
        labels(call, given["labels"], sizes.samples, sizes.classes) {}

  State<const T> get() const {
    return {features.matrix(sizes.samples, sizes.dim), prototypes.matrix(sizes.classes, sizes.dim), biases.get(),
            labels.get()};
  }

  Sizes sizes;
  Input<T> features, prototypes, biases;
  Labels labels;
};

// Calls body with the state at `index`, a StateInput<float> or <double>.
template <class Body>
Napi::Value with_state(Call& call, size_t index, Body&& body) {
  const Argument given = call[index];
  return with_float_type(given["features"], [&]<class T>() -> Napi::Value { return body(StateInput<T>(call, given)); });
}

// Arrays of the shapes of a state, the caller's where they are given.
template <class T>
struct StateOutput {
  StateOutput(Call& call, const Sizes& sizes, bool biased, const Argument& given = {}) : sizes(sizes) {
    const auto entry = [&](const char* name) { return given.given() ? given[name] : Argument(); };
    features = Output<T>(call, entry("features"), sizes.samples * sizes.dim);
    prototypes = Output<T>(call, entry("prototypes"), sizes.classes * sizes.dim);
    if (biased) biases = Output<T>(call, entry("biases"), sizes.classes);
  }
  State<T> get(const int32_t* labels = nullptr) const {
    return {features.matrix(sizes.samples, sizes.dim), prototypes.matrix(sizes.classes, sizes.dim), biases.get(),
            labels};
  }
  std::vector<Entry> entries() const {
    return {{"features", features}, {"prototypes", prototypes}, {"biases", biases}};
  }

  Sizes sizes;
  Output<T> features, prototypes, biases;
};

}  // namespace lp::addon
