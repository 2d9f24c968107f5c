"""
crops.json: random resized crops, resized images and their centres, by torchvision itself (0.28.0, with Pillow). Its random numbers are
replaced by uniforms that are written down, and its float32 logarithms by float64; nothing else is.

python3 test/golden/crops.py > test/golden/crops.json
"""

import json
import random
import types
import sys

import torch

sys.modules["torchvision._meta_registrations"] = types.ModuleType("registrations")  # of operators that are not needed
from PIL import Image
from torchvision.transforms import CenterCrop, RandomResizedCrop, Resize, transforms
import torchvision.transforms.functional as functional


class Uniforms:
    """What of torch get_params asks, from a list of uniforms on [0, 1)."""

    def __init__(self, stream):
        self.stream, self.used = stream, []

    def next(self):
        self.used.append(next(self.stream))
        return self.used[-1]

    def tensor(self, values):
        return torch.tensor(values, dtype=torch.float64)

    log, exp = staticmethod(torch.log), staticmethod(torch.exp)

    def empty(self, _):
        outer = self

        class Empty:
            def uniform_(self, a, b):
                return torch.tensor(float(a) + (float(b) - float(a)) * outer.next(), dtype=torch.float64)

        return Empty()

    def randint(self, low, high, size):
        return torch.tensor(low + int((high - low) * self.next()))


draw = random.Random(1)
stream = iter(draw.random, None)
boxes = []
for height, width in [(224, 224), (375, 500), (500, 333), (32, 32), (3, 40), (40, 3), (9, 9), (7, 8)]:
    for scale, ratio in [((0.08, 1), (3 / 4, 4 / 3)), ((0.5, 0.5), (1, 1)), ((0.9, 1), (0.2, 0.3)), ((0.9, 1), (3, 4))]:
        transforms.torch = uniforms = Uniforms(stream)
        top, left, h, w = RandomResizedCrop.get_params(torch.zeros(1, height, width), scale, ratio)
        transforms.torch = torch
        boxes.append(
            {"size": [height, width], "scale": scale, "ratio": ratio, "uniforms": uniforms.used, "box": [top, left, h, w]}
        )

centres = []
for height, width in [(375, 500), (500, 375), (256, 256), (333, 500), (57, 31), (31, 57), (8, 8), (301, 1000)]:
    for resize, crop in [(256, (224, 224)), (37, (32, 32)), (7, (6, 5)), (9, (4, 9))]:
        # Of an image whose pixels count themselves the corner of the centre says where it was.
        resized = functional.resize(torch.zeros(1, height, width), resize).shape[1:]
        counted = torch.arange(resized[0] * resized[1]).view(1, *resized)
        corner = int(CenterCrop(crop)(counted)[0, 0, 0])
        box = [corner // resized[1], corner % resized[1]]
        centres.append({"size": [height, width], "resize": resize, "crop": crop, "resized": list(resized), "corner": box})


def image(height, width):
    """A smooth one."""
    pixels = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            pixels.putpixel((x, y), tuple(30 * c + 2 * y * y // 3 + 4 * x for c in range(3)))
    return pixels


def listed(pixels):
    return list(pixels.tobytes())


whole = image(13, 17)
pixels = {
    "size": [13, 17],
    "image": listed(whole),
    "cropped": [
        {"box": box, "to": to, "pixels": listed(functional.resized_crop(whole, *box, to))}
        for box, to in [([2, 3, 9, 11], [5, 6]), ([0, 0, 13, 17], [13, 17]), ([1, 2, 12, 13], [3, 9])]
    ],
    "centre": {"resize": 8, "crop": [7, 6], "pixels": listed(CenterCrop((7, 6))(Resize(8)(whole)))},
}
json.dump({"boxes": boxes, "centres": centres, "pixels": pixels}, sys.stdout)
