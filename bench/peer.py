"""The peers: the same work in PyTorch, in NumPy, and by calling the BLAS directly.

usage: peer.py ITEM [JSON]     prints one JSON object {"seconds": median, ...}

Thread counts are those of LAYERPEEL_THREADS (default 2) everywhere.
"""

import ctypes
import json
import os
import pathlib
import statistics
import sys
import time

THREADS = int(os.environ.get("LAYERPEEL_THREADS", "2"))
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402  (the thread counts must be set first)


def median(work, runs=7):
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def start(classes, per_class, dim, dtype=np.float32):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), per_class)
    return rng.standard_normal((classes * per_class, dim)).astype(dtype), rng.standard_normal((classes, dim)).astype(dtype), labels


def autograd(steps, gamma, rate, classes, per_class, dim):
    """Descent as papers' scripts write it: autograd and torch.optim.SGD, with loss, norm and distance at every step."""
    import torch

    torch.set_num_threads(THREADS)
    features, prototypes, labels = start(classes, per_class, dim, np.float64)
    h = torch.tensor(features, requires_grad=True)
    w = torch.tensor(prototypes, requires_grad=True)
    y = torch.tensor(labels)
    rows = torch.arange(len(labels))
    optimizer = torch.optim.SGD([h, w], lr=rate)
    limit_h, limit_w = torch.randn_like(h), torch.randn_like(w)

    def run(count):
        record = []
        for step in range(count):
            optimizer.zero_grad()
            logits = h @ w.T
            own = logits[rows, y]
            loss = (-(1 + gamma) * own + gamma * logits.sum(1)).mean()
            loss.backward()
            with torch.no_grad():
                norm = (h.square().sum() + w.square().sum()).sqrt()
                distance = ((h / norm - limit_h).square().sum() + (w / norm - limit_w).square().sum()).sqrt()
                record.append((loss.item(), norm.item(), distance.item()))
                if step % 100 == 0:
                    record.append((logits.argmax(1) == y).double().mean().item())
            optimizer.step()

    run(10)
    begin = time.perf_counter()
    run(steps)
    return {"seconds": (time.perf_counter() - begin) / steps, "steps": steps}


def eager_step(classes, per_class, dim, rate, dtype, compiled=False):
    """One full-batch step of cross-entropy on features and prototypes as scripts write it: autograd and SGD."""
    import torch

    features, prototypes, labels = start(classes, per_class, dim, dtype)
    h = torch.tensor(features, requires_grad=True)
    w = torch.tensor(prototypes, requires_grad=True)
    y = torch.tensor(labels)
    optimizer = torch.optim.SGD([h, w], lr=rate)

    def loss(h, w):
        return torch.nn.functional.cross_entropy(h @ w.T, y)

    objective = torch.compile(loss) if compiled else loss

    def once():
        optimizer.zero_grad()
        objective(h, w).backward()
        optimizer.step()

    return once


def median_of_steps(work, steps, repeats=7):
    """Seconds of one of `steps` steps, the median of some repeats."""
    for _ in range(steps // 5 + 1):
        work()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        for _ in range(steps):
            work()
        seconds.append((time.perf_counter() - begin) / steps)
    return statistics.median(seconds)


def layer_peeled(classes, per_class, dim, rate, dtype):
    import torch

    torch.set_num_threads(THREADS)
    return {"seconds": median_of_steps(eager_step(classes, per_class, dim, rate, np.dtype(dtype)), 1000)}


def cross_entropy_step(classes, per_class, dim):
    """The same step of larger problems, eager and compiled."""
    import torch

    torch.set_num_threads(THREADS)
    steps, repeats = {True: (200, 7), False: (1, 3)}[classes * per_class < 5000]
    ways = {"eager": False, "compiled": True}
    return {
        name: median_of_steps(eager_step(classes, per_class, dim, 1, "float32", compiled), steps, repeats)
        for name, compiled in ways.items()
    }


def many_runs(runs, classes, per_class, dim, rate):
    """A step of each of many runs of cross-entropy, float32: one by one; by bmm with the gradients written by hand, in place
    and in chunks that may stay in cache; by vmap of the gradient."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    one = median_of_steps(eager_step(classes, per_class, dim, rate, np.float32), 500)
    n = classes * per_class
    h, w = torch.randn(runs, n, dim), torch.randn(runs, classes, dim)
    y = torch.arange(classes).repeat_interleave(per_class)
    # softmax(z) − onehot, times rate/n: a product's factor does the scaling.
    own = torch.nn.functional.one_hot(y, classes).float()

    def by_bmm(chunk):
        z, slope = torch.empty(chunk, n, classes), torch.empty(chunk, n, classes)
        pull = torch.empty(chunk, classes, dim)

        def once():
            for first in range(0, runs, chunk):
                hs, ws = h[first : first + chunk], w[first : first + chunk]
                torch.bmm(hs, ws.transpose(1, 2), out=z)
                torch.softmax(z, 2, out=slope)
                slope.sub_(own)
                torch.bmm(slope.transpose(1, 2), hs, out=pull)
                hs.baddbmm_(slope, ws, alpha=-rate / n)
                ws.add_(pull, alpha=-rate / n)

        return once

    def loss(h, w):
        return torch.nn.functional.cross_entropy(h @ w.T, y)

    slopes = torch.func.vmap(torch.func.grad(loss, (0, 1)))

    def by_vmap():
        gh, gw = slopes(h, w)
        h.sub_(gh, alpha=rate)
        w.sub_(gw, alpha=rate)

    with torch.no_grad():
        ways = {f"bmm, {chunk} runs at a time": median_of_steps(by_bmm(chunk), 10) for chunk in (10, 50, 200, runs)}
    ways["vmap"] = median_of_steps(by_vmap, 10)
    best = min(ways, key=ways.get)
    return {"one": one, "seconds": ways[best], "best": best, **ways}


def step(gamma, rate, classes, per_class, dim, ordered):
    """The best hand-structured step: M is never formed. PyTorch and NumPy, float32.

    Samples `ordered` by class, in classes of one size, can be viewed as [C, N, p], which needs neither gather nor scatter;
    labels in any order cannot.
    """
    import torch

    torch.set_num_threads(THREADS)
    features, prototypes, labels = start(classes, per_class, dim)
    if not ordered:
        np.random.default_rng(1).shuffle(labels)
    n = classes * per_class
    scale = rate / n

    def with_torch(view):
        h, w = torch.tensor(features), torch.tensor(prototypes)
        y = torch.tensor(labels)

        def once():
            # Classes of equal size, sorted: a view [C, N, p] needs neither gather nor scatter.
            sums = h.view(classes, per_class, dim).sum(1) if view else torch.zeros_like(w).index_add_(0, y, h)
            total_h, total_w = sums.sum(0), w.sum(0)
            pull = (1 + gamma) * w - gamma * total_w
            w.add_((1 + gamma) * sums - gamma * total_h, alpha=scale)
            if view:
                h.view(classes, per_class, dim).add_(pull[:, None], alpha=scale)
            else:
                h.add_(pull[y], alpha=scale)

        return once

    def with_numpy_by_label():
        h, w = features.copy(), prototypes.copy()
        one_hot = np.zeros((classes, n), np.float32)
        one_hot[labels, np.arange(n)] = 1

        def once():
            sums = one_hot @ h
            pull = (1 + gamma) * w - gamma * w.sum(0)
            w[...] += scale * ((1 + gamma) * sums - gamma * sums.sum(0))
            np.add(h, (scale * pull)[labels], out=h)

        return once

    def with_numpy():
        h, w = features.copy(), prototypes.copy()
        blocks = h.reshape(classes, per_class, dim)

        def once():
            sums = blocks.sum(1)
            pull = (1 + gamma) * w - gamma * w.sum(0)
            w[...] += scale * ((1 + gamma) * sums - gamma * sums.sum(0))
            np.add(blocks, scale * pull[:, None], out=blocks)

        return once

    runs = 200 if n <= 10_000 else 9
    if ordered:
        ways = {"torch, view": with_torch(True), "torch, index": with_torch(False), "numpy, view": with_numpy()}
    else:
        ways = {"torch, index": with_torch(False)} | ({"numpy, one-hot product": with_numpy_by_label()} if n <= 10_000 else {})
    with torch.no_grad():
        times = {name: median(way, runs) for name, way in ways.items()}
    best = min(times, key=times.get)
    return {"seconds": times[best], "best": best, **times}


def matmul(n, dtype):
    """The same library called directly, with as many threads of its own."""
    import scipy_openblas32

    library = ctypes.CDLL(str(next(pathlib.Path(scipy_openblas32.get_lib_dir()).glob("libscipy_openblas*"))))
    library.scipy_openblas_set_num_threads(THREADS)
    single = dtype == "float32"
    gemm = library.scipy_cblas_sgemm if single else library.scipy_cblas_dgemm
    real = ctypes.c_float if single else ctypes.c_double
    a, b, c = (np.ones((n, n), dtype) for _ in range(3))
    pointer = lambda x: x.ctypes.data_as(ctypes.c_void_p)  # noqa: E731

    def once():
        gemm(101, 111, 111, n, n, n, real(1), pointer(a), n, pointer(b), n, real(0), pointer(c), n)

    return {"seconds": median(once, 200 if n <= 512 else 9)}


if __name__ == "__main__":
    arguments = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    items = {
        "autograd": autograd,
        "step": step,
        "matmul": matmul,
        "layer_peeled": layer_peeled,
        "many_runs": many_runs,
        "cross_entropy_step": cross_entropy_step,
    }
    print(json.dumps(items[sys.argv[1]](**arguments)))
