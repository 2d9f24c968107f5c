"""Makes fixtures/*.pth with PyTorch itself, and pth.json with what PyTorch reads in them. Every file is below 16 kB.

    python3 make-pth-fixtures.py [FOLDER]     # with torch 2.13: all but torch1*.pth
    python3 make-pth-fixtures.py [FOLDER]     # with torch 1.13.1 and numpy 1: torch1*.pth alone (pip install torch==1.13.1 'numpy<2')

pth.json maps each file to its tensors by name: dtype, shape and values, or what the tensor is where layerpeel does not read it.
In another folder they are made for a test.
"""

import collections
import json
import os
import sys
import zipfile

import torch

here = os.path.dirname(os.path.abspath(__file__))
folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "fixtures")
FIRST = torch.__version__.startswith("1.")
FLOATS = [0.0, -1.5, 2.0, 0.15625, -64.0, 1.0078125, 3.0, -0.5, 100.0, 6.5, -7.25, 12.0]
INTS = [0, 1, 2, 3, 100, 127]
torch.manual_seed(0)


def checkpoint(parts):
    """What a training script saves: a model and its optimizer after two steps."""
    model = torch.nn.Sequential(collections.OrderedDict(fc=torch.nn.Linear(4, 3), norm=torch.nn.BatchNorm1d(3)))
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(2):
        model(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
    return {
        "epoch": 3,
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [{"loss": 0.5, "confusion": torch.tensor([[1, 2], [3, 4]])}, {"loss": float("inf"), "steps": 2**40, "far": -(2**70)}],
        "args": {"lr": 0.1, "milestones": (160, 180), "classes": ["cat", "ß", ""], "resume": None, "amp": True, "seen": {1, 2}},
        "shape": torch.Size([3, 4]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "parameter": torch.nn.Parameter(torch.tensor(FLOATS).reshape(3, 4)),
        "rng": torch.get_rng_state()[:16].clone(),
        7: torch.tensor(7.0),
        None: {True: torch.tensor([True, False])},
        **parts,
    }


def kinds():
    made = {name: torch.tensor(FLOATS, dtype=getattr(torch, name)).reshape(3, 4) for name in ("float16", "bfloat16", "float32", "float64")}
    made |= {name: torch.tensor(INTS, dtype=getattr(torch, name)) for name in ("int8", "int16", "int32", "int64", "uint8")}
    made["bool"] = torch.tensor(INTS) % 2 == 1
    made["wide"] = torch.tensor([-(2**62), 5])
    made["complex"] = torch.tensor([1 + 2j, 3 - 1j])
    made["quantized"] = torch.quantize_per_tensor(torch.tensor(FLOATS), 0.5, 0, torch.qint8)
    made["channels"] = torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.qint8)
    made["sparse"] = torch.eye(3).to_sparse()
    made["meta"] = torch.ones(3, device="meta")
    made["negated"] = torch.tensor([1 + 2j, 3 - 1j]).conj().imag
    if not FIRST:
        made["csr"] = torch.eye(3).to_sparse_csr()
        made["float8"] = torch.ones(3).to(torch.float8_e4m3fn)
        made |= {name: torch.tensor(INTS, dtype=getattr(torch, name)) for name in ("uint16", "uint32", "uint64")}
    return made


def views():
    base = torch.arange(24.0)
    cube = base.reshape(2, 3, 4)
    tagged = torch.tensor(FLOATS)
    tagged.note = "a tensor with an attribute"
    return [
        base,
        base[5:11],
        cube,
        cube[1],
        cube[0].t(),
        cube.permute(2, 0, 1),
        cube[:, 1:, ::2],
        cube[:, :, 1],
        cube[:, 1:2, :].transpose(1, 2),
        torch.tensor([[1.5], [2.5]], dtype=torch.float16).expand(2, 5),
        torch.tensor(3, dtype=torch.int16).expand(2, 2),
        torch.tensor([[1, 2, 3], [4, 5, 6]])[:, [0, 2]].t(),
        (torch.arange(12) % 5 > 2).reshape(3, 4)[:, 1:3],
        torch.tensor(2.5, dtype=torch.float64),
        torch.zeros(0, 4),
        torch.zeros(3, 0, 2).transpose(0, 2),
        base[24:],
        base.reshape(24, 1).t(),
        (base[3], [base[4:6]], {}),
        tagged,
    ]


def named(value, name=""):
    """The tensors of an object by their names."""
    if isinstance(value, torch.Tensor):
        yield name or "tensor", value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from named(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        yield from named(dict(enumerate(value)), name)
    elif type(value).__module__ == "numpy" and hasattr(value, "shape") and value.shape:
        yield name, "ndarray"


def described(tensor):
    if isinstance(tensor, str):
        return tensor
    if tensor.is_meta:
        return "meta"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_neg():
        return "negated"
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_complex() or dtype.startswith("float8"):
        return dtype
    whole = tensor.detach().flatten()
    values = whole.double() if tensor.is_floating_point() else whole.to(torch.int64)
    return {"dtype": dtype, "shape": list(tensor.shape), "values": values.tolist()}


def replaced(source, target, change):
    """A copy of a zip with members changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED if "deflated" in target else zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename.split("/", 1)[1], old.read(entry)))


os.chdir(folder)
path = os.path.abspath("pth.json" if len(sys.argv) > 1 else "../pth.json")
expected = json.load(open(path)) if os.path.exists(path) else {}
written = []


def save(name, value, **how):
    torch.save(value, name, **how)
    written.append(name)


legacy = {"_use_new_zipfile_serialization": False}
if FIRST:
    import numpy

    parts = {"best": numpy.float64(0.75), "numpy": numpy.arange(3.0), "state": numpy.random.RandomState(0).get_state()[2:]}
    save("torch1.pth", checkpoint(parts))
    save("torch1-legacy.pth", checkpoint(parts), **legacy)
    save("torch1-types.pth", kinds())
else:
    save("checkpoint.pth", checkpoint({}))
    save("checkpoint-legacy.pth", checkpoint({}), **legacy)
    for protocol in (3, 4, 5):
        save(f"protocol{protocol}.pth", views()[:6], pickle_protocol=protocol)
        save(f"protocol{protocol}-legacy.pth", views()[:6], pickle_protocol=protocol, **legacy)
    save("types.pth", kinds())
    later = ("float8", "uint16", "uint32", "uint64")  # PyTorch writes these in its older form, but cannot read them
    save("types-legacy.pth", {name: tensor for name, tensor in kinds().items() if name not in later}, **legacy)
    save("views.pth", views())
    save("views-legacy.pth", views(), **legacy)
    save("single.pth", torch.tensor(FLOATS).reshape(3, 4))
    torch.serialization.set_crc32_options(False)
    save("unchecked.pth", {"h": torch.tensor(FLOATS).reshape(3, 4)})
    torch.serialization.set_crc32_options(True)
    numbers = {"h": torch.tensor(FLOATS).reshape(3, 4), "half": torch.tensor(FLOATS, dtype=torch.float16), "y": torch.tensor(INTS)}
    save("numbers.pth", numbers)
    widths = {"data/0": 4, "data/1": 2, "data/2": 8}

    def swapped(name, data):
        if name == "byteorder":
            return b"big"
        width = widths.get(name, 1)
        return b"".join(data[i : i + width][::-1] for i in range(0, len(data), width))

    def on_cuda(name, data):
        return data.replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0") if name == "data.pkl" else data

    replaced("numbers.pth", "big.pth", swapped)
    replaced("numbers.pth", "cuda.pth", on_cuda)
    replaced("numbers.pth", "deflated.pth", lambda name, data: data)
    written += ["big.pth", "cuda.pth", "deflated.pth"]
    os.remove("numbers.pth")
    written.remove("numbers.pth")

for name in written:
    read = torch.load(name, map_location="cpu", weights_only=not FIRST and "protocol" not in name)
    expected[name] = {key: described(tensor) for key, tensor in named(read)}
with open(path, "w") as file:
    json.dump(dict(sorted(expected.items())), file, ensure_ascii=False, separators=(",", ":"))
    file.write("\n")
