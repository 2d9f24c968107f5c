#include "core/device.h"

namespace lp {

bool cuda_usable() { return false; }
std::string cuda_state() { return "not in this binary: it was built without LAYERPEEL_CUDA"; }

}  // namespace lp
