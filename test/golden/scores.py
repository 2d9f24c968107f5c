"""Scores of out-of-distribution detection by pytorch-ood 0.4.0, NECO by scikit-learn: writes scores.json beside this file.

    python3 -m venv /tmp/ood && /tmp/ood/bin/pip install pytorch-ood==0.4.0 scikit-learn && /tmp/ood/bin/python test/golden/scores.py

The detectors run in double precision (their float32 casts are undone), and their outlier scores are negated: large in distribution.
NECO is not in pytorch-ood: its released code standardizes features, takes the principal components of the training set and divides
lengths. Arrays are drawn by NumPy and written down to six digits, so that both sides read the same numbers.
"""
import json
from pathlib import Path

import numpy as np
import torch
from pytorch_ood.detector import KNN, NCI, RMD, EnergyBased, Mahalanobis, MaxLogit, ViM
from pytorch_ood.metrics import OODMetrics
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double


def draw(seed, counts, dim, spread, others):
    """Classes around means of length about 2, shifted as features after a ReLU are, and samples of other kinds."""
    random = np.random.default_rng(seed)
    means = random.normal(size=(len(counts), dim)) * 2 / np.sqrt(dim) + 0.5
    labels = np.repeat(np.arange(len(counts)), counts)
    around = lambda y: np.round(means[y] + spread * random.normal(size=(len(y), dim)), 6)
    test = random.integers(0, len(counts), size=9)
    return {
        "training": around(labels),
        "labels": labels,
        "features": around(test),
        "others": np.round(random.normal(size=(others, dim)) * 0.8, 6),
        "prototypes": np.round(means - means.mean(0) + 0.1 * random.normal(size=means.shape), 6),
        "biases": np.round(0.3 * random.normal(size=len(counts)), 6),
    }


def score(case, neighbors, vim_dim, neco_dim, alpha):
    tensor = {name: torch.tensor(value) for name, value in case.items()}
    w, b, training, labels = (tensor[name] for name in ("prototypes", "biases", "training", "labels"))
    head = torch.nn.Linear(w.shape[1], w.shape[0])
    head.weight.data, head.bias.data = w, b
    detectors = {
        "knn": KNN(None, k=neighbors),
        "mahalanobis": Mahalanobis(None),
        "relativeMahalanobis": RMD(None),
        "vim": ViM(None, d=vim_dim, w=w, b=b),
        "nci": NCI(None, head, alpha=alpha),
    }
    for detector in detectors.values():
        detector.fit_features(training, labels)
    scaler = StandardScaler().fit(case["training"])
    components = PCA().fit(scaler.transform(case["training"]))

    def of(h):
        logits = h @ w.T + b
        scores = {name: -detector.predict_features(h) for name, detector in detectors.items()}
        scores["maxLogit"] = -MaxLogit.score(logits)
        scores["energy"] = -EnergyBased.score(logits)
        vim = detectors["vim"]
        scores["residual"] = -((h - vim.u) @ vim.principal_subspace).norm(dim=1)
        standard = scaler.transform(h.numpy())
        reduced = components.transform(standard)[:, :neco_dim]
        scores["neco"] = torch.tensor(np.linalg.norm(reduced, axis=1) / np.linalg.norm(standard, axis=1))
        return scores

    inside, outside = of(tensor["features"]), of(tensor["others"])
    measured = {}
    for name in inside:
        metrics = OODMetrics()
        known, unknown = torch.zeros(len(inside[name])), -torch.ones(len(outside[name]))
        metrics.update(-torch.cat([inside[name], outside[name]]), torch.cat([known, unknown]))
        measured[name] = {key: float(value) for key, value in metrics.compute().items()}
    listed = lambda scores: {name: value.tolist() for name, value in scores.items()}
    return {
        **{name: value.tolist() for name, value in case.items()},
        "options": {"neighbors": neighbors, "vimDim": vim_dim, "necoDim": neco_dim, "nciAlpha": alpha},
        "inDistribution": listed(inside),
        "outOfDistribution": listed(outside),
        "metrics": measured,
    }


cases = [
    {"name": "three unequal classes", **score(draw(1, [20, 9, 5], 6, 0.3, 11), 5, 3, 2, 0.05)},
    {"name": "fewer samples than dimensions", **score(draw(2, [4, 3, 2], 14, 0.2, 7), 3, 4, 3, 0)},
    {"name": "more classes than dimensions", **score(draw(3, [6, 5, 4, 4, 3], 4, 0.4, 8), 1, 1, 2, 1)},
]
lines = ",\n".join(json.dumps(case) for case in cases)
Path(__file__).with_suffix(".json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
