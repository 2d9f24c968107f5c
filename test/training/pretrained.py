"""Networks in PyTorch with the names of torchvision and of the usual implementations for CIFAR: what weights are read from.

usage: pretrained.py FOLDER     job.json: [{"name", "shape"}], and NAME.x of that shape in raw float32; writes NAME.pth, and NAME.features and
                                NAME.logits in raw float32
"""

import ctypes
import json
import os
import sys
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from networks import ResNet

torch.set_num_threads(1)
folder = sys.argv[1]


class Classified(nn.Module):
    """Features, and what a classifier of the given name makes of them."""

    def classify(self, name, dim, classes):
        setattr(self, name, nn.Linear(dim, classes))
        self.last = name

    def forward(self, x):
        h = self.h(x)
        return h, getattr(self, self.last)(h)


class Residual(ResNet, Classified):
    def __init__(self, name, dim, *given):
        ResNet.__init__(self, 3, *given)
        self.classify(name, dim, 5)

    def h(self, x):
        return ResNet.forward(self, x)

    forward = Classified.forward


class Vgg(Classified):
    """torchvision's vgg13_bn, pooled to one pixel, where one linear layer follows as for CIFAR."""

    def __init__(self):
        super().__init__()
        layers, i = [], 3
        for o in [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]:
            if o == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()]
                i = o
        self.features = nn.Sequential(*layers)
        self.classify("classifier", 512, 5)

    def h(self, x):
        return self.features(x).flatten(1)


class DenseLayer(nn.Module):
    def __init__(self, i, growth):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))], 1)


class DenseNet(Classified):
    """torchvision's, with the stem for small images, which has no norm."""

    def __init__(self, growth, layers):
        super().__init__()
        i = 2 * growth
        parts = OrderedDict(conv0=nn.Conv2d(3, i, 3, padding=1, bias=False))
        for b in (1, 2, 3):
            block = OrderedDict()
            for k in range(layers):
                block[f"denselayer{k + 1}"] = DenseLayer(i, growth)
                i += growth
            parts[f"denseblock{b}"] = nn.Sequential(block)
            if b < 3:
                parts[f"transition{b}"] = nn.Sequential(
                    OrderedDict(
                        norm=nn.BatchNorm2d(i), relu=nn.ReLU(), conv=nn.Conv2d(i, i // 2, 1, bias=False), pool=nn.AvgPool2d(2)
                    )
                )
                i //= 2
        parts["norm5"] = nn.BatchNorm2d(i)
        self.features = nn.Sequential(parts)
        self.classify("classifier", i, 5)

    def h(self, x):
        return F.relu(self.features(x)).mean((2, 3))


class Mlp(nn.Sequential):
    def __init__(self, i):
        super().__init__(nn.Flatten(), nn.Linear(i, 12), nn.ReLU(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 5))

    def forward(self, x):
        h = nn.Sequential(*list(self)[:-1])(x)
        return h, self[-1](h)


NETWORKS = {
    "mlp": lambda i: Mlp(i),
    "resnet18": lambda _: Residual("fc", 512, 64, [2, 2, 2, 2], False, False, True),
    "resnet50": lambda _: Residual("fc", 2048, 64, [3, 4, 6, 3], True, False, True),
    "small resnet18": lambda _: Residual("linear", 512, 64, [2, 2, 2, 2], False, False, False),
    "resnet20": lambda _: Residual("linear", 64, 16, [3, 3, 3], False, True, False),
    "vgg13": lambda _: Vgg(),
    "densenet": lambda _: DenseNet(6, 3),
}


def write(name, tensor):
    with open(os.path.join(folder, name), "wb") as file:
        flat = tensor.detach().float().contiguous()
        file.write(ctypes.string_at(flat.data_ptr(), 4 * flat.numel()))


for job in json.load(open(os.path.join(folder, "job.json"))):
    name, shape = job["name"], job["shape"]
    torch.manual_seed(1)
    network = NETWORKS[name](shape[1] * shape[2] * shape[3])
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if key.endswith("running_mean"):
                tensor.normal_(0, 0.1)
            elif key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    torch.save(network.state_dict(), os.path.join(folder, f"{name}.pth"))
    with open(os.path.join(folder, f"{name}.x"), "rb") as file:
        x = torch.frombuffer(bytearray(file.read()), dtype=torch.float32).view(shape)
    network.eval()
    with torch.no_grad():
        features, logits = network(x)
    write(f"{name}.features", features)
    write(f"{name}.logits", logits)
