// Where libtorch has its tensors on the CPU. It asks the system for each large one and gives it back at once, so that
// the system clears the same pages again at every step: a quarter of a step of ResNet-18. Here they come from an arena,
// which keeps them until the end of a job.
#pragma once

namespace lp {

// For the whole process; once.
void keep_tensor_memory();

// Gives the system what no tensor has.
void trim_tensor_memory();

}  // namespace lp
