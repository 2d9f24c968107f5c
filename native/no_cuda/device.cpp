#include "core/device.h"

namespace lp::cuda {
namespace {

constexpr const char* kState = "This binary of layerpeel was built without CUDA.";
[[noreturn]] void refuse() { throw Error("LP_DEVICE", kState); }

}  // namespace

struct DeviceState {};
struct Job::Turn {};

Availability availability() {
  Availability none;
  none.state = kState;
  return none;
}

std::vector<Description> devices() { refuse(); }
std::string products_library(const std::string&) { refuse(); }

std::shared_ptr<Device> Device::open(int) { refuse(); }
Device::Device(std::unique_ptr<DeviceState> state) : state_(std::move(state)) {}
Device::~Device() = default;
const Description& Device::description() const { refuse(); }
Device::Room Device::room() const { refuse(); }
void Device::check_open() const { refuse(); }
void Device::close() {}

Memory::Memory(std::shared_ptr<Device>, size_t bytes) : bytes_(bytes) { refuse(); }
Memory::~Memory() = default;
void* Memory::get() const { refuse(); }

Job::Job(std::shared_ptr<Device>, Control& control) : control_(control) { refuse(); }
Job::~Job() = default;
void* Job::stream() const { refuse(); }
Blas* Job::products() { refuse(); }
void* Job::scratch_bytes(Index, size_t) { refuse(); }
void Job::upload(void*, const void*, size_t) { refuse(); }
void Job::download(void*, const void*, size_t) { refuse(); }
void Job::copy(void*, const void*, size_t) { refuse(); }
void Job::zero(void*, size_t) { refuse(); }
void Job::wait() { refuse(); }
void Job::pace() { refuse(); }

}  // namespace lp::cuda
