// Batches of images, made ahead of the network on the core's threads. A batch that nobody has begun when the network
// asks for it is made by the thread that asks, so training goes on however busy the pool is.
#pragma once

#include <torch/torch.h>

#include <deque>
#include <memory>

#include "core/control.h"
#include "ops/augment/augment.h"

namespace lp {

struct Batch {
  Index count = 0;
  at::Tensor images;           // (count, channels, height, width)
  at::Tensor labels;           // (count), int64
  at::Tensor partners, share;  // of a mixup, else undefined
};

// Samples of a set, in the order in which they go through the network.
struct Samples {
  Images images;                        // of the whole set, or of these samples alone
  std::vector<int32_t> indices;         // in the set: (count)
  std::vector<int32_t> labels;          // (count)
  std::vector<int32_t> partner_labels;  // of a mixup (count), else empty

  Index count() const { return std::ssize(indices); }
};

struct BatchPlan {
  Samples samples;
  Index batch;
  Index epoch = 0;
  Augmentation augmentation;
  bool channels_last = false;
  bool pinned = false;
};

class Batches {
 public:
  Batches(BatchPlan plan, const Control& control);
  ~Batches();  // waits for what is being made
  Index count() const;
  // The next batch. Throws LP_ABORTED.
  Batch next();
  double waited() const { return waited_; }  // seconds, for batches that were not ready

 private:
  struct Slot;
  void prepare();

  const std::shared_ptr<const BatchPlan> plan_;
  const Control& control_;
  std::deque<std::shared_ptr<Slot>> ahead_;
  Index prepared_ = 0;
  double waited_ = 0;
};

// A permutation of the samples 0 … count − 1 that follows from seed and epoch alone.
std::vector<int32_t> shuffled(Index count, uint64_t seed, Index epoch);

}  // namespace lp
