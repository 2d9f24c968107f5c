#include "torch/models/models.h"

#include "core/error.h"

namespace lp {
namespace {

using at::Tensor;
namespace nn = torch::nn;

// A place at which a pass is stopped, with x or with its gradient.
Tensor stoppable(Tensor x, const Control& control) {
  control.poll();
  if (x.requires_grad()) x.register_hook([&control](const Tensor&) { control.poll(); });
  return x;
}

// What a list of layers holds; named by their places, as in a torch.nn.Sequential.
struct Layer : nn::Module {
  virtual Tensor forward(Tensor x) = 0;
};

struct Layers : nn::Module {
  std::vector<std::shared_ptr<Layer>> list;

  Index add(std::shared_ptr<Layer> layer) {
    list.push_back(register_module(std::to_string(list.size()), layer));
    return std::ssize(list);
  }
  Tensor forward(Tensor x, const Control& control) {
    for (auto& layer : list) x = stoppable(layer->forward(x), control);
    return x;
  }
};

nn::Conv2d convolution(Index in, Index out, Index kernel, Index stride = 1, bool bias = false) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(bias));
}

Tensor pooled(const Tensor& x) { return at::adaptive_avg_pool2d(x, {1, 1}).flatten(1); }

struct Mlp : Network {
  std::vector<nn::Linear> layers;
  bool last_relu;

  explicit Mlp(const Architecture& given) : last_relu(given.last_relu) {
    Index in = given.channels * given.height * given.width;
    for (Index width : given.widths) {
      layers.push_back(register_module("layer" + std::to_string(layers.size() + 1), nn::Linear(in, width)));
      in = width;
    }
    dim = in;
  }
  Tensor forward(Tensor x, const Control& control) override {
    x = x.flatten(1);
    for (auto& layer : layers) {
      x = layer(stoppable(x, control));
      if (last_relu || layer.ptr() != layers.back().ptr()) x = x.relu_();
    }
    return x;
  }
};

// Two 3×3 convolutions, or 1×1, 3×3, 1×1 where `inner` channels lie between.
struct Residual : Layer {
  nn::Conv2d conv1{nullptr}, conv2{nullptr}, conv3{nullptr};
  nn::BatchNorm2d bn1{nullptr}, bn2{nullptr}, bn3{nullptr};
  nn::Sequential downsample{nullptr};
  Index stride, padding = 0;  // channels that option A's shortcut adds at either side
  bool relu = true;

  Residual(Index in, Index out, Index stride, bool bottleneck, bool option_a) : stride(stride) {
    const Index inner = bottleneck ? out / 4 : out;
    conv1 = register_module("conv1", bottleneck ? convolution(in, inner, 1) : convolution(in, inner, 3, stride));
    bn1 = register_module("bn1", nn::BatchNorm2d(inner));
    conv2 = register_module("conv2", convolution(inner, inner, 3, bottleneck ? stride : 1));
    bn2 = register_module("bn2", nn::BatchNorm2d(inner));
    if (bottleneck) {
      conv3 = register_module("conv3", convolution(inner, out, 1));
      bn3 = register_module("bn3", nn::BatchNorm2d(out));
    }
    if (stride == 1 && in == out) return;
    if (option_a) {
      padding = (out - in) / 2;
    } else {
      downsample = register_module(
          "downsample",
          nn::Sequential(nn::Conv2d(nn::Conv2dOptions(in, out, 1).stride(stride).bias(false)), nn::BatchNorm2d(out)));
    }
  }

  Tensor shortcut(const Tensor& x) {
    if (downsample) return downsample->forward(x);
    if (padding == 0) return x;
    using at::indexing::Slice;
    const auto thinned = x.index({Slice(), Slice(), Slice(0, {}, stride), Slice(0, {}, stride)});
    return at::constant_pad_nd(thinned, {0, 0, 0, 0, padding, padding});
  }

  Tensor forward(Tensor x) override {
    auto y = bn2(conv2(bn1(conv1(x)).relu_()));
    if (conv3) y = bn3(conv3(y.relu_()));
    y += shortcut(x);
    return relu ? y.relu_() : y;
  }
};

struct ResNet : Network {
  nn::Conv2d conv1{nullptr};
  nn::BatchNorm2d bn1{nullptr};
  std::vector<std::shared_ptr<Layers>> stages;
  bool pool;

  // `blocks` of each stage; the channels double from one to the next.
  ResNet(const Architecture& given, Index stem, const std::vector<Index>& blocks, bool bottleneck, bool option_a)
      : pool(given.imagenet_stem) {
    conv1 =
        register_module("conv1", pool ? convolution(given.channels, stem, 7, 2) : convolution(given.channels, stem, 3));
    bn1 = register_module("bn1", nn::BatchNorm2d(stem));
    Index in = stem, out = bottleneck ? 4 * stem : stem;
    std::shared_ptr<Residual> last;
    for (size_t s = 0; s < blocks.size(); s++) {
      auto stage = std::make_shared<Layers>();
      for (Index block = 0; block < blocks[s]; block++) {
        last = std::make_shared<Residual>(in, out, s > 0 && block == 0 ? 2 : 1, bottleneck, option_a);
        stage->add(last);
        in = out;
      }
      stages.push_back(register_module("layer" + std::to_string(s + 1), stage));
      out *= 2;
    }
    last->relu = given.last_relu;
    dim = in;
  }

  Tensor forward(Tensor x, const Control& control) override {
    x = bn1(conv1(x)).relu_();
    if (pool) x = at::max_pool2d(x, {3, 3}, {2, 2}, {1, 1});
    for (auto& stage : stages) x = stage->forward(x, control);
    return pooled(x);
  }
};

struct Vgg : Network {
  std::vector<nn::Conv2d> convolutions;
  std::vector<nn::BatchNorm2d> norms;
  bool last_relu;

  explicit Vgg(const Architecture& given) : last_relu(given.last_relu) {
    Index in = given.channels;
    for (Index out : {64, 128, 256, 512, 512}) {
      for (int twice = 0; twice < 2; twice++) {
        const auto place = std::to_string(convolutions.size() + 1);
        convolutions.push_back(register_module("conv" + place, convolution(in, out, 3, 1, true)));
        norms.push_back(register_module("bn" + place, nn::BatchNorm2d(out)));
        in = out;
      }
    }
    dim = in;
  }

  Tensor forward(Tensor x, const Control& control) override {
    for (size_t i = 0; i < convolutions.size(); i++) {
      x = norms[i](convolutions[i](stoppable(x, control)));
      if (last_relu || i + 1 < convolutions.size()) x = x.relu_();
      // An odd side is rounded up, so that images of 28 pixels are not used up.
      if (i % 2 == 1) x = at::max_pool2d(x, {2, 2}, {2, 2}, {0, 0}, {1, 1}, true);
    }
    return pooled(x);
  }
};

struct Dense : Layer {
  nn::BatchNorm2d bn1, bn2;
  nn::Conv2d conv1, conv2;

  Dense(Index in, Index growth)
      : bn1(in), bn2(4 * growth), conv1(convolution(in, 4 * growth, 1)), conv2(convolution(4 * growth, growth, 3)) {
    register_module("bn1", bn1);
    register_module("conv1", conv1);
    register_module("bn2", bn2);
    register_module("conv2", conv2);
  }
  Tensor forward(Tensor x) override { return at::cat({x, conv2(bn2(conv1(bn1(x).relu_())).relu_())}, 1); }
};

struct Transition : nn::Module {
  nn::BatchNorm2d bn1;
  nn::Conv2d conv1;

  Transition(Index in, Index out) : bn1(in), conv1(convolution(in, out, 1)) {
    register_module("bn1", bn1);
    register_module("conv1", conv1);
  }
  Tensor forward(const Tensor& x) { return at::avg_pool2d(conv1(bn1(x).relu_()), {2, 2}); }
};

struct DenseNet : Network {
  nn::Conv2d conv1{nullptr};
  nn::BatchNorm2d bn1{nullptr};
  std::vector<std::shared_ptr<Layers>> blocks;
  std::vector<std::shared_ptr<Transition>> transitions;
  bool last_relu;

  explicit DenseNet(const Architecture& given) : last_relu(given.last_relu) {
    Index in = 2 * given.growth;
    conv1 = register_module("conv1", convolution(given.channels, in, 3));
    for (int b = 1; b <= 3; b++) {
      auto block = std::make_shared<Layers>();
      for (Index i = 0; i < (given.depth - 4) / 6; i++, in += given.growth) {
        block->add(std::make_shared<Dense>(in, given.growth));
      }
      blocks.push_back(register_module("block" + std::to_string(b), block));
      if (b == 3) break;
      const auto kept = static_cast<Index>(static_cast<double>(in) * given.reduction);
      transitions.push_back(register_module("trans" + std::to_string(b), std::make_shared<Transition>(in, kept)));
      in = kept;
    }
    bn1 = register_module("bn1", nn::BatchNorm2d(in));
    dim = in;
  }

  Tensor forward(Tensor x, const Control& control) override {
    x = conv1(x);
    for (size_t b = 0; b < blocks.size(); b++) {
      x = blocks[b]->forward(x, control);
      if (b < transitions.size()) x = transitions[b]->forward(x);
    }
    x = bn1(x);
    return pooled(last_relu ? x.relu_() : x);
  }
};

}  // namespace

std::shared_ptr<Network> make_network(const Architecture& given) {
  const Index depth = given.depth;
  if (given.kind == "mlp") return std::make_shared<Mlp>(given);
  if (given.kind == "resnet" && depth == 18)
    return std::make_shared<ResNet>(given, 64, std::vector<Index>{2, 2, 2, 2}, false, false);
  if (given.kind == "resnet" && (depth == 34 || depth == 50))
    return std::make_shared<ResNet>(given, 64, std::vector<Index>{3, 4, 6, 3}, depth == 50, false);
  if (given.kind == "resnet" && depth == 101)
    return std::make_shared<ResNet>(given, 64, std::vector<Index>{3, 4, 23, 3}, true, false);
  if (given.kind == "cifar-resnet" && depth >= 8 && depth % 6 == 2 && given.widths.size() == 1 &&
      given.widths[0] % 2 == 0)
    return std::make_shared<ResNet>(given, given.widths[0], std::vector<Index>(3, (depth - 2) / 6), false, true);
  if (given.kind == "vgg" && depth == 13) return std::make_shared<Vgg>(given);
  if (given.kind == "densenet" && depth >= 10) return std::make_shared<DenseNet>(given);
  throw Error("LP_OPTION", "There is no " + given.kind + " of depth " + std::to_string(depth) + ".");
}

}  // namespace lp
