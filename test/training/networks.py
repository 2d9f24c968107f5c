"""The networks in PyTorch, up to their features, written as torchvision's, with activations in place: what native/torch is
held to, in values by test/torch/peer.py and in speed by bench/training.py."""

import torch
from torch import nn
from torch.nn import functional as F


def relu(x):
    return F.relu(x, inplace=True)


def conv(i, o, k, stride=1, bias=False):
    return nn.Conv2d(i, o, k, stride, k // 2, bias=bias)


class Residual(nn.Module):
    def __init__(self, i, o, stride, bottleneck, option_a):
        super().__init__()
        inner = o // 4 if bottleneck else o
        self.conv1 = conv(i, inner, 1) if bottleneck else conv(i, inner, 3, stride)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv(inner, inner, 3, stride if bottleneck else 1)
        self.bn2 = nn.BatchNorm2d(inner)
        if bottleneck:
            self.conv3, self.bn3 = conv(inner, o, 1), nn.BatchNorm2d(o)
        self.bottleneck, self.stride, self.added = bottleneck, stride, o - i
        self.option_a = option_a
        if not option_a and (stride > 1 or i != o):
            self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(relu(y)))
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        elif self.added:
            half = self.added // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        y += x
        return relu(y)


class ResNet(nn.Module):
    def __init__(self, channels, stem, blocks, bottleneck, option_a, imagenet):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, stem, 7, 2, 3, bias=False) if imagenet else conv(channels, stem, 3)
        self.bn1 = nn.BatchNorm2d(stem)
        self.imagenet, self.stages = imagenet, len(blocks)
        i, o = stem, 4 * stem if bottleneck else stem
        for s, count in enumerate(blocks):
            layers = []
            for b in range(count):
                layers.append(Residual(i, o, 2 if s > 0 and b == 0 else 1, bottleneck, option_a))
                i = o
            setattr(self, f"layer{s + 1}", nn.Sequential(*layers))
            o *= 2

    def forward(self, x):
        x = relu(self.bn1(self.conv1(x)))
        if self.imagenet:
            x = F.max_pool2d(x, 3, 2, 1)
        for s in range(self.stages):
            x = getattr(self, f"layer{s + 1}")(x)
        return x.mean((2, 3))


class Vgg(nn.Module):
    def __init__(self, channels):
        super().__init__()
        i = channels
        for n, o in enumerate([64, 64, 128, 128, 256, 256, 512, 512, 512, 512], 1):
            setattr(self, f"conv{n}", conv(i, o, 3, bias=True))
            setattr(self, f"bn{n}", nn.BatchNorm2d(o))
            i = o

    def forward(self, x):
        for n in range(1, 11):
            x = relu(getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(x)))
            if n % 2 == 0:
                x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        return x.mean((2, 3))


class Dense(nn.Module):
    def __init__(self, i, growth):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), conv(i, 4 * growth, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(4 * growth), conv(4 * growth, growth, 3)

    def forward(self, x):
        return torch.cat([x, self.conv2(relu(self.bn2(self.conv1(relu(self.bn1(x))))))], 1)


class Transition(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), conv(i, o, 1)

    def forward(self, x):
        return F.avg_pool2d(self.conv1(relu(self.bn1(x))), 2)


class DenseNet(nn.Module):
    def __init__(self, channels, depth, growth):
        super().__init__()
        i = 2 * growth
        self.conv1 = conv(channels, i, 3)
        for b in (1, 2, 3):
            layers = []
            for _ in range((depth - 4) // 6):
                layers.append(Dense(i, growth))
                i += growth
            setattr(self, f"block{b}", nn.Sequential(*layers))
            if b < 3:
                setattr(self, f"trans{b}", Transition(i, i // 2))
                i //= 2
        self.bn1 = nn.BatchNorm2d(i)

    def forward(self, x):
        x = self.trans2(self.block2(self.trans1(self.block1(self.conv1(x)))))
        return relu(self.bn1(self.block3(x))).mean((2, 3))


def network(model, channels=3, depth=0, growth=0, width=16):
    return {
        "resnet18": lambda: ResNet(channels, 64, [2, 2, 2, 2], False, False, False),
        "resnet50": lambda: ResNet(channels, 64, [3, 4, 6, 3], True, False, True),
        "resnet20": lambda: ResNet(channels, width, [3, 3, 3], False, True, False),
        "vgg13": lambda: Vgg(channels),
        "densenet": lambda: DenseNet(channels, depth, growth),
    }[model]()
