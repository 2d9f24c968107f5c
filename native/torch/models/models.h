// The networks of the papers, up to their last features: x (n, channels, height, width) → h (n, dim). Convolutions and
// linear layers begin as PyTorch's do; parameters have the names that they have in torchvision, and in the usual
// CIFAR implementations.
//
//   mlp           linear layers of the given widths, a ReLU after each
//   resnet        18, 34 (basic blocks), 50 or 101 (bottlenecks, stride on the 3×3), torchvision's; the stem `imagenet`
//                 is 7×7 of stride 2 and a pooling, `small` is 3×3                             (He et al. 2016, §4.1)
//   cifar-resnet  6 m + 2 layers of w, 2 w, 4 w channels (w = 16), shortcuts without parameters (option A)   (… §4.2)
//   vgg           13: 10 convolutions with BatchNorm, pooled to one pixel                   (Simonyan, Zisserman, B)
//   densenet      bottleneck blocks, (depth − 4)/6 in each of three, transitions that keep a share `reduction` of the
//                 channels                                                                    (Huang et al. 2017, -BC)
//
// Without its last ReLU a network's features may be negative, as anchored prototypes need them.
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "core/array.h"
#include "core/control.h"

namespace lp {

struct Architecture {
  std::string kind;
  Index channels = 3, height = 32, width = 32;
  Index depth = 20;
  std::vector<Index> widths;  // of an mlp's layers; of a cifar-resnet's first stage
  bool imagenet_stem = false;
  Index growth = 12;
  double reduction = 0.5;
  bool last_relu = true;
};

struct Network : torch::nn::Module {
  // Between two blocks, and between them again on the way back, throws LP_ABORTED once cancelled.
  virtual at::Tensor forward(at::Tensor x, const Control& control) = 0;
  Index dim = 0;
};

// Throws LP_OPTION for a depth that the kind does not have.
std::shared_ptr<Network> make_network(const Architecture& architecture);

}  // namespace lp
