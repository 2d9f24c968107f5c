#include "torch/trainer/batches.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <numeric>

#include "core/random.h"
#include "core/thread_pool.h"

namespace lp {
namespace {

constexpr Index kAhead = 3;

// (count, channels, pixels) to (count, pixels, channels).
void channels_to_last(const float* from, Index count, Index channels, Index pixels, float* to) {
  for (Index i = 0; i < count; i++, from += channels * pixels, to += channels * pixels)
    for (Index ch = 0; ch < channels; ch++)
      for (Index k = 0; k < pixels; k++) to[k * channels + ch] = from[ch * pixels + k];
}

}  // namespace

struct Batches::Slot {
  Batch batch;
  std::shared_ptr<const BatchPlan> plan;
  const Control* control;
  Index first;

  std::mutex mutex;
  std::condition_variable changed;
  bool taken = false, done = false;
  std::exception_ptr error;

  bool take() {
    std::lock_guard lock(mutex);
    return !std::exchange(taken, true);
  }

  void make() {
    try {
      fill();
    } catch (...) {
      error = std::current_exception();
    }
    std::lock_guard lock(mutex);
    done = true;
    changed.notify_all();
  }

  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return done; });
  }

  void fill() {
    const Alone alone;
    Images images = plan->samples.images;
    if (images.samples > 0) images.data += first * images.size(), images.count -= first;
    const Index pixels = images.height * images.width;
    const int32_t* chosen = plan->samples.indices.data() + first;
    auto options = torch::TensorOptions().pinned_memory(plan->pinned);
    const auto whole = at::empty({batch.count, images.channels, images.height, images.width}, options);
    augment(images, chosen, batch.count, plan->epoch, plan->augmentation, whole.data_ptr<float>(), *control);
    batch.images = whole;
    if (plan->channels_last && images.channels > 1) {
      batch.images = at::empty_like(whole, options, at::MemoryFormat::ChannelsLast);
      channels_to_last(whole.data_ptr<float>(), batch.count, images.channels, pixels, batch.images.data_ptr<float>());
    }
    batch.labels = at::empty({batch.count}, options.dtype(at::kLong));
    std::copy_n(plan->samples.labels.data() + first, batch.count, batch.labels.data_ptr<int64_t>());
    if (plan->augmentation.mixup == 0) return;
    std::vector<Mixture> mixed(batch.count);
    mixtures(images, chosen, batch.count, plan->epoch, plan->augmentation, mixed.data());
    batch.partners = at::empty({batch.count}, options.dtype(at::kLong));
    batch.share = at::empty({batch.count}, options);
    std::copy_n(plan->samples.partner_labels.data() + first, batch.count, batch.partners.data_ptr<int64_t>());
    for (Index i = 0; i < batch.count; i++) batch.share.data_ptr<float>()[i] = static_cast<float>(mixed[i].share);
  }
};

Batches::Batches(BatchPlan plan, const Control& control)
    : plan_(std::make_shared<const BatchPlan>(std::move(plan))), control_(control) {
  while (prepared_ < std::min(count(), kAhead)) prepare();
}

Batches::~Batches() {
  for (auto& slot : ahead_)
    if (!slot->take()) slot->wait();
}

Index Batches::count() const { return divide_up(plan_->samples.count(), plan_->batch); }

void Batches::prepare() {
  auto slot = std::make_shared<Slot>();
  slot->plan = plan_;
  slot->control = &control_;
  slot->first = prepared_++ * plan_->batch;
  slot->batch.count = std::min(plan_->batch, plan_->samples.count() - slot->first);
  ahead_.push_back(slot);
  try {
    submit([slot] {
      if (slot->take()) slot->make();
    });
  } catch (const Error&) {  // no thread can be had: next() prepares it
  }
}

Batch Batches::next() {
  const auto begin = std::chrono::steady_clock::now();
  const auto slot = ahead_.front();
  if (slot->take()) slot->make();
  slot->wait();
  ahead_.pop_front();
  if (prepared_ < count()) prepare();
  waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (slot->error) std::rethrow_exception(slot->error);
  return slot->batch;
}

std::vector<int32_t> shuffled(Index count, uint64_t seed, Index epoch) {
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  SplitMix64 random({seed, static_cast<uint64_t>(epoch)});
  shuffle(order.data(), count, random);
  return order;
}

}  // namespace lp
