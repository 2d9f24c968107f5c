// Devices, their memory and their jobs: see core/device.h.
//
// A device has one stream for all its work, so that the order of calls is the order of work; a pool of memory of its
// own, which gives memory in that order and keeps what is freed; and two pinned buffers, through which everything
// passes that comes from the CPU or goes there: copies from other memory would wait for each other.
#include "core/device.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>

#include "cuda/blas.h"
#include "cuda/check.h"
#include "cuda/runtime.h"

namespace lp::cuda {
namespace {

constexpr size_t kStage = size_t{8} << 20;  // bytes of a pinned buffer
constexpr int kStages = 2;

std::string version_of(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

// After these CUDA answers every call of the process with the same error.
bool is_final(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

std::string in_bytes(int64_t bytes) {
  char text[32];
  if (bytes >= int64_t{1} << 30) {
    std::snprintf(text, sizeof text, "%.2f GiB", static_cast<double>(bytes) / (1 << 30));
  } else {
    std::snprintf(text, sizeof text, "%.2f MiB", static_cast<double>(bytes) / (1 << 20));
  }
  return text;
}

}  // namespace

Failure::Failure(cudaError_t error, const char* call)
    : Error(error == cudaErrorMemoryAllocation ? "LP_MEMORY" : "LP_DEVICE",
            std::string("CUDA failed in ") + call + ": " + cudaGetErrorString(error) + "."),
      error(error) {}

void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  if (!is_final(error)) cudaGetLastError();  // else the next call would report it once more
  throw Failure(error, call);
}

Availability availability() {
  Availability found;
#if defined(LAYERPEEL_CUDA_EMULATED)
  found.emulated = true;
#endif
  cudaDriverGetVersion(&found.driver);
  cudaRuntimeGetVersion(&found.runtime);
  const cudaError_t error = cudaGetDeviceCount(&found.devices);
  if (error != cudaSuccess) {
    cudaGetLastError();
    found.devices = 0;
  }
  if (found.driver == 0) {
    found.state = "No NVIDIA driver is installed (layerpeel's CUDA needs one of version 580 or later).";
  } else if (error == cudaErrorInsufficientDriver) {
    found.state = "The NVIDIA driver serves CUDA " + version_of(found.driver) + ", but layerpeel was built with CUDA " +
                  version_of(found.runtime) + "; install a driver of version 580 or later.";
  } else if (error == cudaErrorNoDevice || (error == cudaSuccess && found.devices == 0)) {
    found.state = "There is an NVIDIA driver, but no GPU that it shows (CUDA_VISIBLE_DEVICES may hide it).";
  } else if (error != cudaSuccess) {
    found.state = std::string("CUDA cannot be used: ") + cudaGetErrorString(error) + ".";
  } else {
    found.usable = true;
    found.state = std::to_string(found.devices) + (found.devices == 1 ? " device" : " devices") + ", driver for CUDA " +
                  version_of(found.driver) + (found.emulated ? ", emulated on the CPU" : "");
  }
  return found;
}

namespace {

Description describe(int ordinal) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  return {properties.name,
          ordinal,
          properties.major,
          properties.minor,
          properties.multiProcessorCount,
          static_cast<int64_t>(properties.totalGlobalMem)};
}

}  // namespace

std::vector<Description> devices() {
  std::vector<Description> all;
  for (int ordinal = 0; ordinal < availability().devices; ordinal++) all.push_back(describe(ordinal));
  return all;
}

struct DeviceState {
  Description description;
  cudaStream_t stream = nullptr;
  cudaMemPool_t pool = nullptr;
  void* stage[kStages] = {};
  cudaEvent_t stage_free[kStages] = {};
  cudaEvent_t mark[2] = {};
  std::unique_ptr<Blas> products;  // once a job has asked for them

  std::atomic<int64_t> held{0};
  std::atomic<bool> closed{false};

  std::mutex mutex;  // of what follows
  std::condition_variable changed;
  bool busy = false;           // a job has its turn
  std::set<Memory*> memories;  // all that there are
  std::string lost;            // by which error; empty while it works

  void select() const { check(cudaSetDevice(description.ordinal), "cudaSetDevice"); }

  // Remembers an error after which nothing works.
  void note(const Failure& failure) {
    if (!is_final(failure.error)) return;
    const std::lock_guard lock(mutex);
    if (lost.empty()) lost = failure.what();
  }

  // Without throwing: what cannot be freed on a device that is lost is gone with its context.
  void release(void* data, size_t bytes) noexcept {
    if (data == nullptr) return;
    if (cudaSetDevice(description.ordinal) != cudaSuccess || cudaFreeAsync(data, stream) != cudaSuccess)
      cudaGetLastError();
    held -= static_cast<int64_t>(bytes);
  }

  // All arrays, once the device is closed and no job runs. Holds the mutex.
  void release_all() noexcept {
    for (Memory* memory : memories) {
      release(memory->data_, memory->bytes_);
      memory->data_ = nullptr;
    }
    if (cudaStreamSynchronize(stream) != cudaSuccess) cudaGetLastError();
  }

  // Until the stream has come past what `event` marks.
  void wait_for(cudaEvent_t event, Control* control) {
    using namespace std::chrono;
    const auto start = steady_clock::now();
    for (;;) {
      const cudaError_t error = cudaEventQuery(event);
      if (error == cudaSuccess) break;
      if (error != cudaErrorNotReady) check(error, "cudaEventQuery");
      cudaGetLastError();
      const auto waited = steady_clock::now() - start;
      if (waited > milliseconds(1)) {
        if (control) control->poll();
        std::this_thread::sleep_for(microseconds(200));
      } else if (waited > microseconds(50)) {
        std::this_thread::sleep_for(microseconds(20));
      }
    }
    if (control) control->poll();
  }

  ~DeviceState() {
    if (cudaSetDevice(description.ordinal) == cudaSuccess) {
      if (stream) cudaStreamSynchronize(stream);
      products.reset();
      for (void* buffer : stage) {
        if (buffer) cudaFreeHost(buffer);
      }
      for (cudaEvent_t event : stage_free) {
        if (event) cudaEventDestroy(event);
      }
      for (cudaEvent_t event : mark) {
        if (event) cudaEventDestroy(event);
      }
      if (pool) cudaMemPoolDestroy(pool);
      if (stream) cudaStreamDestroy(stream);
    }
    cudaGetLastError();
  }
};

Device::Device(std::unique_ptr<DeviceState> state) : state_(std::move(state)) {}
Device::~Device() = default;

std::shared_ptr<Device> Device::open(int ordinal) {
  const Availability found = availability();
  if (!found.usable) throw Error("LP_DEVICE", found.state);
  if (ordinal < 0 || ordinal >= found.devices) {
    throw Error("LP_DEVICE", "There is no device cuda:" + std::to_string(ordinal) + "; there " +
                                 (found.devices == 1 ? "is 1, cuda:0."
                                                     : "are " + std::to_string(found.devices) + ", from cuda:0 on."));
  }
  auto state = std::make_unique<DeviceState>();
  const Description& of = state->description = describe(ordinal);
  if (of.major < 8) {
    throw Error("LP_DEVICE", "cuda:" + std::to_string(ordinal) + " (" + of.name + ") has compute capability " +
                                 std::to_string(of.major) + "." + std::to_string(of.minor) +
                                 "; expected 8.0 (Ampere) or later.");
  }
  state->select();
  check(cudaStreamCreateWithFlags(&state->stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  cudaMemPoolProps wanted{};
  wanted.allocType = cudaMemAllocationTypePinned;
  wanted.location = {cudaMemLocationTypeDevice, ordinal};
  check(cudaMemPoolCreate(&state->pool, &wanted), "cudaMemPoolCreate");
  uint64_t keep = UINT64_MAX;  // until somebody lacks memory
  check(cudaMemPoolSetAttribute(state->pool, cudaMemPoolAttrReleaseThreshold, &keep), "cudaMemPoolSetAttribute");
  for (int i = 0; i < kStages; i++) {
    check(cudaMallocHost(&state->stage[i], kStage), "cudaMallocHost");
    check(cudaEventCreateWithFlags(&state->stage_free[i], cudaEventDisableTiming), "cudaEventCreate");
    check(cudaEventCreateWithFlags(&state->mark[i], cudaEventDisableTiming), "cudaEventCreate");
  }
  return std::shared_ptr<Device>(new Device(std::move(state)));
}

const Description& Device::description() const { return state_->description; }

Device::Room Device::room() const {
  check_open();
  state_->select();
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return {state_->held, static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

void Device::check_open() const {
  const std::string name = "cuda:" + std::to_string(state_->description.ordinal);
  if (state_->closed) throw Error("LP_DEVICE", name + " has been closed; open it again.");
  const std::lock_guard lock(state_->mutex);
  if (!state_->lost.empty()) {
    throw Error("LP_DEVICE", name + " is lost to this process since an error (" + state_->lost + ") Start a new one.");
  }
}

void Device::close() {
  const std::lock_guard lock(state_->mutex);
  state_->closed = true;
  if (!state_->busy) state_->release_all();
}

Memory::Memory(std::shared_ptr<Device> device, size_t bytes) : device_(std::move(device)), bytes_(bytes) {
  device_->check_open();
  DeviceState& state = *device_->state_;
  if (bytes > 0) {
    state.select();
    const auto allocate = [&] { return cudaMallocFromPoolAsync(&data_, bytes, state.pool, state.stream); };
    cudaError_t error = allocate();
    if (error == cudaErrorMemoryAllocation) {  // what the pool keeps may be in too small pieces
      cudaGetLastError();
      if (cudaStreamSynchronize(state.stream) == cudaSuccess) cudaMemPoolTrimTo(state.pool, 0);
      error = allocate();
    }
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      const Device::Room room = device_->room();
      throw Error("LP_MEMORY", "The device has no memory for " + in_bytes(static_cast<int64_t>(bytes)) + ": " +
                                   in_bytes(room.free) + " of its " + in_bytes(room.total) + " are free, and " +
                                   in_bytes(room.held) + " are held by arrays and running operations of this device.");
    }
    try {
      check(error, "cudaMallocFromPoolAsync");
    } catch (const Failure& failure) {
      state.note(failure);
      throw;
    }
    state.held += static_cast<int64_t>(bytes);
  }
  const std::lock_guard lock(state.mutex);
  state.memories.insert(this);
}

Memory::~Memory() {
  DeviceState& state = *device_->state_;
  const std::lock_guard lock(state.mutex);
  state.memories.erase(this);
  state.release(data_, bytes_);
}

void* Memory::get() const {
  device_->check_open();
  return data_;
}

// What a job has of its device while it has its turn.
struct Job::Turn {
  Turn(DeviceState& state, Control& control) : state(state) {
    std::unique_lock lock(state.mutex);
    while (state.busy) {
      // By the wall clock: the other kind of wait came with glibc 2.30.
      state.changed.wait_until(lock, std::chrono::system_clock::now() + std::chrono::milliseconds(2));
      control.poll();
    }
    state.busy = true;
  }
  ~Turn() {
    const std::lock_guard lock(state.mutex);
    state.busy = false;
    if (state.closed) state.release_all();
    state.changed.notify_all();
  }

  DeviceState& state;
  Blas* products = nullptr;
  int stage = 0;  // the pinned buffer that is next
  int paced = 0;  // stretches of work so far
};

Job::Job(std::shared_ptr<Device> device, Control& control) : device_(std::move(device)), control_(control) {
  turn_ = std::make_unique<Turn>(*device_->state_, control);
  device_->check_open();
  turn_->state.select();
}

Job::~Job() {
  // Nothing may be freed while kernels still write to it.
  const cudaError_t error = cudaStreamSynchronize(turn_->state.stream);
  if (error != cudaSuccess) turn_->state.note(Failure(error, "a kernel"));
  scratch_.clear();
}

void* Job::stream() const { return turn_->state.stream; }

Blas* Job::products() {
  if (turn_->products || blas_functions() == nullptr) return turn_->products;
  DeviceState& state = turn_->state;
  if (!state.products) state.products = std::make_unique<Blas>();
  const Index bytes = Blas::room(state.description.major);
  state.products->use(state.stream, scratch<char>(bytes), static_cast<size_t>(bytes));
  return turn_->products = state.products.get();
}

void* Job::scratch_bytes(Index size, size_t element) {
  if (size < 0 || static_cast<size_t>(size) > SIZE_MAX / 2 / element) throw std::bad_array_new_length();
  scratch_.push_back(std::make_unique<Memory>(device_, static_cast<size_t>(size) * element));
  return scratch_.back()->get();
}

namespace {

// Runs a piece of a job's work; an error of which the device does not recover is remembered.
template <class Body>
void on(DeviceState& state, Body&& body) {
  try {
    body();
  } catch (const Failure& failure) {
    state.note(failure);
    throw;
  }
}

}  // namespace

void Job::upload(void* to, const void* from, size_t bytes) {
  DeviceState& state = turn_->state;
  on(state, [&] {
    for (size_t done = 0; done < bytes; done += kStage) {
      const size_t now = std::min(kStage, bytes - done);
      const int stage = turn_->stage++ % kStages;
      if (turn_->stage > kStages) state.wait_for(state.stage_free[stage], &control_);
      std::memcpy(state.stage[stage], static_cast<const char*>(from) + done, now);
      check(
          cudaMemcpyAsync(static_cast<char*>(to) + done, state.stage[stage], now, cudaMemcpyHostToDevice, state.stream),
          "cudaMemcpyAsync");
      check(cudaEventRecord(state.stage_free[stage], state.stream), "cudaEventRecord");
    }
  });
}

void Job::download(void* to, const void* from, size_t bytes) {
  DeviceState& state = turn_->state;
  on(state, [&] {
    // One buffer fills while the other is emptied.
    const auto fetch = [&](size_t done) {
      const int stage = static_cast<int>(done / kStage) % kStages;
      check(cudaMemcpyAsync(state.stage[stage], static_cast<const char*>(from) + done, std::min(kStage, bytes - done),
                            cudaMemcpyDeviceToHost, state.stream),
            "cudaMemcpyAsync");
      check(cudaEventRecord(state.stage_free[stage], state.stream), "cudaEventRecord");
    };
    if (bytes > 0) fetch(0);
    for (size_t done = 0; done < bytes; done += kStage) {
      if (done + kStage < bytes) fetch(done + kStage);
      const int stage = static_cast<int>(done / kStage) % kStages;
      state.wait_for(state.stage_free[stage], &control_);
      std::memcpy(static_cast<char*>(to) + done, state.stage[stage], std::min(kStage, bytes - done));
    }
    if (bytes > 0) turn_->stage = 0;  // nothing waits in a buffer any more
  });
}

void Job::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  DeviceState& state = turn_->state;
  on(state,
     [&] { check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, state.stream), "cudaMemcpyAsync"); });
}

void Job::zero(void* data, size_t bytes) {
  if (bytes == 0) return;
  DeviceState& state = turn_->state;
  on(state, [&] { check(cudaMemsetAsync(data, 0, bytes, state.stream), "cudaMemsetAsync"); });
}

void Job::wait() {
  DeviceState& state = turn_->state;
  on(state, [&] {
    check(cudaEventRecord(state.mark[0], state.stream), "cudaEventRecord");
    state.wait_for(state.mark[0], &control_);
  });
  turn_->paced = 0;
}

void Job::pace() {
  DeviceState& state = turn_->state;
  on(state, [&] {
    const cudaEvent_t mark = state.mark[turn_->paced % 2];
    if (turn_->paced >= 2) state.wait_for(mark, &control_);
    check(cudaEventRecord(mark, state.stream), "cudaEventRecord");
  });
  turn_->paced++;
  control_.poll();
}

}  // namespace lp::cuda
