"""Makes fixtures/ with the reference writers: NumPy 2 and safetensors 0.8. Every file is below 2 kB.

The values follow from the indices, so that the tests can state them: element i of each array is VALUES[i].
Run in a Python with numpy, ml_dtypes and safetensors: python3 make-fixtures.py
"""

import os

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures"))

# Exact in every float type, bfloat16 included: 8 bits of fraction at most.
FLOATS = np.array([0.0, -1.5, 2.0, 0.15625, -64.0, 1.0078125, 3.0, -0.5, 100.0, 6.5, -7.25, 12.0]).reshape(3, 4)
INTS = np.array([0, 1, 2, 3, 100, 127])

for order in "<>":
    side = "little" if order == "<" else "big"
    for dtype in ("f2", "f4", "f8"):
        np.save(f"{side}-{dtype}.npy", FLOATS.astype(order + dtype))
    for dtype in ("i2", "i4", "i8", "u2", "u4", "u8"):
        np.save(f"{side}-{dtype}.npy", INTS.astype(order + dtype))
np.save("i1.npy", INTS.astype("i1"))
np.save("u1.npy", (INTS * 2).astype("u1"))
np.save("bool.npy", INTS % 2 == 1)
np.save("negative-i8.npy", -INTS)
np.save("extremes-i8.npy", np.array([-(2**31), 2**31 - 1]))
np.save("too-large-i8.npy", np.array([5, 2**31]))
np.save("too-small-i8.npy", np.array([5, -(2**31) - 1]))
np.save("too-large-u8.npy", np.array([2**64 - 1], dtype="u8"))
np.save("too-large-u4.npy", np.array([2**32 - 1], dtype="u4"))

np.save("fortran.npy", np.asfortranarray(FLOATS.astype("f4")))
np.save("fortran-cube.npy", np.asfortranarray(np.arange(8.0).reshape(2, 2, 2)))
np.save("scalar.npy", np.float64(2.5))
np.save("cube.npy", np.arange(24.0).reshape(2, 3, 4))
np.save("empty.npy", np.zeros((0, 4), dtype="f4"))
np.save("special-f2.npy", np.array([np.inf, -np.inf, np.nan, 65504, 2.0**-14, 2.0**-24, 1023 * 2.0**-24, -0.0, 1 / 3], dtype="f2"))
for version in (1, 2, 3):
    with open(f"version-{version}.npy", "wb") as file:
        np.lib.format.write_array(file, FLOATS, version=(version, 0))

np.save("object.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
np.save("structured.npy", np.zeros(2, dtype=[("x", "f4"), ("y", "i4")]))
np.save("complex.npy", np.zeros(2, dtype="c8"))
np.save("string.npy", np.array(["a", "bc"]))

members = {"features": FLOATS.astype("f4"), "labels": INTS.astype("i8"), "fortran": np.asfortranarray(FLOATS)}
np.savez("stored.npz", **members)
np.savez_compressed("deflated.npz", **members)
np.savez("single.npz", features=FLOATS)

# A name per dtype, and one of no elements.
tensors = {f"floats.{t}": FLOATS.astype(t) for t in ("float16", "float32", "float64")}
tensors["floats.bfloat16"] = FLOATS.astype(ml_dtypes.bfloat16)
tensors |= {f"ints.{t}": INTS.astype(t) for t in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")}
tensors["ints.bool"] = INTS % 2 == 1
tensors["empty"] = np.zeros((0, 3), dtype="f4")
tensors["scalar"] = np.array(2.5)
save_file(tensors, "all.safetensors", metadata={"format": "np", "said": 'a "quoted": \\ {colon}'})
save_file({"features": FLOATS.astype("f4")}, "single.safetensors")
save_file({"features": FLOATS.astype("f4"), "scale": np.zeros(1, dtype=ml_dtypes.float8_e4m3fn)}, "float8.safetensors")
