// The host's side of the emulated device: work is done when somebody waits, questions are answered "not ready" first,
// graphs hold their parameters, failures come when asked for, a broken rule loses the device and not the process.
#include <cmath>
#include <thread>

#include "cuda/emulated/emulator.h"
#include "test/cuda/device.h"
#include "test/cuda/small.h"

using namespace lp;
using namespace lp::test;

namespace {

void late() {
  cudaStream_t a, b;
  cudaEvent_t ready;
  check(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking), "stream");
  check(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking), "stream");
  check(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming), "event");
  check(cudaEventQuery(ready), "an event that was never recorded");
  const OnDevice<float> x(std::vector<float>(100, 0)), by(std::vector<float>{1});
  std::vector<float> got(100, -1);
  const auto all = [&](float value) {
    bool same = true;
    for (const float v : got) same &= v == value;
    return same;
  };

  add(x.get(), by.get(), 100, a);
  check(cudaMemcpyAsync(got.data(), x.get(), 400, cudaMemcpyDeviceToHost, b), "copy");
  check(all(-1), "nothing is done before somebody waits");
  check(cudaStreamSynchronize(b), "wait");
  check(all(0), "a stream that waits for no other does not see its work");

  check(cudaEventRecord(ready, a), "record");
  check(cudaStreamWaitEvent(b, ready, 0), "wait for an event");
  check(cudaMemcpyAsync(got.data(), x.get(), 400, cudaMemcpyDeviceToHost, b), "copy");
  check(cudaStreamSynchronize(b), "wait");
  check(all(1), "a stream that waits for an event sees what came before it");
  check(cudaEventQuery(ready), "the event was reached");

  add(x.get(), by.get(), 100, a);
  check(cudaEventRecord(ready, a), "record");
  int asked = 0;
  while (cudaEventQuery(ready) == cudaErrorNotReady) asked++;
  check(asked >= 1, "a question is answered \"not ready\" first");
  check_is(cudaGetLastError(), cudaErrorNotReady, "which is remembered");
  add(x.get(), by.get(), 100, a);
  check_is(cudaStreamQuery(a), cudaErrorNotReady, "a stream with work");
  while (cudaStreamQuery(a) == cudaErrorNotReady) {
  }
  check(cudaStreamQuery(a), "a stream without");
  cudaGetLastError();

  // A stream that is destroyed does its work nevertheless, when somebody waits for the device.
  add(x.get(), by.get(), 100, a);
  check(cudaStreamDestroy(a), "destroy");
  check_is(cudaStreamSynchronize(a), cudaErrorInvalidResourceHandle, "a stream that was destroyed");
  cudaGetLastError();
  check(cudaMemcpyAsync(got.data(), x.get(), 400, cudaMemcpyDeviceToHost, b), "copy");
  check(cudaStreamSynchronize(b), "wait");
  check(all(3), "destroying does not wait");
  check(cudaDeviceSynchronize(), "wait for all");
  check(cudaMemcpyAsync(got.data(), x.get(), 400, cudaMemcpyDeviceToHost, b), "copy");
  check(cudaStreamSynchronize(b), "wait");
  check(all(4), "the device did");
  check(cudaStreamDestroy(b), "destroy");
  check(cudaEventDestroy(ready), "destroy");
}

void default_stream() {
  cudaStream_t blocking;
  check(cudaStreamCreate(&blocking), "stream");
  const OnDevice<float> x(std::vector<float>(10, 0)), by(std::vector<float>{1});
  add(x.get(), by.get(), 10, blocking);
  check(x.read()[9] == 1, "the default stream waits for those that block");
  increment(by.get(), nullptr);
  add(x.get(), by.get(), 10, blocking);
  check(cudaStreamSynchronize(blocking), "wait");
  check(x.read()[9] == 3, "and they for it");
  check(cudaStreamDestroy(blocking), "destroy");
}

void graphs() {
  cudaStream_t stream, other;
  cudaEvent_t fork, join;
  check(cudaStreamCreate(&stream), "stream");
  check(cudaStreamCreate(&other), "stream");
  check(cudaEventCreate(&fork), "event");
  check(cudaEventCreate(&join), "event");
  const OnDevice<float> x(std::vector<float>(100, 0)), y(std::vector<float>(100, 0)), by(std::vector<float>{1});
  cudaGraph_t graph;
  cudaGraphExec_t run;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  add(x.get(), by.get(), 100, stream);
  check(cudaEventRecord(fork, stream), "record");
  check(cudaStreamWaitEvent(other, fork, 0), "join the capture");
  add(y.get(), by.get(), 100, other);
  check(cudaEventRecord(join, other), "record");
  check(cudaStreamWaitEvent(stream, join, 0), "come back");
  increment(by.get(), stream);
  check_is(cudaEventQuery(fork), cudaErrorStreamCaptureUnsupported, "an event asked while one captures");
  check_is(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated, "which breaks the capture");
  cudaGetLastError();

  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  std::thread([] {
    void* memory;
    check(cudaMalloc(&memory, 8), "another thread may allocate");
    check(cudaFree(memory), "and free");
  }).join();
  add(x.get(), by.get(), 100, stream);
  check(cudaEventRecord(fork, stream), "record");
  check(cudaStreamWaitEvent(other, fork, 0), "join the capture");
  add(y.get(), by.get(), 100, other);
  check(cudaEventRecord(join, other), "record");
  check(cudaStreamWaitEvent(stream, join, 0), "come back");
  increment(by.get(), stream);
  check(cudaStreamEndCapture(stream, &graph), "end of the capture");
  check(cudaGraphInstantiate(&run, graph, 0), "instance");
  check(cudaGraphDestroy(graph), "destroy");
  check(x.read()[0] == 0, "capturing does nothing");
  for (int step = 0; step < 10; step++) check(cudaGraphLaunch(run, stream), "launch");
  check(cudaStreamSynchronize(stream), "wait");
  check(x.read()[99] == 55 && y.read()[0] == 55, "ten launches of a graph");

  void* memory;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  check_is(cudaMalloc(&memory, 8), cudaErrorStreamCaptureUnsupported, "an allocation while one captures");
  check_is(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated, "which breaks the capture");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  check_is(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported, "a wait while one captures");
  check_is(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated, "which breaks the capture");
  cudaGetLastError();
  check(cudaGraphExecDestroy(run), "destroy");
  check(cudaStreamDestroy(stream), "destroy");
  check(cudaStreamDestroy(other), "destroy");
  check(cudaEventDestroy(fork), "destroy");
  check(cudaEventDestroy(join), "destroy");
}

void launches() {
  const auto refused = [](const char* what, cudaError_t expected, dim3 grid, dim3 block, std::size_t shared) {
    nothing(grid, block, shared, nullptr);
    check_is(cudaGetLastError(), expected, what);
    check(cudaGetLastError(), "which is told once");
  };
  refused("no block", cudaErrorInvalidConfiguration, dim3(0), dim3(32), 0);
  refused("too many threads", cudaErrorInvalidConfiguration, dim3(1), dim3(2048), 0);
  refused("too many threads in all", cudaErrorInvalidConfiguration, dim3(1), dim3(64, 32), 0);
  refused("too many blocks", cudaErrorInvalidConfiguration, dim3(1, 70000), dim3(1), 0);
  refused("too much shared memory", cudaErrorInvalidValue, dim3(1), dim3(1), 60000);
  allow_nothing_shared(60000);
  nothing(dim3(1), dim3(1), 60000, nullptr);
  check(cudaGetLastError(), "shared memory that was allowed");
  allow_nothing_shared(300000);
  check_is(cudaGetLastError(), cudaErrorInvalidValue, "more than there is");
  check(cudaDeviceSynchronize(), "wait");
}

void memory() {
  const emu::Settings before = emu::settings();
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "memory");
  check(total == before.memory && free <= total, "memory that there is");
  emu::Settings settings = before;
  settings.fail_malloc = 2;
  emu::set(settings);
  void *one, *two, *three;
  check(cudaMalloc(&one, 100), "the first allocation");
  check_is(cudaMalloc(&two, 100), cudaErrorMemoryAllocation, "the second");
  check(cudaMalloc(&three, 100), "the third");
  settings = before;
  settings.memory = 1 << 20;
  emu::set(settings);
  check_is(cudaMalloc(&two, 1 << 20), cudaErrorMemoryAllocation, "more than is left");
  check(two == nullptr, "no memory");
  check(cudaMalloc(&two, 1 << 19), "what is left");
  emu::set(before);
  cudaGetLastError();
  const std::size_t held = emu::held().allocations;
  check(cudaFree(one), "free");
  check_is(cudaFree(one), cudaErrorInvalidValue, "free twice");
  check(cudaFree(nullptr), "free nothing");
  check(cudaFree(two), "free");
  check(cudaFreeAsync(three, nullptr), "free later");
  check(emu::held().allocations == held - 2, "not before somebody waits");
  check(cudaStreamSynchronize(nullptr), "wait");
  check(emu::held().allocations == held - 3, "then");
  cudaGetLastError();

  // What is new is not a number; copies are whole, and in the direction they tell.
  const OnDevice<float> x(3);
  check(std::isnan(x.read()[2]), "new memory");
  float host[4] = {};
  check_is(cudaMemcpy(x.get(), host, 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue, "a copy beyond the end");
  check_is(cudaMemcpy(host, x.get(), 12, cudaMemcpyHostToDevice), cudaErrorInvalidValue, "the wrong way");
  check_is(cudaMemcpy(host, host + 1, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue, "not of the device");
  check_is(cudaMemset(x.get(), 0, 13), cudaErrorInvalidValue, "beyond the end");
  check(cudaMemset(x.get(), 0, 12), "to its end");
  check(cudaMemcpy(host + 1, x.get(), 12, cudaMemcpyDefault), "a direction by the addresses");
  check(host[3] == 0, "zeros");
  float* pinned = nullptr;
  check(cudaMallocHost(&pinned, 12), "pinned memory");
  check(emu::held().pinned == 1, "is counted");
  pinned[2] = 1;
  check(cudaFreeHost(pinned), "freed");
  check_is(cudaFreeHost(host), cudaErrorInvalidValue, "not pinned");
  cudaGetLastError();
}

void drivers() {
  const emu::Settings before = emu::settings();
  emu::Settings settings = before;
  int version = -1, count = -1;
  settings.driver = emu::Driver::none;
  emu::set(settings);
  check(cudaDriverGetVersion(&version), "version");
  check(version == 0, "no driver");
  check_is(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver, "no driver");
  check(count == -1, "the count is not touched");
  settings.driver = emu::Driver::old;
  emu::set(settings);
  check(cudaDriverGetVersion(&version), "version");
  check(version > 0 && version < 13000, "an old driver");
  check_is(cudaSetDevice(0), cudaErrorInsufficientDriver, "an old driver");
  settings.driver = emu::Driver::no_device;
  emu::set(settings);
  check_is(cudaGetDeviceCount(&count), cudaErrorNoDevice, "no device");
  nothing(dim3(1), dim3(1), 0, nullptr);
  check_is(cudaGetLastError(), cudaErrorNoDevice, "a launch without a device");
  emu::set(before);
  cudaDeviceProp properties;
  check(cudaGetDeviceCount(&count), "count");
  check(count == 1, "one device");
  check(cudaGetDeviceProperties(&properties, 0), "properties");
  check(properties.major == 9 && properties.name[0] != 0, "properties");
  int value = 0;
  check(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), "attribute");
  check(value == 227 << 10, "shared memory that can be allowed");
  check_is(cudaSetDevice(1), cudaErrorInvalidDevice, "another device");
  check_is(cudaGetLastError(), cudaErrorInvalidDevice, "is remembered");
}

void lost() {
  const OnDevice<float> x(std::vector<float>(10, 0)), by(std::vector<float>{1});
  emu::Settings settings = emu::settings();
  settings.lose = 2;
  emu::set(settings);
  add(x.get(), by.get(), 10, nullptr);
  add(x.get(), by.get(), 10, nullptr);
  add(x.get(), by.get(), 10, nullptr);
  check(cudaPeekAtLastError(), "launches are well");
  check_is(cudaStreamSynchronize(nullptr), cudaErrorIllegalAddress, "the second piece of work fails");
  void* memory;
  check_is(cudaMalloc(&memory, 8), cudaErrorIllegalAddress, "and all that is called from then on");
  check_is(cudaGetLastError(), cudaErrorIllegalAddress, "every time");
  check_is(cudaGetLastError(), cudaErrorIllegalAddress, "it is asked");
  std::thread([] { check_is(cudaGetLastError(), cudaErrorIllegalAddress, "in every thread"); }).join();
  emu::revive();
  check(x.read()[0] == 1, "what came before was done");
  emu::lose(cudaErrorLaunchFailure);
  check_is(cudaDeviceSynchronize(), cudaErrorLaunchFailure, "lost on demand");
  emu::revive();
}

void kernels() {
  for (const int threads : {32, 96, 1024}) {
    const OnDevice<int> out(5 * threads);
    ranks(out.get(), 5, threads, nullptr);
    const auto got = out.read();
    bool right = true;
    for (int i = 0; i < 5 * threads; i++) right &= got[i] == i / threads * 1000 + i % threads;
    check(right, "ranks");
    counts(out.get(), threads, nullptr);
    const auto counted = out.read();
    check(counted[0] == threads / 2 && counted[1] == 1 && counted[2] == 1, "counts");
  }
  const OnDevice<float> out(32);
  unwritten(out.get(), nullptr);
  check(std::isnan(out.read()[31]), "shared memory starts as NaN");
}

void misuses() {
  const struct {
    Misused which;
    cudaError_t error;
    const char* sentence;
  } kinds[] = {
      {Misused::divergent_barrier, cudaErrorLaunchFailure, "barrier"},
      {Misused::two_barriers, cudaErrorLaunchFailure, "different barriers"},
      {Misused::barrier_after_end, cudaErrorLaunchFailure, "barrier"},
      {Misused::absent_lane, cudaErrorLaunchFailure, "deadlock: nobody comes for 31 threads"},
      {Misused::lane_outside_mask, cudaErrorLaunchFailure, "a lane that is not in its mask"},
      {Misused::own_lane_outside_mask, cudaErrorLaunchFailure, "not in the mask that it names"},
      {Misused::different_masks, cudaErrorLaunchFailure, "small.cu"},
      {Misused::lanes_that_the_block_lacks, cudaErrorLaunchFailure, "lanes that the block lacks"},
      {Misused::copy_not_waited_for, cudaErrorLaunchFailure, "did not wait for"},
      {Misused::copy_misaligned, cudaErrorMisalignedAddress, "no multiple of its size"},
      {Misused::copy_beyond_shared, cudaErrorIllegalAddress, "beyond the block's shared memory"},
      {Misused::trap, cudaErrorLaunchFailure, "trap"},
  };
  const OnDevice<int> out(1024);
  for (const auto& kind : kinds) {
    misuse(kind.which, out.get(), nullptr);
    check(cudaGetLastError(), "the launch itself");
    check_is(cudaDeviceSynchronize(), kind.error, kind.sentence);
    check(emu::misuse().find(kind.sentence) != std::string::npos,
          std::string(kind.sentence) + " is told: " + emu::misuse());
    emu::revive();
    counts(out.get(), 64, nullptr);
    check(out.read()[0] == 32, "a kernel after it");
  }
}

// Several threads of the process at once, on streams of their own.
void threads() {
  std::vector<std::thread> all;
  for (int t = 0; t < 4; t++) {
    all.emplace_back([] {
      cudaStream_t stream;
      check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
      const OnDevice<int> out(320);
      std::vector<int> got(320);
      for (int again = 0; again < 5; again++) {
        ranks(out.get(), 5, 64, stream);
        check(cudaMemcpyAsync(got.data(), out.get(), 320 * sizeof(int), cudaMemcpyDeviceToHost, stream), "copy");
        while (cudaStreamQuery(stream) == cudaErrorNotReady) std::this_thread::yield();
        cudaGetLastError();
        check(got[319] == 4063, "ranks beside other threads");
      }
      check(cudaStreamDestroy(stream), "destroy");
    });
  }
  for (auto& thread : all) thread.join();
}

}  // namespace

int main() {
  late();
  default_stream();
  graphs();
  launches();
  memory();
  drivers();
  lost();
  kernels();
  misuses();
  threads();
  const emu::Held held = emu::held();
  check(held.allocations == 0 && held.pinned == 0 && held.streams == 0 && held.events == 0 && held.graphs == 0,
        "leaks");
  return failures();
}
