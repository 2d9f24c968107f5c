#include "torch/trainer/trainer.h"

#include <ATen/autocast_mode.h>

#include <mutex>

namespace lp {
namespace {

using at::Tensor;

at::Device usable_device(const std::string& name) {
  const at::Device device(name);
  if (device.is_cuda() && std::max<Index>(device.index(), 0) >= static_cast<Index>(torch::cuda::device_count())) {
    throw Error("LP_DEVICE", "There is no device " + name + "; libtorch sees " +
                                 std::to_string(torch::cuda::device_count()) + " CUDA devices.");
  }
  return device;
}

// Products in bfloat16 while it lives.
class Autocast {
 public:
  Autocast(at::DeviceType device, bool on) : device_(device), on_(on) {
    if (!on_) return;
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::set_autocast_enabled(device_, true);
  }
  ~Autocast() {
    if (!on_) return;
    at::autocast::set_autocast_enabled(device_, false);
    at::autocast::clear_cache();
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  const at::DeviceType device_;
  const bool on_;
};

double correct_share(const Tensor& decided, const Batch& batch, const Tensor& labels, const Tensor& partners,
                     const Tensor& share) {
  const auto own = (decided == labels).to(at::kFloat);
  if (!batch.partners.defined()) return own.sum().item<double>();
  return (share * own + (1 - share) * (decided == partners).to(at::kFloat)).sum().item<double>();
}

}  // namespace

struct Trainer::Model : torch::nn::Module {
  std::shared_ptr<Network> network;
  torch::nn::BatchNorm1d norm{nullptr};
  Tensor prototypes, biases;
  double scale;

  explicit Model(const TrainerPlan& plan) : scale(plan.feature_scale) {
    network = register_module("network", make_network(plan.architecture));
    const Index dim = network->dim;
    if (plan.head_norm) norm = register_module("norm", torch::nn::BatchNorm1d(dim));
    const torch::nn::Linear linear(torch::nn::LinearOptions(dim, plan.classes).bias(plan.bias));
    auto w = linear->weight.detach().clone();
    if (!plan.beginning.empty()) {
      if (std::ssize(plan.beginning) != dim * plan.classes) {
        throw Error("LP_SHAPE", "The prototypes to begin with are not (classes, " + std::to_string(dim) + ").");
      }
      w.copy_(torch::tensor(plan.beginning).view_as(w));
    }
    prototypes =
        plan.prototypes == Prototypes::fixed ? register_buffer("prototypes", w) : register_parameter("prototypes", w);
    if (plan.bias) biases = register_parameter("biases", linear->bias.detach().clone());
  }

  Tensor features(const Tensor& x, const Control& control) {
    auto h = network->forward(x, control).to(at::kFloat);
    if (norm) h = norm(h);
    return scale == 1 ? h : h * scale;
  }

  void to_channels_last() {
    for (auto& parameter : network->parameters()) {
      if (parameter.dim() == 4) parameter.set_data(parameter.contiguous(at::MemoryFormat::ChannelsLast));
    }
  }
};

struct Trainer::Group {
  double decay;
  std::vector<Tensor> parameters, velocities;
};

Trainer::Trainer(TrainerPlan plan) : plan_(std::move(plan)), device_(usable_device(plan_.device)) {
  begin_job();
  {
    // libtorch's generator is everybody's.
    static std::mutex mutex;
    std::lock_guard lock(mutex);
    torch::manual_seed(plan_.seed);
    model_ = std::make_shared<Model>(plan_);
    if (plan_.ema > 0) average_ = std::make_shared<Model>(plan_);
  }
  for (const auto& model : {model_, average_}) {
    if (!model) continue;
    model->to(device_);
    if (plan_.channels_last) model->to_channels_last();
  }
  groups_ = {{plan_.weight_decay, {}, {}},
             {plan_.prototype_decay, {}, {}},
             {plan_.bias_decay, {}, {}},
             {plan_.norm_decay, {}, {}}};
  for (const auto& module : model_->modules()) {
    const bool is_norm = module->as<torch::nn::BatchNorm2d>() || module->as<torch::nn::BatchNorm1d>();
    for (const auto& item : module->named_parameters(false)) {
      const auto& name = item.key();
      Group& group = groups_[is_norm ? 3 : name == "prototypes" ? 1 : name == "bias" || name == "biases" ? 2 : 0];
      group.parameters.push_back(item.value());
      group.velocities.push_back(at::zeros_like(item.value()));
    }
  }
  if (!average_) return;
  torch::NoGradGuard no_gradient;
  at::_foreach_copy_(average_->parameters(), model_->parameters());
}

Trainer::~Trainer() = default;

// What libtorch keeps for each thread or for all, as this trainer wants it.
void Trainer::begin_job() const {
  at::set_num_threads(plan_.threads);
  // Training is in float: this thread, which is the run's own and goes backward too, and those that OpenMP keeps for it
  // flush subnormal numbers (core/flushed.h) as long as they live.
  at::globalContext().setFlushDenormal(true);
  at::parallel_for(0, at::get_num_threads(), 1, [](int64_t, int64_t) { at::globalContext().setFlushDenormal(true); });
  if (!device_.is_cuda()) return;
  at::globalContext().setAllowTF32CuBLAS(plan_.tf32);
  at::globalContext().setAllowTF32CuDNN(plan_.tf32);
}

Index Trainer::dim() const { return model_->network->dim; }

std::vector<int32_t> Trainer::order(Index samples, Index epoch) const { return shuffled(samples, plan_.seed, epoch); }

std::vector<int32_t> Trainer::partners(std::span<const int32_t> order, Index epoch) const {
  if (plan_.augmentation.mixup == 0) return {};
  std::vector<int32_t> partners;
  for (const int32_t i : order) {
    partners.push_back(draw(plan_.augmentation, epoch, i, std::ssize(order)).mixture.partner);
  }
  return partners;
}

void Trainer::descend(double rate) {
  torch::NoGradGuard no_gradient;
  for (Group& group : groups_) {
    std::vector<Tensor> parameters, gradients, velocities;
    for (size_t i = 0; i < group.parameters.size(); i++) {
      const auto& gradient = group.parameters[i].grad();
      if (!gradient.defined()) continue;  // biases that the loss has no use for
      parameters.push_back(group.parameters[i]);
      gradients.push_back(gradient);
      velocities.push_back(group.velocities[i]);
    }
    if (parameters.empty()) continue;
    // Velocities begin at 0, where the first step's v = g is the same.
    at::_fused_sgd_(parameters, gradients, plan_.momentum > 0 ? velocities : std::vector<Tensor>(), group.decay,
                    plan_.momentum, rate, 0, plan_.nesterov, false, false);
  }
  if (!average_) return;
  at::_foreach_lerp_(average_->parameters(), model_->parameters(), 1 - plan_.ema);
  const auto from = model_->buffers(), to = average_->buffers();
  for (size_t i = 0; i < to.size(); i++) {
    if (to[i].is_floating_point()) to[i].lerp_(from[i], 1 - plan_.ema);
  }
}

Trained Trainer::train(Samples samples, Index epoch, std::span<const double> rates, const Control& control) {
  begin_job();
  const Index count = samples.count(), steps = divide_up(divide_up(count, plan_.batch), plan_.accumulate);
  if (std::ssize(rates) != steps) throw Error("LP_SHAPE", "There must be a learning rate for each step.");
  Batches batches({std::move(samples), plan_.batch, epoch, plan_.augmentation, plan_.channels_last, device_.is_cuda()},
                  control);
  model_->train();
  Trained result;
  Index seen = 0;
  const auto parameters = model_->parameters();
  for (Index step = 0; step < steps; step++) {
    const Index of_step = std::min(plan_.batch * plan_.accumulate, count - seen);
    for (const auto& parameter : parameters) parameter.mutable_grad().reset();
    for (Index part = 0; part < plan_.accumulate && std::ssize(result.losses) < batches.count(); part++) {
      control.poll();
      const Batch batch = batches.next();
      const auto there = [&](const Tensor& tensor) { return tensor.defined() ? tensor.to(device_, true) : tensor; };
      const Targets targets{there(batch.labels), there(batch.partners), there(batch.share), {}};
      Tensor h;
      {
        const Autocast autocast(device_.type(), plan_.bfloat16);
        h = model_->features(there(batch.images), control);
      }
      const auto loss = network_loss(plan_.loss, h, model_->prototypes, model_->biases, targets, epoch);
      (loss * (static_cast<double>(batch.count) / static_cast<double>(of_step))).backward();
      const double value = loss.item<double>();
      if (!std::isfinite(value)) {
        result.diverged_at = std::ssize(result.losses);
        break;
      }
      torch::NoGradGuard no_gradient;
      const auto decided = logits(plan_.loss, entering(plan_.loss, h), model_->prototypes, model_->biases).argmax(1);
      result.correct.push_back(correct_share(decided, batch, targets.labels, targets.partners, targets.share));
      result.losses.push_back(value);
      seen += batch.count;
      control.progress(static_cast<double>(seen) / static_cast<double>(count));
    }
    if (result.diverged_at < 0) {
      std::vector<Tensor> gradients;
      for (const auto& parameter : parameters)
        if (parameter.grad().defined()) gradients.push_back(parameter.grad());
      const auto norm = at::stack(at::_foreach_norm(gradients)).norm().item<double>();
      if (!std::isfinite(norm)) result.diverged_at = std::ssize(result.losses) - 1;
    }
    if (result.diverged_at >= 0) break;
    descend(rates[step]);
  }
  for (const auto& parameter : parameters) parameter.mutable_grad().reset();
  result.waited = batches.waited();
  return result;
}

Evaluation Trainer::evaluate(Samples samples, Index epoch, float* features, float* logits_out, const Control& control) {
  begin_job();
  const Index count = samples.count();
  Augmentation plain;
  plain.mean = plan_.augmentation.mean;
  plain.std = plan_.augmentation.std;
  Batches batches({std::move(samples), kEvaluated, 0, plain, plan_.channels_last, device_.is_cuda()}, control);
  Model& model = average_ ? *average_ : *model_;
  model.eval();
  torch::NoGradGuard no_gradient;
  NetworkLoss objective = plan_.loss;
  objective.base.regularization = 0;
  // The sum of the weights is that of the whole split, of which these samples are a part: whoever has it divides by it.
  objective.by_weights = false;
  const Index p = dim(), classes = plan_.classes;
  Evaluation result;
  for (Index done = 0; done < count;) {
    control.poll();
    const Batch batch = batches.next();
    Tensor h;
    {
      const Autocast autocast(device_.type(), plan_.bfloat16);
      h = model.features(batch.images.to(device_, true), control);
    }
    const auto u = entering(plan_.loss, h);
    const auto z = logits(plan_.loss, u, model.prototypes, model.biases);
    at::from_blob(features + done * p, {batch.count, p}).copy_(u);
    if (logits_out) at::from_blob(logits_out + done * classes, {batch.count, classes}).copy_(z);
    const Targets targets{batch.labels.to(device_), {}, {}, {}};
    const auto loss = network_loss(objective, h, model.prototypes, model.biases, targets, epoch).item<double>();
    result.losses.push_back(loss * static_cast<double>(batch.count));
    result.norms.push_back(at::linalg_vector_norm(h, 2, {1}, false, at::kDouble).sum().item<double>());
    result.correct += (z.argmax(1) == targets.labels).sum().item<int64_t>();
    done += batch.count;
    control.progress(static_cast<double>(done) / static_cast<double>(count));
  }
  return result;
}

std::vector<Named> Trainer::state() {
  std::vector<Named> state;
  const auto add = [&](const std::string& kind, const Model& model) {
    for (const auto& item : model.named_parameters()) state.push_back({kind + item.key(), item.value()});
    // Of BatchNorm's buffers the number of batches is not used.
    for (const auto& item : model.named_buffers())
      if (item.value().is_floating_point()) state.push_back({kind + item.key(), item.value()});
  };
  add("model.", *model_);
  if (average_) add("average.", *average_);
  if (plan_.momentum > 0) {
    for (const auto& item : model_->named_parameters()) {
      for (const Group& group : groups_)
        for (size_t i = 0; i < group.parameters.size(); i++)
          if (group.parameters[i].is_same(item.value()))
            state.push_back({"velocity." + item.key(), group.velocities[i]});
    }
  }
  return state;
}

}  // namespace lp
