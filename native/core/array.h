// Arrays over memory that the caller owns: a pointer and a shape, row-major and contiguous.
// They are passed by value and never allocate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>

#include "core/memory.h"

namespace lp {

using Index = std::ptrdiff_t;

// How many units cover a value.
constexpr Index divide_up(Index value, Index unit) { return (value + unit - 1) / unit; }
// The value that they cover.
constexpr Index round_up(Index value, Index unit) { return divide_up(value, unit) * unit; }

template <class T>
struct Matrix {
  T* data = nullptr;
  Index rows = 0;
  Index cols = 0;

  T* row(Index i) const { return data + i * cols; }
  T& operator()(Index i, Index j) const { return data[i * cols + j]; }
  Index size() const { return rows * cols; }
  operator Matrix<const T>() const
    requires(!std::is_const_v<T>)
  {
    return {data, rows, cols};
  }
};

// Memory of an operation's own, aligned to a cache line so that rows of a multiple of 64 bytes never straddle two.
// Not initialized.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(Index size) : size_(size) {
    if (size <= 0) return;
    if (size > std::numeric_limits<Index>::max() / static_cast<Index>(sizeof(T))) throw std::bad_array_new_length();
    data_ = {static_cast<T*>(take_memory(size * sizeof(T))), Free{size * sizeof(T)}};
  }
  T* get() const { return data_.get(); }
  Index size() const { return size_; }
  T& operator[](Index i) const { return data_.get()[i]; }
  T* begin() const { return get(); }
  T* end() const { return get() + size_; }

 private:
  struct Free {
    std::size_t bytes = 0;
    void operator()(T* data) const { give_memory(data, bytes); }
  };
  std::unique_ptr<T, Free> data_;
  Index size_ = 0;
};

// The memory of buffers and vectors.
template <class... Memory>
size_t bytes_of(const Memory&... memory) {
  return (size_t{0} + ... + (static_cast<size_t>(memory.size()) * sizeof(*memory.begin())));
}

// A state of the layer-peeled model in the caller's memory.
template <class T>
struct State {
  Matrix<T> features;     // (n, p)
  Matrix<T> prototypes;   // (C, p)
  T* biases;              // (C) or null
  const int32_t* labels;  // (n), values in 0 … C−1 (checked above)

  Index samples() const { return features.rows; }
  Index classes() const { return prototypes.rows; }
  Index dim() const { return features.cols; }
};

}  // namespace lp
