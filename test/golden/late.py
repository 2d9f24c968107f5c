"""Late times of the linear dynamics, in arithmetic of thousands of digits: writes late.json beside this file.

    python3 -m venv /tmp/late && /tmp/late/bin/pip install mpmath==1.3.0 && /tmp/late/bin/python test/golden/late.py

Nothing of the engine's mathematics is used: the class sums and prototypes of a start are moved by powers (a descent) or the
exponential (a flow) of the matrix of their whole linear system, with so many digits that what is e^-4000 of the rest
still has fifty of its own, and every measure is its definition. Starts come from a formula (`start`) that the test repeats.
"""
import json
from pathlib import Path

from mpmath import exp, eye, inverse, log, matrix, mp, mpf, sqrt, zeros


def start(counts, dim, spread):
    """Numbers that every arithmetic has exactly: multiples of 2^-7."""
    labels = [c for c, count in enumerate(counts) for _ in range(count)]
    n, classes = len(labels), len(counts)
    number = lambda k: mpf((k * 7919 + k * k * 31) % 1009 - 504) / 128
    features = matrix(n, dim)
    for i, label in enumerate(labels):
        for j in range(dim):
            features[i, j] = number(label * dim + j + 3) / 4 + number(1000 + i * dim + j) * mpf(spread)
    prototypes = matrix(classes, dim)
    for c in range(classes):
        for j in range(dim):
            prototypes[c, j] = number(500 + c * dim + j) / 4
    return features, prototypes, labels


def system(counts, gamma, eta1, eta2, lambda1, lambda2):
    """(S, W)' = A (S, W), S the sums of the classes: S_c' = η1 (n_c ((1+γ) w_c − γ Σ w)/n − λ1 S_c), W' = η2 (M H − λ2 W)."""
    classes, n = len(counts), sum(counts)
    a = zeros(2 * classes)
    for c in range(classes):
        for d in range(classes):
            pull = ((1 + gamma) * (c == d) - gamma) / n
            a[c, classes + d] = eta1 * counts[c] * pull
            a[classes + c, d] = eta2 * pull
        a[c, c] = -eta1 * lambda1
        a[classes + c, classes + c] = -eta2 * lambda2
    return a


def power(a, k):
    out = eye(a.rows)
    while k:
        if k & 1:
            out = out * a
        a = a * a if k > 1 else a
        k >>= 1
    return out


def exponential(a):
    """e^a by squaring."""
    halvings = 40 + max(0, int(log(mp.mnorm(a, 1) + 1, 2)))
    a = a / mpf(2) ** halvings
    term, total, k = eye(a.rows), eye(a.rows), 0
    while mp.mnorm(term, 1) > mpf(10) ** (-mp.dps - 10):
        k += 1
        term = term * a / k
        total += term
    for _ in range(halvings):
        total = total * total
    return total


def move(case, t):
    """The parts of the state at a time: sums and prototypes (2C, p), and what the rest was multiplied by."""
    gamma, (eta1, eta2), (lambda1, lambda2) = mpf(case["gamma"]), map(mpf, case["rates"]), map(mpf, case["decay"])
    a = system(case["counts"], gamma, eta1, eta2, lambda1, lambda2)
    size = a.rows
    if case["kind"] == "flow":
        return exponential(a * t), exp(-eta1 * lambda1 * t)
    mu = mpf(case["momentum"])

    def steps(b):
        # u ← μ u + b x, x ← x + u
        m = zeros(2 * b.rows)
        for i in range(b.rows):
            for j in range(b.rows):
                m[i, j] = b[i, j] + (i == j)
                m[b.rows + i, j] = b[i, j]
            m[i, b.rows + i] = m[b.rows + i, b.rows + i] = mu
        return power(m, t)[: b.rows, : b.rows]

    return steps(a), steps(matrix([[-eta1 * lambda1]]))[0, 0]


def dot(x, y):
    return sum(a * b for a, b in zip(x, y))


def minus(x, y):
    return [a - b for a, b in zip(x, y)]


def norm(x):
    return sqrt(dot(x, x))


def rows_of(x):
    return [[x[i, j] for j in range(x.cols)] for i in range(x.rows)]


def mean_of(rows):
    return [sum(column) / len(rows) for column in zip(*rows)]


def deviation(values):
    mean = sum(values) / len(values)
    return sqrt(sum((v - mean) ** 2 for v in values) / len(values)) / mean


def trace_of_pseudoinverse(within, means):
    """tr(Σ_W Σ_B⁺) for Σ_B = MᵀM/C of full rank min(C−1, p)."""
    classes, dim = len(means), len(means[0])
    if dim <= classes - 1:
        m = matrix(means)
        inverted = inverse(m.T * m) * classes
    else:
        # M = K N, N its rows but the last, which is minus their sum.
        rows = matrix(means[:-1])
        gram = inverse(rows * rows.T)
        k = matrix(classes, classes - 1)
        for i in range(classes - 1):
            k[i, i], k[classes - 1, i] = 1, -1
        inverted = rows.T * gram * inverse(k.T * k) * gram * rows * classes
    product = within * inverted
    return sum(product[i, i] for i in range(dim))


def measures(case, features, prototypes, labels, t):
    propagator, rest = move(case, t)
    counts, classes, n, dim = case["counts"], len(case["counts"]), len(labels), features.cols
    raw = rows_of(features)
    sums = [[mpf(0)] * dim for _ in counts]
    for row, label in zip(raw, labels):
        sums[label] = [a + b for a, b in zip(sums[label], row)]
    residuals = [minus(row, [s / counts[label] for s in sums[label]]) for row, label in zip(raw, labels)]
    moved = rows_of(propagator * matrix(sums + rows_of(prototypes)))
    mu = [[s / counts[c] for s in moved[c]] for c in range(classes)]
    w = moved[classes:]
    r = [[rest * x for x in row] for row in residuals]
    h = [[a + b for a, b in zip(mu[label], row)] for row, label in zip(r, labels)]

    centre, w_mean = mean_of(mu), mean_of(w)
    m, v = [minus(row, centre) for row in mu], [minus(row, w_mean) for row in w]
    cos = lambda x, y: dot(x, y) / (norm(x) * norm(y))
    pairs = [(c, d) for c in range(classes) for d in range(c + 1, classes)]
    simplex = mpf(1) / (classes - 1)
    within = matrix(dim, dim)
    for row in r:
        for i in range(dim):
            for j in range(dim):
                within[i, j] += row[i] * row[j] / n
    spread = [sum(dot(row, row) for row, label in zip(r, labels) if label == c) / counts[c] for c in range(classes)]

    def frame(a, b):
        x = [[dot(s, t) for t in b] for s in a]
        length = sqrt(sum(e * e for row in x for e in row))
        scale = 1 / sqrt(mpf(classes - 1))
        return sqrt(sum((x[i][j] / length - scale * ((i == j) - mpf(1) / classes)) ** 2 for i in range(classes) for j in range(classes)))

    logits = [[dot(a, row) for a in w] for row in h]
    decided = [z.index(max(z)) for z in logits]
    nearest = []
    for row in h:
        distances = [dot(minus(row, x), minus(row, x)) for x in mu]
        nearest.append(distances.index(min(distances)))
    margins = [z[y] - max(z[j] for j in range(classes) if j != y) for z, y in zip(logits, labels)]
    w_norm, m_norm = sqrt(sum(dot(x, x) for x in w)), sqrt(sum(dot(x, x) for x in m))
    papyan = trace_of_pseudoinverse(within, m)
    return {
        "nc1": papyan / classes,
        "nc1Papyan": papyan,
        "nc1TraceRatio": sum(within[i, i] for i in range(dim)) / (sum(dot(x, x) for x in m) / classes),
        "nc1Cdnv": sum((spread[c] + spread[d]) / (2 * norm(minus(mu[c], mu[d])) ** 2) for c, d in pairs) / len(pairs),
        "withinClassVariation": sum(map(norm, r)) / sum(norm(minus(row, centre)) for row in h),
        "featureNormVariation": deviation([norm(x) for x in m]),
        "featureCosine": sum(abs(cos(m[c], m[d]) + simplex) for c, d in pairs) / len(pairs),
        "prototypeNormVariation": deviation([norm(x) for x in w]),
        "centeredPrototypeNormVariation": deviation([norm(x) for x in v]),
        "centeredPrototypeCosine": sum(abs(cos(v[c], v[d]) + simplex) for c, d in pairs) / len(pairs),
        "nc2": frame(v, v),
        "nc2Zhu": frame(w, w),
        "nc3": frame(v, m),
        "nc3Zhu": frame(w, m),
        "dualityFrobenius": sum((a / w_norm - b / m_norm) ** 2 for x, y in zip(w, m) for a, b in zip(x, y)),
        "selfDuality": sum(norm([a / norm(x) - b / norm(y) for a, b in zip(x, y)]) for x, y in zip(m, v)) / classes,
        "alignment": sum(cos(x, y) for x, y in zip(m, w)) / classes,
        "nc4": mpf(sum(a != b for a, b in zip(decided, nearest))) / n,
        "nc4Zhu": sqrt(sum(dot(x, centre) ** 2 for x in w)),
        "accuracy": mpf(sum(a == y for a, y in zip(decided, labels))) / n,
        "minMargin": min(margins),
        "meanMargin": sum(margins) / n,
        "featureNorm": sqrt(sum(dot(x, x) for x in h)),
        "prototypeNorm": w_norm,
    }


cases = [
    dict(kind="descent", counts=[60, 60, 60, 6, 6, 6], dim=8, spread="0.0625", gamma="0.1", rates=["1", "0.125"], decay=["0.0001220703125", "0.0009765625"], momentum="0", times=[0, 100, 10000, 15000, 200000]),
    dict(kind="flow", counts=[5, 5, 5], dim=6, spread="0.25", gamma="0.5", rates=["1", "0.5"], decay=["0.0078125", "0.0078125"], momentum="0", times=[0, 30, 300, 2400]),
    dict(kind="flow", counts=[9, 5, 3, 2], dim=2, spread="0.125", gamma="0.25", rates=["0.5", "0.5"], decay=["0.015625", "0.0625"], momentum="0", times=[0, 50, 500, 4000]),
    dict(kind="flow", counts=[12, 7, 7, 3, 2], dim=7, spread="0.125", gamma="0.125", rates=["1", "2"], decay=["0.0625", "0.03125"], momentum="0", times=[50, 500, 4000]),
    # The common mean takes over: γ > 2/(C−2).
    dict(kind="flow", counts=[4, 4, 4, 4], dim=5, spread="0.5", gamma="1.5", rates=["1", "1"], decay=["0.03125", "0.03125"], momentum="0", times=[10, 100, 800]),
    dict(kind="descent", counts=[8, 8, 3], dim=4, spread="0.25", gamma="0.5", rates=["0.25", "0.5"], decay=["0.03125", "0.015625"], momentum="0.875", times=[10, 200, 2000]),
    # What differs within classes outlives all else.
    dict(kind="flow", counts=[6, 6, 4], dim=3, spread="0.25", gamma="0.5", rates=["1", "1"], decay=["0", "4"], momentum="0", times=[1, 40, 300]),
    # Fixed prototypes.
    dict(kind="flow", counts=[6, 3, 3], dim=4, spread="0.25", gamma="0.5", rates=["1", "0"], decay=["0.25", "0"], momentum="0", times=[10, 1000, 4000]),
]

out = []
for case in cases:
    features, prototypes, labels = start(case["counts"], case["dim"], case["spread"])
    rows = []
    for t in case["times"]:
        # The fastest a part can grow or shrink; squares of ratios are inverted.
        a = system(case["counts"], *(mpf(case["gamma"]),), *map(mpf, case["rates"]), *map(mpf, case["decay"]))
        fastest = sqrt(mp.mnorm(a, 1) * mp.mnorm(a, mp.inf)) / (1 - mpf(case["momentum"]))
        mp.dps = min(100 + int(4 * fastest * t / 2.3), 6000)
        values = measures(case, features, prototypes, labels, t)
        mp.dps = 40
        rows.append({
            "time": t,
            "values": {name: float(value) if abs(value) < mpf("1e308") else ("inf" if value > 0 else "-inf") for name, value in values.items()},
            "logs": {name: float(log(abs(value))) if value != 0 else None for name, value in values.items()},
        })
    out.append({**{k: v for k, v in case.items() if k != "times"}, "rows": rows})
Path(__file__).with_name("late.json").write_text(json.dumps(out, indent=1) + "\n")
