// What tests of kernels share: arrays on the device, and calls that must succeed.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "cuda/runtime.h"
#include "test/check.h"

namespace lp::test {

// ThreadSanitizer looks at who touches what and in which order, not at numbers, and takes a hundred times as long.
// Under it tables of cases are short: of each instance of a kernel one shape, of more blocks than one where there are
// as many, and no multiple of a warp, a pack or a tile.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kRacesAlone = true;
#else
inline constexpr bool kRacesAlone = false;
#endif

inline void check(cudaError_t error, const std::string& what) {
  check(error == cudaSuccess, what + ": " + cudaGetErrorString(error));
}
inline void check_is(cudaError_t error, cudaError_t expected, const std::string& what) {
  check(error == expected, what + ": " + cudaGetErrorName(error) + " is not " + cudaGetErrorName(expected));
}

// An array on the device; `read` waits for the default stream, and says whether anything went wrong on the way.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(std::size_t size) : size_(size) { check(cudaMalloc(&data_, size * sizeof(T)), "cudaMalloc"); }
  explicit OnDevice(const std::vector<T>& values) : OnDevice(values.size()) {
    check(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), "to the device");
  }
  OnDevice(OnDevice&& other) : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  OnDevice& operator=(OnDevice&&) = delete;
  ~OnDevice() { cudaFree(data_); }

  T* get() const { return data_; }
  std::size_t size() const { return size_; }
  std::vector<T> read() const {
    std::vector<T> values(size_);
    check(cudaGetLastError(), "launches");
    check(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost), "from the device");
    return values;
  }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

// The same `offset` elements from where memory is aligned; read(to) fills what has its size.
template <class T>
class Shifted {
 public:
  Shifted(const Array<T>& values, Index offset) : offset_(offset), memory_(with_offset(values, offset)) {}
  Shifted(Index size, Index offset) : offset_(offset), memory_(size + offset) {}

  T* get() const { return memory_.get() + offset_; }
  void read(const Array<T>& to) const {
    const std::vector<T> values = memory_.read();
    std::copy(values.begin() + offset_, values.end(), to.get());
  }

 private:
  static std::vector<T> with_offset(const Array<T>& values, Index offset) {
    std::vector<T> all(offset);
    all.insert(all.end(), values.get(), values.get() + values.size());
    return all;
  }
  Index offset_;
  OnDevice<T> memory_;
};

}  // namespace lp::test
