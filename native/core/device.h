// One NVIDIA GPU, as operations see it: its memory, and jobs that run on it. native/cuda and native/no_cuda define the
// same symbols; CMake picks one. Nothing of CUDA is called before somebody asks: the first call of all makes a context
// where there is a driver.
//
// An operation's body for the device stands in `<op>.cu` beside the one for the CPU and takes a `Job`:
//
//   LossSummary loss_and_gradient(Job& job, const Loss& loss, const State<const T>& state, const State<T>& gradient);
//
// Pointers to floats in the state and the result are the device's; labels are the CPU's. What the body puts on the
// job's stream runs in that order, later; `job.wait()` is where the CPU waits for it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/array.h"
#include "core/control.h"

namespace lp::cuda {

// Whether this binary holds the kernels. Where it does not, calls of them are discarded when it is compiled.
#if defined(LAYERPEEL_CUDA)
inline constexpr bool kBuilt = true;
#else
inline constexpr bool kBuilt = false;
#endif

// What stands in the way of the device, or what there is.
struct Availability {
  bool usable = false;
  std::string state;  // a sentence
  int devices = 0;
  int driver = 0, runtime = 0;  // 13000 is 13.0; a driver of 0: there is none
  bool emulated = false;        // on the CPU, for tests
};
Availability availability();

struct Description {
  std::string name;
  int ordinal = 0;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  int64_t memory = 0;  // bytes
};

// How products of float32 arrays are made: of all their bits; of the leading 10 bits of each mantissa, or of 7, summed
// in float32.
enum class Precision { float32, tf32, bf16 };

// All devices of the machine. Throws LP_DEVICE.
std::vector<Description> devices();
// Where the library that makes products on a device was found, or where it was looked for. It is looked for once, by
// what asks first; in a folder of the caller's too, unless that is empty.
std::string products_library(const std::string& folder);

class Blas;
class Job;
struct DeviceState;

// A device, opened. What it holds is freed when it is closed, or with its last owner.
class Device : public std::enable_shared_from_this<Device> {
 public:
  // Throws LP_DEVICE with the sentence of `availability`, or where there is no device of this number.
  static std::shared_ptr<Device> open(int ordinal);
  ~Device();

  const Description& description() const;
  // Bytes that are held here, by everybody together and free, and of the device.
  struct Room {
    int64_t held = 0, free = 0, total = 0;
  };
  Room room() const;

  // Throws LP_DEVICE once it is closed, or lost by an error after which CUDA answers nothing else.
  void check_open() const;
  // Frees all its arrays; those of running jobs when these end.
  void close();

 private:
  friend class Memory;
  friend class Job;
  explicit Device(std::unique_ptr<DeviceState> state);
  std::unique_ptr<DeviceState> state_;
};

// Memory of a device. Not initialized.
class Memory {
 public:
  // Throws LP_MEMORY with what was asked for, what is free and what is held.
  Memory(std::shared_ptr<Device> device, size_t bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // Throws LP_DEVICE once the device is closed or lost.
  void* get() const;
  size_t bytes() const { return bytes_; }
  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  friend class Device;
  friend struct DeviceState;
  std::shared_ptr<Device> device_;
  void* data_ = nullptr;
  size_t bytes_;
};

// One operation's turn at a device: jobs of one device run one after another. It ends when all its work has, by
// whatever way; what it held of memory is freed then.
class Job {
 public:
  Job(std::shared_ptr<Device> device, Control& control);
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  Device& device() const { return *device_; }
  Control& control() const { return control_; }
  // A cudaStream_t.
  void* stream() const;
  // cuBLAS on that stream, with memory to work in; null where there is no cuBLAS.
  Blas* products();

  // Memory until the job ends. Not initialized.
  template <class T>
  T* scratch(Index size) {
    return static_cast<T*>(scratch_bytes(size, sizeof(T)));
  }
  // A copy of the caller's memory, which is free again when this returns.
  template <class T>
  T* uploaded(const T* from, Index size) {
    T* to = scratch<T>(size);
    upload(to, from, static_cast<size_t>(size) * sizeof(T));
    return to;
  }
  void upload(void* to, const void* from, size_t bytes);
  // Waits for what is before it, and is there when it returns.
  void download(void* to, const void* from, size_t bytes);
  template <class T>
  T downloaded(const T* from) {
    T value;
    download(&value, from, sizeof(T));
    return value;
  }
  void copy(void* to, const void* from, size_t bytes);
  void zero(void* data, size_t bytes);

  // Waits for everything so far. Throws LP_ABORTED, LP_DEVICE.
  void wait();
  // Called between launches worth at most some ten milliseconds each: lets no more than two such stretches be on their
  // way, so that the job can be stopped within 100 ms. Throws like `wait`.
  void pace();

 private:
  void* scratch_bytes(Index size, size_t element);
  std::shared_ptr<Device> device_;
  Control& control_;
  std::vector<std::unique_ptr<Memory>> scratch_;
  struct Turn;
  std::unique_ptr<Turn> turn_;
};

}  // namespace lp::cuda
