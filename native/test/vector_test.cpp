// Products and norms against long double sums, of every size up to past one stretch; norms at the ends of the range.
#include "core/vector.h"

#include <cmath>
#include <limits>

#include "check.h"

using namespace lp;
using namespace lp::test;

template <class X, class Y>
void sums(Index size, Index offset) {
  Random random(static_cast<uint64_t>(3 * size + offset));
  const Array<X> x(size, random, offset);
  const Array<Y> y(size, random, 1);
  long double xy = 0, apart = 0, scale = 0;
  for (Index j = 0; j < size; j++) {
    const long double difference = static_cast<long double>(x[j]) - y[j];
    xy += static_cast<long double>(x[j]) * y[j];
    apart += difference * difference;
    scale += std::abs(static_cast<long double>(x[j]) * y[j]);
  }
  const double rounding = 1e-15 * std::sqrt(static_cast<double>(size) + 1);
  const std::string where = " of " + std::to_string(size);
  check_close(dot(x.get(), y.get(), size), static_cast<double>(xy), rounding * static_cast<double>(scale + 1),
              "dot" + where);
  check_close(squared_distance(x.get(), y.get(), size), static_cast<double>(apart),
              rounding * static_cast<double>(apart + 1), "squared distance" + where);
}

template <class T>
void norms(Index size) {
  Random random(static_cast<uint64_t>(size));
  const Array<T> x(size, random);
  long double square = 0;
  for (Index j = 0; j < size; j++) square += static_cast<long double>(x[j]) * x[j];
  const double length = static_cast<double>(std::sqrt(square));
  check_close(squared_norm(x.get(), size), static_cast<double>(square), 1e-13 * size, "squared norm");
  check_close(norm(x.get(), size), length, 1e-14 * (1 + length), "norm");
  // A power of two scales the norm, however far from 1 it is.
  const int most = std::numeric_limits<T>::max_exponent - 12, least = std::numeric_limits<T>::min_exponent + 54;
  for (const int exponent : {most, least, most / 2 + 3, least / 2 - 3}) {
    const Array<T> scaled(size);
    for (Index j = 0; j < size; j++) scaled[j] = std::scalbn(x[j], exponent);
    const double expected = std::scalbn(norm(x.get(), size), exponent);
    check_close(norm(scaled.get(), size) / expected, 1, sizeof(T) == 4 ? 1e-6 : 1e-14,
                "norm times 2^" + std::to_string(exponent));
  }
}

template <class T>
void extremes() {
  const T infinity = std::numeric_limits<T>::infinity(), least = std::numeric_limits<T>::denorm_min();
  const T zeros[3] = {}, one[3] = {0, least, 0}, endless[3] = {1, -infinity, 0}, broken[3] = {NAN, 2, infinity};
  check(norm(zeros, 3) == 0 && norm(zeros, 0) == 0, "the norm of nothing");
  check(norm(one, 3) == static_cast<double>(least), "the norm of the least number");
  check(norm(endless, 3) == static_cast<double>(infinity), "the norm of infinity");
  check(!(norm(broken, 3) < static_cast<double>(infinity)), "the norm of NaN is no number of use");
}

int main() {
  for (Index size = 0; size < 70; size++) {
    for (Index offset : {0, 1, 3}) {
      sums<float, float>(size, offset);
      sums<double, double>(size, offset);
      sums<float, double>(size, offset);
    }
  }
  for (Index size : {255, 256, 1023, 1024, 1027, 4099, 100003}) {
    sums<float, float>(size, 1);
    sums<double, double>(size, 1);
    sums<float, double>(size, 1);
  }
  for (Index size : {1, 2, 7, 33, 1025}) {
    norms<float>(size);
    norms<double>(size);
  }
  extremes<float>();
  extremes<double>();
  return failures();
}
