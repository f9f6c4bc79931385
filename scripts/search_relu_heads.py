"""Search heads of ReLU layers for values below deep neural collapse, and store what is found as explicit witnesses.

The objective, K classes of one sample each (any n follows, see ncrun/theory/witnesses.py), all decays equal to lam:
    || W_L relu(W_{L-1} .. relu(W_1 H)) - I ||^2 / (2K) + lam/2 * (||H||^2 + sum_l ||W_l||^2),    Lam = lam^(L+1).
Decays are given as Lam / Lam_glob, Lam_glob being where deep neural collapse is as good as the zero solution.
Every task picks K, L, Lam and a start at random: noise, low-rank codes, incidence codes of graphs, deep neural
collapse, or the best of this, another Lam, depth or number of classes. A rerun starts from the stored witnesses and can
only improve on them; the seed fixes the order of the tasks and the time decides how many are done.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ncrun.theory.squared_loss import kept_fraction

Array = NDArray[np.float64]
Factors = list[Array]  # H (d, K), W_1 (d_1, d), .., W_L (K, d_{L-1})
Head = tuple[int, int]  # K, L

OUTPUT = Path(__file__).resolve().parents[1] / "ncrun" / "theory" / "relu_head_witnesses.json"
CLASSES = (3, 4, 5, 6, 7, 10)
DEPTHS = (2, 3, 4, 5, 6)
RATIOS = (1e-7, 1e-4, 0.01, 0.2, 0.9)
SMALLER = 0.15  # share of the tasks that only try to make a configuration smaller
LEAST_GAIN = 1.5e-3  # of the value: a witness must be that much better than what is known without it
SIZE_PENALTY = 3e-7  # of the value for every stored number: among equals the smaller configuration is kept
DEAD = 1e-6  # share of a layer's strongest neuron, in weight in times weight out, below which a neuron is dropped
PARALLEL = 1 - 1e-5  # cosine above which two neurons are one
DIGITS = 4  # decimals of entries that are about 1


def decay_product(head: Head, ratio: float) -> float:
    """Lam from Lam / Lam_glob, Lam_glob = (L-1)^(L-1) / (K^(L+1) L^(2L))."""
    classes, depth = head
    return float(ratio * (depth - 1) ** (depth - 1) / (classes ** (depth + 1) * depth ** (2.0 * depth)))


def activations(factors: Factors) -> Iterator[Array]:
    """H, the hidden layers after their ReLU, and the outputs (K, K)."""
    signal = factors[0]
    yield signal
    for weight in factors[1:-1]:
        signal = np.maximum(weight @ signal, 0)
        yield signal
    yield factors[-1] @ signal


def outputs_of(factors: Factors) -> Array:
    """O, (K, K)."""
    *_, outputs = activations(factors)
    return outputs


def summary(factors: Factors) -> tuple[float, float, float]:
    """P, tr(O) and ||O||^2, see ncrun/theory/witnesses.py."""
    outputs = outputs_of(factors)
    return float(np.prod([np.sum(factor**2) for factor in factors])), np.trace(outputs), np.sum(outputs**2)


def best_scale(head: Head, ratio: float, cost: float, trace: float, norm_sq: float) -> tuple[float, float]:
    """The minimising a and the minimum of ||a O - I||^2 / (2K) + (L+1)/2 (Lam P)^(1/(L+1)) a^(2/(L+1))."""
    classes, depth = head
    if trace <= 0:
        return 0.0, 0.5
    largest = trace / norm_sq
    decay = (decay_product(head, ratio) * cost) ** (1 / (depth + 1))
    kappa = classes / norm_sq * decay * largest ** (-2 * depth / (depth + 1))
    scale = largest * float(kept_fraction(np.array(kappa), depth))
    misfit = (scale**2 * norm_sq - 2 * scale * trace + classes) / (2 * classes)
    return scale, float(misfit + (depth + 1) / 2 * decay * scale ** (2 / (depth + 1)))


def value_of(head: Head, ratio: float, factors: Factors) -> float:
    """The value of a configuration after the best rescaling."""
    return best_scale(head, ratio, *summary(factors))[1]


def score(head: Head, ratio: float, factors: Factors) -> float:
    """What the search lowers: the value, with a slight preference for few numbers."""
    return value_of(head, ratio, factors) * (1 + SIZE_PENALTY * sum(factor.size for factor in factors))


def collapse_value(head: Head, ratio: float) -> float:
    """Deep neural collapse: O = I, P = K^(L+1)."""
    classes, depth = head
    return best_scale(head, ratio, float(classes) ** (depth + 1), classes, classes)[1]


def known_value(head: Head, ratio: float) -> float:
    """The lower of deep neural collapse and, for K = r (r-1)/2, the strongly regular graph."""
    classes, depth = head
    value = collapse_value(head, ratio)
    for nodes in range(4, classes):
        if nodes * (nodes - 1) == 2 * classes:
            readout = np.sqrt(2 * (nodes - 1)) + (nodes - 1) * np.sqrt(nodes - 2)
            cost = readout**2 * nodes ** (depth - 2) * classes**2 / 4
            value = min(value, best_scale(head, ratio, float(cost), classes, classes)[1])
    return value


def balanced(head: Head, ratio: float, factors: Factors) -> Factors:
    """The same configuration at its best scale, all factors of one norm."""
    cost, trace, norm_sq = summary(factors)
    scale = best_scale(head, ratio, cost, trace, norm_sq)[0] or 1 / np.sqrt(norm_sq)
    norm = (np.sqrt(cost) * scale) ** (1 / len(factors))
    return [factor * (norm / np.linalg.norm(factor)) for factor in factors]


def minimise(head: Head, ratio: float, start: Factors, iterations: int) -> Factors:
    """L-BFGS on the objective from a start."""
    classes, depth = head
    decay = decay_product(head, ratio) ** (1 / (depth + 1))
    shapes = [factor.shape for factor in start]
    ends = np.cumsum([factor.size for factor in start])
    target = np.eye(classes)

    def unpack(flat: Array) -> Factors:
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]

    def objective(flat: Array) -> tuple[float, Array]:
        factors = unpack(flat)
        signals = list(activations(factors))
        residual = signals[-1] - target
        gradient, back = decay * flat, residual / classes
        views = unpack(gradient)
        for layer in range(depth, 0, -1):
            views[layer] += back @ signals[layer - 1].T
            back = factors[layer].T @ back
            if layer > 1:
                back *= signals[layer - 1] > 0
        views[0] += back
        return float(np.sum(residual**2) / (2 * classes) + decay / 2 * (flat @ flat)), gradient

    options = {"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-9}
    flat = np.concatenate([factor.ravel() for factor in start])
    found: Array = minimize(objective, flat, jac=True, method="L-BFGS-B", options=options).x
    return unpack(found)


# Starts. All are exact configurations of any widths; `widened` then adds spare neurons and noise.


def widened(rng: np.random.Generator, factors: Factors, width: int, noise: float) -> Factors:
    """At least `width` neurons in every layer, and noise of a share of each factor's root mean square."""
    sizes = [factors[0].shape[1], *(max(width, len(factor)) for factor in factors[:-1]), len(factors[-1])]
    result = []
    for factor, columns, rows in zip(factors, sizes[:-1], sizes[1:], strict=True):
        wide = rng.standard_normal((rows, columns)) * (noise * np.sqrt(np.mean(factor**2)))
        wide[: factor.shape[0], : factor.shape[1]] += factor
        result.append(wide)
    return result


def collapsed(head: Head) -> Factors:
    """Deep neural collapse."""
    classes, depth = head
    return [np.eye(classes)] * (depth + 1)


def random_start(rng: np.random.Generator, head: Head) -> Factors:
    """Independent normal entries, at a random scale."""
    classes, depth = head
    width = int(rng.integers(classes, 3 * classes + 1))
    sizes = [classes, *[width] * depth, classes]
    scale = rng.choice([0.5, 1.0, 2.0])
    return [
        scale * rng.standard_normal((rows, columns)) / np.sqrt(columns) for columns, rows in itertools.pairwise(sizes)
    ]


def random_code(rng: np.random.Generator, classes: int) -> Array:
    """A code of few nonnegative numbers for each class, (r, K), columns of sum 1: edges of a graph, a circle, noise."""
    kind = rng.choice(["edges", "circle", "noise"])
    code: Array
    if kind == "edges":
        fewest = next(r for r in itertools.count(3) if r * (r - 1) // 2 >= classes)
        nodes = int(rng.integers(fewest, classes + 2))
        edges = list(itertools.combinations(range(nodes), 2))
        code = np.zeros((nodes, classes))
        for k, edge in enumerate(rng.permutation(len(edges))[:classes]):
            code[list(edges[edge]), k] = 1
    elif kind == "circle":
        angles = 2 * np.pi * (np.arange(classes) / classes + np.array([[0], [1], [2]]) / 3)
        code = 1 + rng.uniform(0.5, 1) * np.cos(angles)
    else:
        code = rng.random((int(rng.integers(2, classes + 1)), classes)) ** rng.choice([1, 3])
    return np.asarray(code / np.maximum(code.sum(axis=0), 1e-6))


def code_start(rng: np.random.Generator, head: Head) -> Factors:
    """A code in the hidden layers 1..m, a threshold that reads it, then deep neural collapse."""
    classes, depth = head
    code = random_code(rng, classes)
    last = int(rng.integers(1, depth))
    left, values, right = np.linalg.svd(code, full_matrices=False)  # code = W_1 H
    middle = [np.eye(len(code))] * (last - 1)
    gram = code.T @ code
    readout: Array = code.T - np.max(gram - 9 * np.eye(classes), axis=1, keepdims=True)
    if last == depth - 1:
        readout = np.linalg.pinv(code).astype(np.float64)
    after = [np.eye(classes)] * (depth - last - 1)
    root = np.sqrt(values)
    return [root[:, None] * right, left.astype(np.float64) * root, *middle, readout, *after]


def direct_sum(one: Factors, other: Factors) -> Factors:
    """Both side by side, their classes disjoint."""
    result = []
    for a, b in zip(one, other, strict=True):
        block = np.zeros((a.shape[0] + b.shape[0], a.shape[1] + b.shape[1]))
        block[: a.shape[0], : a.shape[1]], block[a.shape[0] :, a.shape[1] :] = a, b
        result.append(block)
    return result


class Search:
    """The best configuration known for every K, L and Lam / Lam_glob, at first deep neural collapse."""

    def __init__(self, rng: np.random.Generator, heads: list[Head]) -> None:
        self.rng, self.heads = rng, heads
        self.best = {head: dict.fromkeys(RATIOS, collapsed(head)) for head in heads}
        self.kinds: dict[tuple[Head, float], str] = {}

    def offer(self, head: Head, factors: Factors, kind: str) -> None:
        """Keep a configuration wherever it is the best."""
        for ratio, known in self.best.setdefault(head, dict.fromkeys(RATIOS, collapsed(head))).items():
            if score(head, ratio, factors) < score(head, ratio, known):
                self.best[head][ratio] = factors
                self.kinds[head, ratio] = kind

    def task(self) -> None:
        """One start: a short search, and a long one if that came near the best."""
        head = self.heads[self.rng.integers(len(self.heads))]
        ratio = float(self.rng.choice(RATIOS))
        kind, start = self.smaller(head, ratio) if self.rng.random() < SMALLER else self.start(head)
        found = minimise(head, ratio, start, 300)
        value = value_of(head, ratio, found)
        if value < 0.5 and value < 1.05 * value_of(head, ratio, self.best[head][ratio]):
            found = compressed(minimise(head, ratio, found, 4000))
            if np.linalg.cond(outputs := outputs_of(found)) < 10:  # the limit of small Lam wants O = I
                self.offer(head, [*found[:-1], np.linalg.solve(outputs, found[-1]).astype(np.float64)], kind)
        self.offer(head, found, kind)

    def start(self, head: Head) -> tuple[str, Factors]:
        """A random kind of start for a head, and the start."""
        rng = self.rng
        kind = str(rng.choice(["noise", "code", "collapse", "perturbed", "deeper", "shallower", "classes"]))
        if kind == "noise":
            return kind, random_start(rng, head)
        makers = {
            "code": lambda: code_start(rng, head),
            "collapse": lambda: collapsed(head),
            "perturbed": lambda: self.some(head),
            "deeper": lambda: self.deeper(head),
            "shallower": lambda: self.shallower(head),
            "classes": lambda: self.other_classes(head),
        }
        exact = balanced(head, float(rng.choice(RATIOS)), makers[kind]())
        noise = float(rng.choice([0.01, 0.05, 0.2, 0.5]))
        return kind, widened(rng, exact, int(rng.integers(head[0], 2 * head[0] + 1)), noise)

    def smaller(self, head: Head, ratio: float) -> tuple[str, Factors]:
        """The best with weak neurons dropped and similar ones merged."""
        dead, parallel = 10 ** self.rng.uniform(-4, -0.5), 1 - 10 ** self.rng.uniform(-4, -0.5)
        return "smaller", balanced(head, ratio, compressed(self.best[head][ratio], dead, parallel))

    def some(self, head: Head) -> Factors:
        """The best at a random Lam; deep neural collapse where the head is not searched."""
        known = self.best.get(head)
        return known[float(self.rng.choice(RATIOS))] if known else collapsed(head)

    def deeper(self, head: Head) -> Factors:
        """From the best of depth L-1: a hidden layer twice, which leaves the outputs as they are."""
        if head[1] < 3:
            return collapsed(head)
        factors = self.some((head[0], head[1] - 1))
        at = int(self.rng.integers(1, head[1] - 1))
        return [*factors[: at + 1], np.eye(len(factors[at])), *factors[at + 1 :]]

    def shallower(self, head: Head) -> Factors:
        """From the best of depth L+1: two neighbouring layers as one."""
        factors = self.some((head[0], head[1] + 1))
        at = int(self.rng.integers(1, head[1] + 1))
        return [*factors[:at], factors[at + 1] @ factors[at], *factors[at + 2 :]]

    def other_classes(self, head: Head) -> Factors:
        """From other numbers of classes: random classes left out, or two heads side by side."""
        classes, depth = head
        other = int(self.rng.choice([k for k, _ in self.best if k != classes] or [classes]))
        factors = self.some((other, depth))
        if other > classes:
            kept = np.sort(self.rng.permutation(other)[:classes])
            return [factors[0][:, kept], *factors[1:-1], factors[-1][kept]]
        return direct_sum(factors, self.some((classes - other, depth))) if other < classes else factors


# From a numerical optimum to few short numbers.


def compressed(factors: Factors, dead: float = DEAD, parallel: float = PARALLEL) -> Factors:
    """Without dead neurons, neurons with parallel inputs merged, and H in as many dimensions as it needs.

    Merging replaces c_i relu(w x) with outgoing weights v_i by ||c|| relu(w x) with sum_i c_i v_i / ||c||, whose norm
    is at most that of the v_i together: no norm grows.
    """
    factors = list(factors)
    for layer in range(1, len(factors) - 1):
        inward, outward = factors[layer], factors[layer + 1]
        strength = np.linalg.norm(inward, axis=1) * np.linalg.norm(outward, axis=0)
        alive = strength > dead * strength.max()
        alive &= [bool(np.any(signal > 0)) for signal in list(activations(factors))[layer]]
        factors[layer], factors[layer + 1] = merged(inward[alive], outward[:, alive], parallel)
    left, values, right = np.linalg.svd(factors[1] @ factors[0], full_matrices=False)
    rank = int(np.sum(values > dead * values[0]))
    root = np.sqrt(values[:rank])
    return [root[:, None] * right[:rank], left[:, :rank] * root, *factors[2:]]


def merged(inward: Array, outward: Array, parallel: float) -> tuple[Array, Array]:
    """Neurons with parallel rows of `inward` as one; their columns of `outward` follow."""
    lengths = np.linalg.norm(inward, axis=1)
    cosines = inward @ inward.T / np.outer(lengths, lengths)
    free = np.ones(len(lengths), dtype=bool)
    rows, columns = [], []
    for i in range(len(lengths)):
        group = free & (cosines[i] > parallel)
        if not free[i]:
            continue
        free &= ~group
        length = np.linalg.norm(lengths[group])
        rows.append(inward[i] / lengths[i] * length)
        columns.append(outward[:, group] @ lengths[group] / length)
    return np.array(rows), np.array(columns).T


def rounded(head: Head, ratio: float, factors: Factors) -> Factors:
    """At the best scale, balanced, as the numbers that are written."""
    return [np.round(factor, DIGITS) + 0.0 for factor in balanced(head, ratio, factors)]


def selected(head: Head, best: dict[float, Factors]) -> list[tuple[float, Factors]]:
    """The fewest witnesses that are as good as all, up to LEAST_GAIN, starting with the one of the largest gain."""
    candidates = {ratio: rounded(head, ratio, factors) for ratio, factors in best.items()}
    values = {at: {ratio: value_of(head, ratio, c) for ratio in best} for at, c in candidates.items()}
    known = {ratio: known_value(head, ratio) for ratio in best}
    chosen: list[tuple[float, Factors]] = []
    while True:
        gains = {at: max(1 - values[at][ratio] / known[ratio] for ratio in best) for at in candidates}
        at = max(gains, key=lambda ratio: gains[ratio])
        if gains[at] < LEAST_GAIN:
            return chosen
        chosen.append((at, candidates[at]))
        known = {ratio: min(known[ratio], values[at][ratio]) for ratio in best}


def written(head: Head, ratio: float, factors: Factors) -> str:
    """One witness as JSON, one factor per line."""
    lines = [json.dumps([[short(x) for x in row] for row in f], separators=(",", ":")) for f in factors]
    start = f'{{"classes": {head[0]}, "depth": {head[1]}, "found_at": {ratio:g}, "factors": ['
    return start + "\n" + ",\n".join(lines) + "]}"


def short(number: float) -> float | int:
    """Whole numbers without a decimal point."""
    return int(number) if number == int(number) else float(number)


def save(path: Path, search: Search) -> None:
    """Write the selected witnesses."""
    entries = [
        written(head, ratio, factors)
        for head in sorted(search.best)
        for ratio, factors in selected(head, search.best[head])
    ]
    path.write_text("[\n" + ",\n".join(entries) + "\n]\n", encoding="utf-8")


def load(path: Path, search: Search) -> None:
    """Offer the witnesses that a file holds."""
    for entry in json.loads(path.read_text(encoding="utf-8")) if path.exists() else []:
        head = entry["classes"], entry["depth"]
        search.offer(head, [np.array(factor, dtype=np.float64) for factor in entry["factors"]], "stored")


def report(search: Search) -> None:
    """Print best / deep neural collapse, the same for the strongly regular graph, and what the best came from."""
    print("K  L  Lam/Lam_glob  best/DNC  known/DNC  widths and start of the best")
    for head in sorted(search.best):
        for ratio, factors in sorted(search.best[head].items()):
            base = collapse_value(head, ratio)
            best, known = value_of(head, ratio, factors) / base, known_value(head, ratio) / base
            widths = "-".join(str(len(factor)) for factor in factors[:-1])
            kind = search.kinds.get((head, ratio), "")
            print(f"{head[0]:<2} {head[1]}  {ratio:<12g}  {best:.4f}    {known:.4f}     {widths} {kind}")


def main() -> None:
    """Search for the given time, then write and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    heads = list(itertools.product(arguments.classes, arguments.depths))
    search = Search(np.random.default_rng(arguments.seed), heads)
    load(arguments.output, search)
    end, tasks = time.monotonic() + 60 * arguments.minutes, 0
    while time.monotonic() < end:
        search.task()
        tasks += 1
    save(arguments.output, search)
    report(search)
    print(f"{tasks} starts; {arguments.output.stat().st_size / 1000:.0f} KB written")


if __name__ == "__main__":
    main()
