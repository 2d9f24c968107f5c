// Trains a network on labelled images by stochastic gradient descent, some steps a call: an epoch of images in memory,
// a step of images that are brought there meanwhile.
//
// A step, with g the gradient of the mean loss of its samples and λ the weight decay of a parameter's group:
//   g ← g + λ x,  v ← μ v + g,  x ← x − η v   (Nesterov: x − η (g + μ v))
// Everything random follows from the seed: the beginning, the order of samples and their augmentation in an epoch. So
// parameters, velocities, averages and BatchNorm's statistics are the whole state, and on a CPU an epoch from the same
// state gives the same bits, with the same number of threads.
#pragma once

#include <torch/torch.h>

#include <span>

#include "core/control.h"
#include "torch/losses/losses.h"
#include "torch/models/models.h"
#include "torch/trainer/batches.h"

namespace lp {

enum class Prototypes { learnable, fixed };

struct TrainerPlan {
  Architecture architecture;
  bool head_norm = false;    // BatchNorm of the features
  double feature_scale = 1;  // of features that are not normalized
  Prototypes prototypes = Prototypes::learnable;
  bool bias = true;
  std::vector<float> beginning;  // prototypes (C, p) to begin with, or empty for PyTorch's
  Index classes = 0;
  NetworkLoss loss;

  double momentum = 0.9;
  bool nesterov = false;
  double weight_decay = 0, prototype_decay = 0, bias_decay = 0, norm_decay = 0;
  Index batch = 128, accumulate = 1;
  double ema = 0;  // decay of the averaged weights that evaluation uses; 0: none

  Augmentation augmentation;
  uint64_t seed = 0;
  std::string device = "cpu";
  int threads = 1;  // of libtorch, within an operation
  bool channels_last = false, bfloat16 = false, tf32 = true;
};

// What comes of some steps, by batch.
struct Trained {
  std::vector<double> losses,
      correct;             // in training mode: mean loss, and samples that are right, as far as training went
  double waited = 0;       // seconds, for images
  Index diverged_at = -1;  // the batch whose loss or gradient is not finite; its step was not taken
};

// What evaluation mode makes of some samples, beside their features and logits: sums by batch of kEvaluated.
struct Evaluation {
  std::vector<double> losses;  // without regularization
  std::vector<double> norms;   // of ‖h‖, before normalization
  Index correct = 0;           // of equal largest logits the first decides
};
constexpr Index kEvaluated = 256;

struct Named {
  std::string name;
  at::Tensor tensor;
};

class Trainer {
 public:
  // Throws LP_OPTION, LP_DEVICE.
  explicit Trainer(TrainerPlan plan);
  ~Trainer();

  // The order in which an epoch takes the samples of a set, and with whom each is mixed (none without mixup).
  std::vector<int32_t> order(Index samples, Index epoch) const;
  std::vector<int32_t> partners(std::span<const int32_t> order, Index epoch) const;

  // Steps on these samples, with their learning rates. Throws LP_SHAPE.
  Trained train(Samples samples, Index epoch, std::span<const double> rates, const Control& control);

  // In evaluation mode: features (count, p) as they enter the logits and logits (count, C), which may be null; the loss
  // is that of this epoch.
  Evaluation evaluate(Samples samples, Index epoch, float* features, float* logits, const Control& control);

  // The whole state, in one order. `write` wants what `state` gave.
  std::vector<Named> state();
  Index dim() const;
  const TrainerPlan& plan() const { return plan_; }

 private:
  struct Model;
  struct Group;

  void begin_job() const;
  void descend(double rate);

  const TrainerPlan plan_;
  const at::Device device_;
  std::shared_ptr<Model> model_, average_;
  std::vector<Group> groups_;
};

}  // namespace lp
