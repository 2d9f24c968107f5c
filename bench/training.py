"""The peer of training: the same networks in PyTorch, eager, in a loop as its users write it.

usage: training.py JSON     {"model": "resnet20" | "resnet18", "steps": 20, "images": 6400, "batch": 128, "layout": "contiguous"
                            or "channels last"}

Prints {"step": images a second of the training step, "epoch": images a second of an epoch through a DataLoader that crops,
flips and normalizes, "peak": bytes of memory at most}. Thread counts are those of LAYERPEEL_THREADS (default 2).
"""

import json
import os
import pathlib
import statistics
import sys
import time

THREADS = int(os.environ.get("LAYERPEEL_THREADS", "2"))
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402  (the thread counts must be set first)
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "test" / "torch"))
from networks import network as make_network  # noqa: E402


class Images(torch.utils.data.Dataset):
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
    std = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)

    def __init__(self, count):
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        self.labels = rng.integers(0, 10, count)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = torch.from_numpy(self.images[index]).permute(2, 0, 1).float().div_(255)
        image = F.pad(image, (4, 4, 4, 4))
        top, left, flip = torch.randint(0, 9, ()), torch.randint(0, 9, ()), torch.rand(()) < 0.5
        image = image[:, top : top + 32, left : left + 32]
        if flip:
            image = image.flip(2)
        return (image - self.mean) / self.std, self.labels[index]


def main(model, steps, images, batch, layout):
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    layout = torch.channels_last if layout == "channels last" else torch.contiguous_format
    widths = {"resnet20": 64, "resnet18": 512}
    network = nn.Sequential(make_network(model), nn.Linear(widths[model], 10)).to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def step(x, y):
        x = x.to(memory_format=layout)
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()

    x, y = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    for _ in range(3):
        step(x, y)
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        step(x, y)
        seconds.append(time.perf_counter() - begin)

    loader = torch.utils.data.DataLoader(Images(images), batch, shuffle=True, num_workers=THREADS, drop_last=True)
    begin = time.perf_counter()
    for x, y in loader:
        step(x, y)
    epoch = len(loader) * batch / (time.perf_counter() - begin)
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return {"step": batch / statistics.median(seconds), "epoch": epoch, "peak": peak}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
