// Streams hold what they were given and do it when somebody waits for it, or asks: a question does one piece of work
// and answers "not ready" before it answers that all is done. Everything is behind one lock, kernels too.
#include "cuda/emulated/runtime.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "cuda/emulated/emulator.h"
#include "cuda/emulated/kernel.h"
#include "cuda/emulated/memory.h"
#include "cuda/emulated/stream.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Stream;

// One record of an event.
struct Mark {
  std::shared_ptr<Stream> stream;
  bool reached = false, captured = false;
  Clock::time_point when;
};
struct Piece {
  std::function<void()> work;
  std::size_t order = 0;  // among all that was given to the device
};
using Pieces = std::vector<std::function<void()>>;
struct Capture {
  Pieces pieces;
  std::shared_ptr<Stream> origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  std::set<std::shared_ptr<Stream>> joined;
  bool broken = false;
};
struct Stream {
  bool blocking = true;  // waits for the default stream, and the default stream for it
  std::deque<Piece> pieces;
  std::shared_ptr<Capture> capture;
};

}  // namespace

struct EmulatedStream {
  std::shared_ptr<Stream> stream;
};
struct EmulatedEvent {
  std::shared_ptr<Mark> mark;
  bool timed = true;
};
struct EmulatedGraph {
  Pieces pieces;
};

namespace {

struct Device {
  std::mutex lock;
  emu::Settings settings;
  emu::Memory memory;
  emu::Done done;
  std::set<void*> pinned;
  std::size_t events = 0, graphs = 0;
  std::shared_ptr<Stream> first = std::make_shared<Stream>();  // the default stream
  std::vector<std::shared_ptr<Stream>> streams{first};         // those that were destroyed with work to do among them
  std::set<cudaStream_t> handles;
  std::size_t given = 0;
  std::map<std::pair<const void*, int>, emu::Translation> translations;  // by kernel and architecture
  std::unordered_map<const void*, std::size_t> shared_allowed;
  cudaError_t lost = cudaSuccess;
  std::string misuse;

  Device();
};

// A number of the environment, or what stands for none. A wrong one would be a test that tests something else.
std::size_t environment(const char* name, std::size_t otherwise) {
  const char* const text = std::getenv(name);
  if (!text || !*text) return otherwise;
  char* end = nullptr;
  const std::size_t value = std::strtoull(text, &end, 10);
  if (*end != 0) {
    std::fprintf(stderr, "%s is a number, not %s\n", name, text);
    std::exit(2);
  }
  return value;
}

Device::Device() {
  settings.seed = static_cast<unsigned>(environment("LAYERPEEL_EMULATED_SEED", settings.seed));
  settings.ptx = static_cast<int>(environment("LAYERPEEL_EMULATED_PTX", 0));
  settings.fail_malloc = environment("LAYERPEEL_EMULATED_FAIL_MALLOC", 0);
  settings.memory = environment("LAYERPEEL_EMULATED_MEMORY", settings.memory);
  settings.lose = environment("LAYERPEEL_EMULATED_LOSE", 0);
  const char* const driver = std::getenv("LAYERPEEL_EMULATED_DRIVER");
  const std::string_view kind = driver ? driver : "";
  settings.driver = kind == "none"        ? emu::Driver::none
                    : kind == "old"       ? emu::Driver::old
                    : kind == "no-device" ? emu::Driver::no_device
                                          : emu::Driver::good;
}

// Never destroyed: threads may call until the process ends.
Device& device() {
  static Device& one = *new Device;
  return one;
}

thread_local cudaError_t last_error = cudaSuccess;
cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t unusable(const Device& d) {
  switch (d.settings.driver) {
    case emu::Driver::none:
    case emu::Driver::old:
      return cudaErrorInsufficientDriver;
    case emu::Driver::no_device:
      return cudaErrorNoDevice;
    case emu::Driver::good:
      break;
  }
  return d.lost;
}

// A call of the runtime: behind the lock, and in vain where there is no device or none any more.
template <class F>
cudaError_t call(F body) {
  Device& d = device();
  const std::lock_guard hold(d.lock);
  const cudaError_t error = unusable(d);
  return remember(error != cudaSuccess ? error : body(d));
}

void lose(Device& d, cudaError_t error, const std::string& sentence) {
  if (d.lost != cudaSuccess) return;
  d.lost = error;
  if (d.misuse.empty()) d.misuse = sentence;
  std::fprintf(stderr, "emulated device: %s: %s\n", cudaGetErrorName(error), sentence.c_str());
  for (const auto& stream : d.streams) stream->pieces.clear();
}

// ---- work -----------------------------------------------------------------------------------------------------------

void work_off(Device& d, Stream& stream, std::size_t before);

// Does the stream's next piece, and first what its place in the order of the default stream asks for.
void do_next(Device& d, Stream& stream) {
  const Piece piece = std::move(stream.pieces.front());
  stream.pieces.pop_front();
  if (&stream == d.first.get()) {
    const auto others = d.streams;
    for (const auto& other : others)
      if (other->blocking && other != d.first) work_off(d, *other, piece.order);
  } else if (stream.blocking) {
    work_off(d, *d.first, piece.order);
  }
  if (d.lost != cudaSuccess) return;
  d.done.work++;
  if (d.settings.lose > 0 && --d.settings.lose == 0) {
    return lose(d, cudaErrorIllegalAddress, "an illegal address was asked for");
  }
  piece.work();
}
void work_off(Device& d, Stream& stream, std::size_t before = ~std::size_t{0}) {
  const emu::Memory::Open open(d.memory);
  while (!stream.pieces.empty() && stream.pieces.front().order < before) do_next(d, stream);
}
void work_off_until(Device& d, const std::shared_ptr<Mark>& mark) {
  const emu::Memory::Open open(d.memory);
  while (!mark->reached && !mark->stream->pieces.empty()) do_next(d, *mark->stream);
}
void work_off_all(Device& d) {
  for (std::size_t i = 0; i < d.streams.size(); i++) work_off(d, *d.streams[i]);
  std::erase_if(d.streams, [&](const auto& one) { return one != d.first && one.use_count() == 1; });
}

std::shared_ptr<Stream> find(Device& d, cudaStream_t stream) {
  if (!stream) return d.first;
  return d.handles.count(stream) ? stream->stream : nullptr;
}

cudaError_t give(Device& d, cudaStream_t to, std::function<void()> work) {
  const auto stream = find(d, to);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (stream->capture) {
    stream->capture->pieces.push_back(std::move(work));
    return cudaSuccess;
  }
  if (stream == d.first) {
    for (const auto& other : d.streams) {
      if (!other->capture || !other->blocking) continue;
      other->capture->broken = true;
      return cudaErrorStreamCaptureImplicit;
    }
  }
  stream->pieces.push_back({std::move(work), d.given++});
  return cudaSuccess;
}

// What may not be called while a stream is captured breaks the capture.
cudaError_t refuse_captured(const std::shared_ptr<Stream>& stream) {
  stream->capture->broken = true;
  return cudaErrorStreamCaptureUnsupported;
}
// What might wait for a captured stream unseen, as an allocation does: refused, by the captures' modes.
bool breaks_captures(Device& d) {
  bool any = false;
  for (const auto& stream : d.streams) {
    if (!stream->capture) continue;
    const Capture& capture = *stream->capture;
    if (capture.mode == cudaStreamCaptureModeRelaxed) continue;
    if (capture.mode == cudaStreamCaptureModeThreadLocal && capture.thread != std::this_thread::get_id()) continue;
    stream->capture->broken = any = true;
  }
  return any;
}

}  // namespace

// ---- what tests ask for ---------------------------------------------------------------------------------------------

namespace emu {

Settings settings() {
  Device& d = device();
  const std::lock_guard hold(d.lock);
  return d.settings;
}
void set(const Settings& settings) {
  Device& d = device();
  const std::lock_guard hold(d.lock);
  d.settings = settings;
}
std::string misuse() {
  Device& d = device();
  const std::lock_guard hold(d.lock);
  return d.misuse;
}
Held held() {
  Device& d = device();
  const std::lock_guard hold(d.lock);
  return {d.memory.bytes(), d.memory.allocations(), d.pinned.size(), d.handles.size(), d.events, d.graphs};
}
Done done() {
  Device& d = device();
  const std::lock_guard hold(d.lock);
  d.done.switches = switches();
  return d.done;
}
void lose(cudaError_t error) {
  Device& d = device();
  const std::lock_guard hold(d.lock);
  lose(d, error, "a test asked for it");
}
void revive() {
  Device& d = device();
  const std::lock_guard hold(d.lock);
  for (const auto& stream : d.streams) stream->pieces.clear(), stream->capture.reset();
  d.lost = cudaSuccess;
  d.misuse.clear();
  last_error = cudaSuccess;
}

Translated::Translated(const void* kernel, int architecture, const Translation& translation) {
  if (kernel) device().translations[{kernel, architecture}] = translation;
}

void enqueue(const void* kernel, const Launch& launch, cudaStream_t stream, std::function<void()> thread,
             std::function<void(void (*)(void**))> with_addresses) {
  call([&](Device& d) {
    Launch of = launch;
    unsigned most_threads = 1024;
    if (d.settings.ptx > 0) {
      const auto found = d.translations.find({kernel, d.settings.ptx});
      if (found == d.translations.end()) {
        lose(d, cudaErrorLaunchFailure, "a kernel is launched of which this program has no translation from PTX");
        return d.lost;
      }
      const Translation& made = found->second;
      of.shared += made.fixed_shared;
      most_threads = made.most_threads;
      thread = [run = std::move(with_addresses), entry = made.thread] { run(entry); };
    }
    const dim3 g = of.grid, b = of.block;
    if (g.x == 0 || g.x > 0x7fffffff || g.y == 0 || g.y > 65535 || g.z == 0 || g.z > 65535 || b.x == 0 || b.y == 0 ||
        b.z == 0 || b.z > 64 || b.x > 1024 || b.y > 1024 || b.x * b.y * b.z > 1024) {
      return cudaErrorInvalidConfiguration;
    }
    if (b.x * b.y * b.z > most_threads) return cudaErrorInvalidValue;  // __launch_bounds__
    const auto allowed = d.shared_allowed.find(kernel);
    if (of.shared > (allowed == d.shared_allowed.end() ? std::size_t{48} << 10 : allowed->second)) {
      return cudaErrorInvalidValue;
    }
    return give(d, stream, [&d, of, thread = std::move(thread)] {
      d.done.kernels++;
      d.done.blocks += std::size_t{of.grid.x} * of.grid.y * of.grid.z;
      const Misuse misuse = run(of, thread, d.settings.seed, d.done.kernels);
      if (!misuse.sentence.empty()) lose(d, misuse.error, misuse.sentence);
    });
  });
}

bool is_allocated(const void* address, std::size_t bytes) { return device().memory.holds(address, bytes); }

bool on_device(const void* address, std::size_t bytes) {
  Device& d = device();
  const std::lock_guard hold(d.lock);
  return d.memory.holds(address, bytes);
}
cudaError_t give(cudaStream_t stream, std::function<void()> work) {
  return call([&](Device& d) { return give(d, stream, std::move(work)); });
}
cudaError_t give_illegal(cudaStream_t stream, const char* sentence) {
  return call(
      [&](Device& d) { return give(d, stream, [&d, sentence] { lose(d, cudaErrorIllegalAddress, sentence); }); });
}

}  // namespace emu

// ---- errors ---------------------------------------------------------------------------------------------------------

namespace {
struct Named {
  cudaError_t error;
  const char *name, *text;
};
constexpr Named kNamed[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
};
Named named(cudaError_t error) {
  for (const Named& one : kNamed)
    if (one.error == error) return one;
  return {error, "unrecognized error code", "unrecognized error code"};
}
}  // namespace

const char* cudaGetErrorName(cudaError_t error) { return named(error).name; }
const char* cudaGetErrorString(cudaError_t error) { return named(error).text; }
cudaError_t cudaPeekAtLastError() {
  Device& d = device();
  const std::lock_guard hold(d.lock);
  return d.lost != cudaSuccess ? d.lost : last_error;
}
cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  last_error = cudaSuccess;
  return error;
}

// ---- the device -----------------------------------------------------------------------------------------------------

namespace {
constexpr int kMultiprocessors = 4, kThreadsPerMultiprocessor = 2048;
constexpr std::size_t kShared = std::size_t{227} << 10, kSharedPerMultiprocessor = std::size_t{228} << 10;
}  // namespace

cudaError_t cudaDriverGetVersion(int* version) {
  const emu::Driver driver = emu::settings().driver;
  *version = driver == emu::Driver::none ? 0 : driver == emu::Driver::old ? 12040 : 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  if (emu::settings().driver == emu::Driver::no_device) *count = 0;
  return call([&](Device&) {
    *count = 1;
    return cudaSuccess;
  });
}
cudaError_t cudaGetDevice(int* index) {
  return call([&](Device&) {
    *index = 0;
    return cudaSuccess;
  });
}
cudaError_t cudaSetDevice(int index) {
  return call([&](Device&) { return index == 0 ? cudaSuccess : cudaErrorInvalidDevice; });
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  return call([&](Device& d) {
    if (index != 0) return cudaErrorInvalidDevice;
    cudaDeviceProp p{};
    std::strcpy(p.name, "layerpeel's emulated device");
    std::memcpy(p.uuid.bytes, "layerpeel-emulat", 16);
    p.totalGlobalMem = d.settings.memory;
    p.sharedMemPerBlock = std::size_t{48} << 10;
    p.sharedMemPerBlockOptin = kShared;
    p.sharedMemPerMultiprocessor = kSharedPerMultiprocessor;
    p.reservedSharedMemPerBlock = 1024;
    p.regsPerBlock = p.regsPerMultiprocessor = 65536;
    p.warpSize = 32;
    p.maxThreadsPerBlock = 1024;
    p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
    p.maxThreadsDim[2] = 64;
    p.maxGridSize[0] = 0x7fffffff;
    p.maxGridSize[1] = p.maxGridSize[2] = 65535;
    p.major = 9;
    p.multiProcessorCount = kMultiprocessors;
    p.memoryBusWidth = 64;
    p.l2CacheSize = 4 << 20;
    p.maxThreadsPerMultiProcessor = kThreadsPerMultiprocessor;
    p.asyncEngineCount = 2;
    p.memoryPoolsSupported = 1;
    *properties = p;
    return cudaSuccess;
  });
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, index); error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(p.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrMemoryPoolsSupported:
      *value = p.memoryPoolsSupported;
      break;
    default:
      return remember(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int index) {
  return call([&](Device&) {
    if (index != 0) return cudaErrorInvalidDevice;
    std::snprintf(text, static_cast<std::size_t>(length), "0000:00:00.0");
    return cudaSuccess;
  });
}
cudaError_t cudaDeviceSynchronize() {
  return call([](Device& d) {
    for (const auto& stream : d.streams)
      if (stream->capture) return refuse_captured(stream);
    work_off_all(d);
    return d.lost;
  });
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return call([&](Device& d) {
    *total = d.settings.memory;
    *free = *total - std::min(*total, d.memory.bytes());
    return cudaSuccess;
  });
}

// ---- streams and events ---------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call([&](Device& d) {
    if (flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    const auto made = std::make_shared<Stream>();
    made->blocking = flags != cudaStreamNonBlocking;
    d.streams.push_back(made);
    d.handles.insert(*stream = new EmulatedStream{made});
    return cudaSuccess;
  });
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  // Its work goes on until it is done; nobody waits for it here.
  return call([&](Device& d) {
    if (!d.handles.erase(stream)) return cudaErrorInvalidResourceHandle;
    if (stream->stream->capture) stream->stream->capture->broken = true;
    if (stream->stream->pieces.empty()) std::erase(d.streams, stream->stream);
    delete stream;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return call([&](Device& d) {
    const auto stream = find(d, handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->capture) return refuse_captured(stream);
    work_off(d, *stream);
    return d.lost;
  });
}
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return call([&](Device& d) {
    const auto stream = find(d, handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->capture) return refuse_captured(stream);
    if (stream->pieces.empty()) return cudaSuccess;
    const emu::Memory::Open open(d.memory);
    do_next(d, *stream);
    return d.lost != cudaSuccess ? d.lost : cudaErrorNotReady;
  });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  return call([&](Device& d) {
    const auto stream = find(d, handle);
    if (!stream || !event) return cudaErrorInvalidResourceHandle;
    const auto mark = event->mark;
    if (!mark) return cudaSuccess;  // never recorded
    if (mark->captured) {  // the stream joins the capture; what a graph holds is done in the order of the calls
      if (!mark->stream->capture) return cudaErrorInvalidValue;
      if (stream->capture && stream->capture != mark->stream->capture) return refuse_captured(stream);
      stream->capture = mark->stream->capture;
      stream->capture->joined.insert(stream);
      return cudaSuccess;
    }
    if (stream->capture) return refuse_captured(stream);
    return give(d, handle, [&d, mark] { work_off_until(d, mark); });
  });
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call([&](Device& d) {
    *event = new EmulatedEvent{nullptr, !(flags & cudaEventDisableTiming)};
    d.events++;
    return cudaSuccess;
  });
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call([&](Device& d) {
    if (!event) return cudaErrorInvalidResourceHandle;
    d.events--;
    delete event;
    return cudaSuccess;
  });
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  return call([&](Device& d) {
    const auto stream = find(d, handle);
    if (!stream || !event) return cudaErrorInvalidResourceHandle;
    const auto mark = std::make_shared<Mark>();
    mark->stream = stream;
    mark->captured = stream->capture != nullptr;
    event->mark = mark;
    if (mark->captured) return cudaSuccess;
    return give(d, handle, [mark] {
      mark->reached = true;
      mark->when = Clock::now();
    });
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call([&](Device& d) {
    if (!event) return cudaErrorInvalidResourceHandle;
    const auto mark = event->mark;
    if (!mark) return cudaSuccess;
    if (mark->captured) return cudaErrorCapturedEvent;
    work_off_until(d, mark);
    return d.lost;
  });
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call([&](Device& d) {
    if (!event) return cudaErrorInvalidResourceHandle;
    const auto mark = event->mark;
    if (breaks_captures(d)) return cudaErrorStreamCaptureUnsupported;
    if (mark && mark->captured) return cudaErrorCapturedEvent;
    if (!mark || mark->reached || mark->stream->pieces.empty()) return cudaSuccess;
    const emu::Memory::Open open(d.memory);
    do_next(d, *mark->stream);
    return d.lost != cudaSuccess ? d.lost : cudaErrorNotReady;
  });
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return call([&](Device&) {
    if (!from || !to || !from->mark || !to->mark || !from->timed || !to->timed) return cudaErrorInvalidResourceHandle;
    if (!from->mark->reached || !to->mark->reached) return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(to->mark->when - from->mark->when).count();
    return cudaSuccess;
  });
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  return call([&](Device& d) { return give(d, stream, [=] { function(data); }); });
}

// ---- graphs ---------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  return call([&](Device& d) {
    const auto stream = find(d, handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream == d.first) return cudaErrorStreamCaptureUnsupported;
    if (stream->capture) return refuse_captured(stream);
    stream->capture = std::make_shared<Capture>();
    stream->capture->origin = stream;
    stream->capture->mode = mode;
    stream->capture->thread = std::this_thread::get_id();
    return cudaSuccess;
  });
}
cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  return call([&](Device& d) {
    const auto stream = find(d, handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    *status = !stream->capture          ? cudaStreamCaptureStatusNone
              : stream->capture->broken ? cudaStreamCaptureStatusInvalidated
                                        : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  return call([&](Device& d) {
    const auto stream = find(d, handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    const auto capture = stream->capture;
    if (!capture) return cudaErrorInvalidValue;
    if (capture->origin != stream) {
      capture->broken = true;
      return cudaErrorStreamCaptureUnmatched;
    }
    for (const auto& joined : capture->joined) joined->capture.reset();
    stream->capture.reset();
    *graph = nullptr;
    if (capture->broken) return cudaErrorStreamCaptureInvalidated;
    *graph = new EmulatedGraph{std::move(capture->pieces)};
    d.graphs++;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* run, cudaGraph_t graph, unsigned long long) {
  return call([&](Device& d) {
    if (!graph) return cudaErrorInvalidValue;
    *run = new EmulatedGraph(*graph);
    d.graphs++;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t run, cudaStream_t stream) {
  return call([&](Device& d) {
    if (!run) return cudaErrorInvalidValue;
    for (const auto& piece : run->pieces)
      if (const cudaError_t error = give(d, stream, piece); error != cudaSuccess) return error;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return call([&](Device& d) {
    if (!graph) return cudaErrorInvalidValue;
    d.graphs--;
    delete graph;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t run) { return cudaGraphDestroy(run); }

// ---- memory ---------------------------------------------------------------------------------------------------------

namespace {

bool fails(Device& d) { return d.settings.fail_malloc > 0 && --d.settings.fail_malloc == 0; }

cudaError_t allocate(Device& d, void** memory, std::size_t bytes) {
  *memory = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (fails(d)) return cudaErrorMemoryAllocation;
  *memory = d.memory.allocate(bytes, d.settings.memory);
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

// Whether both ends are where the direction says, whole.
bool fits(const Device& d, const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const auto on_device = [&](const void* at) { return d.memory.holds(at, bytes); };
  const auto on_host = [&](const void* at) { return at && !d.memory.owns(at); };
  switch (kind) {
    case cudaMemcpyHostToHost:
      return on_host(to) && on_host(from);
    case cudaMemcpyHostToDevice:
      return on_device(to) && on_host(from);
    case cudaMemcpyDeviceToHost:
      return on_host(to) && on_device(from);
    case cudaMemcpyDeviceToDevice:
      return on_device(to) && on_device(from);
    case cudaMemcpyDefault:
      return (on_device(to) || on_host(to)) && (on_device(from) || on_host(from));
  }
  return false;
}

cudaError_t copy(Device& d, void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t width,
                 std::size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  if (width == 0 || height == 0) return cudaSuccess;
  if (height > 1 && (to_pitch < width || from_pitch < width)) return cudaErrorInvalidValue;
  for (std::size_t row : {std::size_t{0}, height - 1}) {
    if (!fits(d, static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width,
              kind)) {
      return cudaErrorInvalidValue;
    }
  }
  return give(d, stream, [=] {
    for (std::size_t row = 0; row < height; row++) {
      std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
    }
  });
}

}  // namespace

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return call(
      [&](Device& d) { return breaks_captures(d) ? cudaErrorStreamCaptureUnsupported : allocate(d, memory, bytes); });
}
cudaError_t cudaFree(void* memory) {
  return call([&](Device& d) {
    if (!memory) return cudaSuccess;
    if (breaks_captures(d)) return cudaErrorStreamCaptureUnsupported;
    work_off_all(d);  // it waits for the device
    if (d.lost != cudaSuccess) return d.lost;
    return d.memory.free(memory) ? cudaSuccess : cudaErrorInvalidValue;
  });
}
cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t handle) {
  return call([&](Device& d) {
    const auto stream = find(d, handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    return stream->capture ? refuse_captured(stream) : allocate(d, memory, bytes);
  });
}
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps*) {
  return call([&](Device&) {
    *pool = reinterpret_cast<cudaMemPool_t>(new char);
    return cudaSuccess;
  });
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  delete reinterpret_cast<char*>(pool);
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
  return call([](Device& d) { return d.lost; });
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) {
  return call([](Device& d) { return d.lost; });
}
cudaError_t cudaMallocFromPoolAsync(void** memory, std::size_t bytes, cudaMemPool_t, cudaStream_t stream) {
  return cudaMallocAsync(memory, bytes, stream);
}
cudaError_t cudaFreeAsync(void* memory, cudaStream_t handle) {
  return call([&](Device& d) {
    const auto stream = find(d, handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->capture) return refuse_captured(stream);
    if (!d.memory.holds(memory, 0)) return cudaErrorInvalidValue;
    return give(d, handle, [&d, memory] {
      if (!d.memory.free(memory)) lose(d, cudaErrorIllegalAddress, "memory was freed twice");
    });
  });
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return call([&](Device& d) {
    if (breaks_captures(d)) return cudaErrorStreamCaptureUnsupported;
    *memory = nullptr;
    if (fails(d)) return cudaErrorMemoryAllocation;
    if (bytes == 0) return cudaSuccess;
    if (posix_memalign(memory, 4096, bytes) != 0) return cudaErrorMemoryAllocation;
    d.pinned.insert(*memory);
    return cudaSuccess;
  });
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes, unsigned flags) {
  return cudaHostAlloc(memory, bytes, flags);
}
cudaError_t cudaFreeHost(void* memory) {
  return call([&](Device& d) {
    if (!memory) return cudaSuccess;
    if (breaks_captures(d)) return cudaErrorStreamCaptureUnsupported;
    if (!d.pinned.erase(memory)) return cudaErrorInvalidValue;
    work_off_all(d);
    std::free(memory);
    return cudaSuccess;
  });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return call([&](Device& d) { return copy(d, to, bytes, from, bytes, bytes, 1, kind, stream); });
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  return call([&](Device& d) { return copy(d, to, to_pitch, from, from_pitch, width, height, kind, stream); });
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return error != cudaSuccess ? error : cudaStreamSynchronize(nullptr);
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  return call([&](Device& d) {
    if (bytes == 0) return cudaSuccess;
    if (!d.memory.holds(memory, bytes)) return cudaErrorInvalidValue;
    return give(d, stream, [=] { std::memset(memory, value, bytes); });
  });
}
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  return cudaMemsetAsync(memory, value, bytes, nullptr);
}

// ---- kernels --------------------------------------------------------------------------------------------------------

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  return call([&](Device& d) {
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    if (value < 0 || static_cast<std::size_t>(value) > kShared) return cudaErrorInvalidValue;
    d.shared_allowed[kernel] = static_cast<std::size_t>(value);
    return cudaSuccess;
  });
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int threads, std::size_t shared) {
  return call([&](Device&) {
    if (threads < 1 || threads > 1024) return cudaErrorInvalidValue;
    const int by_threads = kThreadsPerMultiprocessor / ((threads + 31) / 32 * 32);
    const auto by_shared = static_cast<int>(kSharedPerMultiprocessor / (shared + 1024));  // a block's own kilobyte
    *blocks = std::min({by_threads, by_shared, 32});
    return cudaSuccess;
  });
}
