// projections(mode, state, out?) → { plus1, minus1, plus2, minus2, rest }, each { features, prototypes }: see
// ops/linear/projections.
#include "ops/linear/projections.h"

#include "addon/call.h"

namespace lp::addon {
namespace {

constexpr const char* kParts[] = {"plus1", "minus1", "plus2", "minus2", "rest"};

Napi::Value projections(Call& call) {
  return with_state(call, 1, [&]<class T>(const StateInput<T>& state) {
    std::vector<StateOutput<T>> parts;
    const Argument given = call[2];
    for (const char* part : kParts) {
      parts.emplace_back(call, state.sizes, false, given.given() ? given[part] : Argument());
    }
    const auto out = [=] {
      Projections<T> out;
      for (size_t i = 0; i < parts.size(); i++) {
        out.features[i] = parts[i].features.get();
        out.prototypes[i] = parts[i].prototypes.get();
      }
      return out;
    };
    return call.run_placed([=](Control& control) { lp::projections<T>(state.get(), out(), control); },
                           [=](cuda::Job& job) { cuda::projections<T>(job, state.get(), out()); },
                           [=](Napi::Env env) {
                             std::vector<Entry> entries;
                             for (size_t i = 0; i < parts.size(); i++)
                               entries.emplace_back(kParts[i], named(env, parts[i].entries()));
                             return named(env, entries);
                           });
  });
}
LP_EXPORT("projections(mode, state, out)", projections)

}  // namespace
}  // namespace lp::addon
