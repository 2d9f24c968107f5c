"""One training step of a network in PyTorch, from a state in files: what native/torch is held to.

usage: peer.py FOLDER     job.json: {"model", "depth", "growth", "width", "shape", "classes", "rate", "momentum", "decay", "tensors": {name: shape}}
                          before/NAME, x, y: raw float32 and int32; writes loss, features (of the evaluated state before), and the state
                          after as float64 has it: after/NAME
"""

import copy
import ctypes
import json
import os
import sys

import torch
from torch import nn
from torch.nn import functional as F

from networks import network as make_network

torch.set_num_threads(1)
folder = sys.argv[1]
job = json.load(open(os.path.join(folder, "job.json")))
network = make_network(job["model"], job["shape"][1], job["depth"], job["growth"], job["width"])


def read(name, dtype=torch.float32):
    with open(os.path.join(folder, name), "rb") as file:
        return torch.frombuffer(bytearray(file.read()), dtype=dtype)


def write(name, tensor):
    with open(os.path.join(folder, name), "wb") as file:
        flat = tensor.detach().float().contiguous()
        file.write(ctypes.string_at(flat.data_ptr(), 4 * flat.numel()))


state = {name: read(f"before/{name}").view(shape) for name, shape in job["tensors"].items()}
own = {name[14:]: tensor for name, tensor in state.items() if name.startswith("model.network.")}
missing = network.load_state_dict(own, strict=False)
assert not missing.unexpected_keys and all(key.endswith("num_batches_tracked") for key in missing.missing_keys), missing
linear = nn.Linear(state["model.prototypes"].shape[1], job["classes"])
linear.load_state_dict({"weight": state["model.prototypes"], "bias": state["model.biases"]})
x, y = read("x").view(job["shape"]), read("y", torch.int32).long()

network.eval()
with torch.no_grad():
    write("features", network(x))
network.train()
with torch.no_grad():
    write("loss", F.cross_entropy(linear(copy.deepcopy(network)(x)), y))

network, linear = network.double(), linear.double()
named = {f"network.{name}": p for name, p in network.named_parameters()}
named |= {"prototypes": linear.weight, "biases": linear.bias}
optimizer = torch.optim.SGD(named.values(), lr=job["rate"], momentum=job["momentum"], weight_decay=job["decay"])
for name, parameter in named.items():
    optimizer.state[parameter]["momentum_buffer"] = state[f"velocity.{name}"].double()
F.cross_entropy(linear(network(x.double())), y).backward()
optimizer.step()
after = {f"model.{name}": p for name, p in named.items()}
after |= {f"model.network.{name}": b for name, b in network.named_buffers() if b.is_floating_point()}
for name, tensor in after.items():
    write(f"after/{name}", tensor)
