#include "core/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace lp {
namespace {

using Shape = Schedule::Shape;

// Steps at which a shape changes its form: each the first of what comes after.
template <class Visit>
void form_changes(const Shape& shape, Visit&& visit) {
  visit(shape.warmup - 1);
  if (shape.kind == Shape::Kind::cosine) visit(shape.length);
  for (const double milestone : shape.milestones) visit(milestone);
}

double decay(const Shape& shape, double step) {
  switch (shape.kind) {
    case Shape::Kind::cosine: {
      // cos² of the half angle: exact towards its zero.
      const double half = step < shape.length ? std::cos(std::numbers::pi * step / (2 * shape.length)) : 0;
      return half * half;
    }
    case Shape::Kind::exponential:
      return std::exp(-step / shape.length);
    case Shape::Kind::steps: {
      const auto passed = std::upper_bound(shape.milestones.begin(), shape.milestones.end(), step);
      return std::pow(shape.factor, static_cast<double>(passed - shape.milestones.begin()));
    }
    default:
      return 1;
  }
}

bool is_constant(const Shape& shape, double step) {
  if (shape.value == 0 || decay(shape, step) == 0) return true;
  if (step + 1 < shape.warmup) return false;
  return shape.kind == Shape::Kind::constant || shape.kind == Shape::Kind::steps;
}

}  // namespace

Schedule Schedule::listed(std::vector<double> values) {
  Schedule out;
  out.values_ = std::move(values);
  out.listed_ = true;
  return out;
}

Index Schedule::stretch_end(Index step) const {
  if (listed_) return static_cast<Index>(values_.size());
  double next = std::numeric_limits<double>::infinity();
  for (const Shape& shape : shapes_)
    form_changes(shape, [&](double at) {
      if (std::ceil(at) > static_cast<double>(step)) next = std::min(next, std::ceil(at));
    });
  return next < 0x1p62 ? static_cast<Index>(next) : kForever;
}

bool Schedule::constant(Index step) const {
  return !listed_ && std::all_of(shapes_.begin(), shapes_.end(),
                                 [=](const Shape& shape) { return is_constant(shape, static_cast<double>(step)); });
}

void Schedule::fill(Index first, Index count, double* out) const {
  if (listed_) {
    if (first + count > std::ssize(values_))
      throw Error("LP_OPTION", "The learning rates of these steps are not known yet.");
    std::copy_n(values_.begin() + first, count, out);
    return;
  }
  std::fill_n(out, count, 1.0);
  for (const Shape& shape : shapes_) {
    const bool same = is_constant(shape, static_cast<double>(first)) && stretch_end(first) >= first + count;
    double f = decay(shape, static_cast<double>(first));
    for (Index i = 0; i < count; i++) {
      const double step = static_cast<double>(first + i);
      if (!same && i > 0) f = decay(shape, step);
      out[i] *= shape.value * f * (step + 1 < shape.warmup ? (step + 1) / shape.warmup : 1);
    }
  }
}

}  // namespace lp
