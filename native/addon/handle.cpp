// dispose(handle): frees at once what a handle of any kind holds; calls that run on it still end.
#include "addon/handle.h"

namespace lp::addon {
namespace {

napi_type_tag tag_of(Kind kind) { return {0x6c61796572706565, static_cast<uint64_t>(kind) + 1}; }

Napi::Value dispose(Call& call) {
  const Argument handle = call[0];
  for (size_t kind = 0; kind < std::size(kKinds); kind++) {
    if (const auto held = held_by(handle.value, static_cast<Kind>(kind))) {
      held->dispose(call.env());
      return call.env().Undefined();
    }
  }
  handle.fail("LP_OPTION", "is no handle");
}
LP_EXPORT("dispose(handle)", dispose)

}  // namespace

Napi::Value wrap(Napi::Env env, Kind kind, Held held) {
  auto* shared = new std::shared_ptr<Held>(std::make_shared<Held>(std::move(held)));
  const auto external =
      Napi::External<std::shared_ptr<Held>>::New(env, shared, [](Napi::Env env, std::shared_ptr<Held>* held) {
        (*held)->dispose(env);
        delete held;
      });
  const napi_type_tag tag = tag_of(kind);
  external.TypeTag(&tag);
  (*shared)->report(env);
  return external;
}

std::shared_ptr<Held> held_by(const Napi::Value& value, Kind kind) {
  if (!value.IsExternal()) return nullptr;
  const auto external = value.As<Napi::External<std::shared_ptr<Held>>>();
  const napi_type_tag tag = tag_of(kind);
  return external.CheckTypeTag(&tag) ? *external.Data() : nullptr;
}

}  // namespace lp::addon
