"""An independent optimiser over free features: what ncrun.theory claims is held against it.

It knows the objective and its gradient and nothing of the theorems:
    data term + sum_m lam_m/2 ||W_m||^2 + lam_H/2 ||H||^2
for every loss, head and sign of the features that a `Problem` can name. The starts of its search are shapes that
somebody could think of, not predictions.
A column of H may stand for several samples of one class (`repeats`): where the objective is convex in H equal samples
share one optimal feature, so one column per class loses nothing, and one column per sample tests just that.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ncrun.theory import Problem

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """factors = [H, W_1, .., W_M] and the last-layer bias, with the objective there."""

    value: float
    factors: list[Array]
    bias: Array
    relu_head: bool = False

    def suffix(self, m: int) -> Array:
        """W_M..W_{m+1}, counting from m = 0 as Geometry.layers does."""
        product = self.factors[-1]
        for weight in self.factors[-2:m:-1]:
            product = product @ weight
        return product

    def layer_input(self, m: int) -> Array:
        """W_m..W_1 H, the input of that suffix, with the ReLUs of a ReLU head."""
        product = self.factors[0]
        for weight in self.factors[1 : m + 1]:
            product = weight @ product
            if self.relu_head:
                product = np.maximum(product, 0)
        return product

    def logits(self) -> Array:
        """(K, J), without the bias."""
        return np.asarray(self.factors[-1] @ self.layer_input(len(self.factors) - 2))


@dataclass(frozen=True)
class Instance:
    """A setting with its columns written out. repeats, labels: (J,), samples that a column stands for and its class."""

    problem: Problem
    repeats: Array
    labels: NDArray[np.int64]

    @classmethod
    def by_class(cls, problem: Problem) -> "Instance":
        """One column per class: small and fast."""
        return cls(problem, np.array(problem.counts, dtype=float), np.arange(problem.num_classes))

    @classmethod
    def by_sample(cls, problem: Problem) -> "Instance":
        """One column per sample: every feature vector is on its own."""
        labels = np.repeat(np.arange(problem.num_classes), np.array(problem.counts, dtype=int))
        return cls(problem, np.ones(len(labels)), labels)

    @property
    def one_hot(self) -> Array:
        """Y, (K, J)."""
        return np.asarray(np.eye(self.problem.num_classes)[:, self.labels])

    def shapes(self) -> list[tuple[int, int]]:
        """Of H, W_1, .., W_M."""
        inner = list(self.problem.widths)
        return list(zip([*inner, self.problem.num_classes], [len(self.labels), *inner], strict=True))

    def scales(self) -> list[Array]:
        """In units of these every factor has the penalty 1/2 ||X||^2, which L-BFGS likes better."""
        assert self.problem.feature_decay is not None
        features = 1 / np.sqrt(self.problem.feature_decay * self.repeats)
        return [features, *(np.array(decay**-0.5) for decay in self.problem.weight_decays)]

    def data_term(self, scores: Array) -> tuple[float, Array]:
        """Its value and its gradient with respect to the scores, (K, J)."""
        share = self.repeats / self.repeats.sum()
        if self.problem.loss == "mse":
            residual = scores - self.one_hot
            return float((share * residual**2).sum() / 2), share * residual
        shifted = scores - scores.max(axis=0)
        exponentials = np.exp(shifted)
        sums = exponentials.sum(axis=0)
        own = shifted[self.labels, np.arange(len(self.labels))]
        return float(share @ (np.log(sums) - own)), share * (exponentials / sums - self.one_hot)

    def value_and_gradient(self, factors: list[Array], bias: Array) -> tuple[float, list[Array], Array]:
        """The objective and its gradient with respect to the factors and the bias."""
        assert self.problem.feature_decay is not None
        decays = [self.problem.feature_decay * self.repeats, *map(np.array, self.problem.weight_decays)]
        relu, last = self.problem.head == "relu", len(factors) - 1
        signals = [factors[0]]
        for m in range(1, last + 1):
            signal = factors[m] @ signals[-1]
            signals.append(np.maximum(signal, 0) if relu and m < last else signal)
        value, back = self.data_term(signals[-1] + bias[:, None])
        value += sum(float((decay * factor**2).sum()) / 2 for decay, factor in zip(decays, factors, strict=True))
        gradients = [decay * factor for decay, factor in zip(decays, factors, strict=True)]
        bias_gradient = back.sum(axis=1) if self.problem.bias else np.zeros_like(bias)
        for m in range(last, 0, -1):
            if relu and m < last:
                back = back * (signals[m] > 0)
            gradients[m] += back @ signals[m - 1].T
            back = factors[m].T @ back
        gradients[0] += back
        return value, gradients, bias_gradient

    def start_bias(self) -> Array:
        """The best bias while the rest of the network is silent: the class shares, or their logarithms."""
        shares = np.array(self.problem.counts) / sum(self.problem.counts)
        if not self.problem.bias:
            return np.zeros(self.problem.num_classes)
        return shares if self.problem.loss == "mse" else np.asarray(np.log(shares) - np.log(shares).mean())

    def balanced_factors(self, logits: Array, rng: np.random.Generator) -> list[Array]:
        """Factors whose product is `logits` (K, J) at the least penalty: equal shares of the singular values."""
        scales = self.scales()
        product = logits / np.prod([float(s) for s in scales[1:]]) / scales[0]
        return [s * unit for s, unit in zip(scales, split(product, list(self.problem.widths), rng), strict=True)]

    def descend(self, factors: list[Array], bias: Array, iterations: int = 20000) -> Point:
        """L-BFGS from here until the gradient is gone; bounds keep nonnegative features so."""
        shapes, scales = self.shapes(), self.scales()
        ends = np.cumsum([rows * columns for rows, columns in shapes])

        def unpack(x: Array) -> tuple[list[Array], Array]:
            parts = np.split(x, ends)
            found = [s * p.reshape(shape) for s, p, shape in zip(scales, parts, shapes, strict=False)]
            return found, parts[-1]

        def flat(parts: list[Array], last: Array) -> Array:
            return np.concatenate([*(part.ravel() for part in parts), last])

        def fun(x: Array) -> tuple[float, Array]:
            value, gradients, bias_gradient = self.value_and_gradient(*unpack(x))
            return value, flat([s * g for s, g in zip(scales, gradients, strict=True)], bias_gradient)

        x0 = flat([f / s for s, f in zip(scales, factors, strict=True)], bias)
        lower = np.full(len(x0), -np.inf)
        if self.problem.feature_sign == "nonnegative":
            lower[: ends[0]] = 0
        bounds = list(zip(lower, np.full(len(x0), np.inf), strict=True))
        options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 0.0, "gtol": 1e-9, "maxcor": 20}
        found = minimize(fun, x0, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        final, final_bias = unpack(found.x)
        return Point(float(found.fun), final, final_bias, self.problem.head == "relu")

    def structured_starts(self, rng: np.random.Generator) -> list[list[Array]]:
        """Factors of shapes that somebody could think of, the plainest first; only their shape matters."""
        problem, K = self.problem, self.problem.num_classes
        if problem.head == "relu":
            return [self.spread(start) for start in relu_starts(K, problem.widths, rng)]
        shift = np.full(K, 1 / K) if problem.loss == "ce" else self.start_bias()
        centred = self.one_hot - shift[:, None]
        if problem.feature_sign == "nonnegative":
            alive = [np.isin(self.labels, classes) for classes in subsets(np.array(problem.counts), rng)]
            return [self.on_axes(centred * mask, rng) for mask in alive]
        root = np.sqrt(self.repeats)
        left, values, right_t = np.linalg.svd(centred * root, full_matrices=False)
        ranks = range(min(K, *problem.widths), 0, -1)
        logits = [(left[:, :rank] * values[:rank]) @ right_t[:rank] / root for rank in ranks]
        if problem.loss == "ce" and problem.depth > 1:
            grouped = [circle(K), *map(simplices, partitions(K)), *(flat(K, rank, rng) for rank in (1, 1, 2, 2, 3))]
            logits += [shape[:, self.labels] for shape in grouped]
        return [self.balanced_factors(target, rng) for target in logits]

    def spread(self, units: list[Array]) -> list[Array]:
        """Factors of this problem, all of the same penalty, from factors with one column per class."""
        units = [units[0][:, self.labels] * np.sqrt(self.repeats), *units[1:]]
        return [s * unit / max(float(np.linalg.norm(unit)), 1e-9) for s, unit in zip(self.scales(), units, strict=True)]

    def on_axes(self, logits: Array, rng: np.random.Generator) -> list[Array]:
        """Factors with these logits (K, J), equal within a class, and nonnegative features: one axis for each class."""
        K, M, counts = self.problem.num_classes, self.problem.depth, np.array(self.problem.counts)
        axes = np.eye(self.problem.widths[0])[:, rng.permutation(self.problem.widths[0])[:K]]
        lengths = counts ** (-M / (2 * M + 2))
        columns = [int(np.flatnonzero(self.labels == k)[0]) for k in range(K)]
        weights = split(logits[:, columns] / lengths @ axes.T, list(self.problem.widths[1:]), rng)
        alive = np.abs(logits).max(axis=0) > 0
        units = [(axes * lengths)[:, self.labels] * np.sqrt(self.repeats) * alive, *weights]
        balance = (np.linalg.norm(weights[0]) / np.linalg.norm(units[0])) ** (1 / (M + 1))
        units = [units[0] * balance**M, *(weight / balance for weight in weights)]
        decays = [self.problem.feature_decay or 0.0, *self.problem.weight_decays]
        typical = float(np.prod(decays)) ** (0.5 / (M + 1))
        return [s * unit * typical for s, unit in zip(self.scales(), units, strict=True)]

    def rescaled(self, factors: list[Array], bias: Array) -> list[Array]:
        """The best multiple of all factors: logits of the size that the loss and the decays like."""
        largest = float(np.abs(Point(0.0, factors, bias, self.problem.head == "relu").logits()).max())
        sizes = np.geomspace(0.3, 100, 30) / max(largest, 1e-9)
        candidates = [[size ** (1 / len(factors)) * factor for factor in factors] for size in sizes]
        return min(candidates, key=lambda candidate: self.value_and_gradient(candidate, bias)[0])

    def search(self, rng: np.random.Generator, predicted_logits: Array | None = None) -> list[Point]:
        """Descend from many starts, best first.

        For M >= 2 zero is a local minimum and so is every choice of classes to give up, so random starts alone do not
        do: shapes that suit the setting are added, and the predicted optimum (K, J), all of them perturbed.
        """
        scales, shapes, bias = self.scales(), self.shapes(), self.start_bias()

        def noise(size: float) -> list[Array]:
            return [size * s * rng.standard_normal(shape) for s, shape in zip(scales, shapes, strict=True)]

        def near(exact: list[Array], size: float) -> list[Array]:
            typical = max(root_mean_square(factor / s) for s, factor in zip(scales, exact, strict=True))
            return [a + b for a, b in zip(exact, noise(size * typical + 1e-4), strict=True)]

        structured = [self.rescaled(start, bias) for start in self.structured_starts(rng)]
        sizes = [root_mean_square(factor / s) for s, factor in zip(scales, structured[0], strict=True)]
        # With ReLUs most random starts give some classes up: it takes more of them.
        multiples = (0.5, 1.0, 2.0, 2.0, 2.0, 2.0, 4.0, 4.0) if self.problem.head == "relu" else (0.5, 1.0, 2.0)
        starts = [noise(1e-3)]
        starts += [[size * t * x for t, x in zip(sizes, noise(1.0), strict=True)] for size in multiples]
        starts += [near(start, 0.03) for start in structured]
        if predicted_logits is not None and np.any(predicted_logits) and self.problem.head == "linear":
            build = self.on_axes if self.problem.feature_sign == "nonnegative" else self.balanced_factors
            starts.append(near(build(predicted_logits, rng), 0.1))
        if self.problem.feature_sign == "nonnegative":
            starts = [[np.abs(start[0]), *start[1:]] for start in starts]
        return sorted((self.descend(start, bias) for start in starts), key=lambda point: point.value)


# --- shapes to start from --------------------------------------------------------------------------------------------


def root_mean_square(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def split(product: Array, widths: list[int], rng: np.random.Generator) -> list[Array]:
    """Factors, the rightmost first, whose product this is: equal shares of its singular values, `widths` between."""
    rank = min(*product.shape, *widths)
    left, values, right_t = np.linalg.svd(product, full_matrices=False)
    values = np.where(values > 1e-12 * values[0], values, 0.0)  # a root would blow rounding errors up
    share = np.sqrt(values[:rank] ** (2 / (len(widths) + 1)))
    axes = [right_t[:rank].T]
    axes += [np.linalg.qr(rng.standard_normal((width, rank)))[0] for width in widths]
    axes += [left[:, :rank]]
    return [(out * share) @ into.T for out, into in zip(axes[1:], axes[:-1], strict=True)]


def subsets(counts: Array, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """The largest 1..K classes, all of them first, and three random choices."""
    K = len(counts)
    order = np.argsort(-counts, kind="stable")
    drawn = [rng.permutation(K)[: int(rng.integers(1, K + 1))] for _ in range(3)]
    return [order[:size] for size in range(K, 0, -1)] + drawn


def partitions(K: int, largest: int | None = None) -> list[list[int]]:
    """Every way to write K as a sum of group sizes, in descending order."""
    if K == 0:
        return [[]]
    return [
        [size, *others] for size in range(min(K, largest or K), 0, -1) for others in partitions(K - size, min(size, K))
    ]


def simplices(groups: list[int]) -> Array:
    """(K, K): a simplex inside each group and zeros across; a class on its own keeps its diagonal entry."""
    blocks = np.zeros((sum(groups), sum(groups)))
    for start, size in zip(np.cumsum([0, *groups]), groups, strict=False):
        blocks[start : start + size, start : start + size] = np.eye(size) - (1 / size if size > 1 else 0)
    return blocks


def circle(K: int) -> Array:
    """(K, K): the classes at equal angles in a plane."""
    return np.asarray(np.cos(2 * np.pi * np.subtract.outer(np.arange(K), np.arange(K)) / K))


def flat(K: int, rank: int, rng: np.random.Generator) -> Array:
    """(K, K): inner products of random points in few dimensions; a bias may tell inner points from outer ones."""
    points = rng.standard_normal((rank, K))
    return np.asarray(points.T @ points)


def relu_starts(K: int, widths: tuple[int, ...], rng: np.random.Generator) -> list[list[Array]]:
    """[H, W_1, .., W_L] of a ReLU head, one column per class: separate chains, low rank, random low rank."""

    def embed(matrices: list[Array]) -> list[Array]:
        """Pad with silent neurons up to the widths."""
        sides = [K, *widths, K]
        return [
            np.pad(matrix, ((0, rows - matrix.shape[0]), (0, columns - matrix.shape[1])))
            for matrix, rows, columns in zip(matrices, sides[1:], sides[:-1], strict=True)
        ]

    def low_rank(hidden: Array) -> list[Array]:
        """hidden: (r, K), nonnegative; its affine image is the last hidden layer, where every class has a neuron."""
        last = hidden.T @ hidden
        last = last - np.sort(last, axis=1)[:, -2:-1]  # every other class just below its neuron's threshold
        expand = last @ np.linalg.pinv(hidden)
        first = split(hidden, [widths[0]], rng)
        return embed([*first, *[np.eye(len(hidden))] * (len(widths) - 3), expand, np.eye(K)])

    alive = [np.isin(np.arange(K), classes).astype(float) for classes in subsets(np.ones(K), rng)]
    starts = [embed([np.diag(mask)] * (len(widths) + 1)) for mask in alive]
    for rank in (2, 3):
        sides = [K, *widths, K]
        pairs = list(zip(sides[1:], sides[:-1], strict=True))
        starts += [[rng.standard_normal((a, rank)) @ rng.standard_normal((rank, b)) for a, b in pairs]]
    if K > 3 and len(widths) > 2:
        angles = np.subtract.outer(np.arange(3) / 3, np.arange(K) / K)
        starts.append(low_rank(1 + np.cos(2 * np.pi * angles)))
        corners = next(r for r in range(3, K + 1) if r * (r - 1) // 2 >= K)
        edges = [(a, b) for a in range(corners) for b in range(a)][:K]
        starts.append(low_rank(np.array([[float(v in edge) for edge in edges] for v in range(corners)])))
    return starts


# --- random settings -------------------------------------------------------------------------------------------------


def random_mse(rng: np.random.Generator) -> Problem:
    """A squared-loss setting: 2..6 classes up to 50:1, M = 1..5, unequal decays, bias or not, a bottleneck or not.

    The decays are drawn so that the largest class sits between far below and somewhat beyond its collapse.
    """
    K, M = int(rng.integers(2, 7)), int(rng.integers(1, 6))
    counts = np.round(np.exp(rng.uniform(np.log(2), np.log(100), K)))
    widths = rng.integers(K, K + 3, M)
    kind = rng.random()
    if kind < 0.15:
        counts[:] = counts[0]
    elif kind < 0.5:
        widths[rng.integers(M)] = rng.integers(1, K)
    strength = np.exp(rng.uniform(np.log(0.01), np.log(0.7)))  # 0.2 to 1 is the border, depending on M
    typical_decay = strength * counts.max() ** (M / (M + 1)) / counts.sum()
    spread = rng.uniform(-1.5, 1.5, M + 1)
    decays = typical_decay * np.exp(spread - spread.mean())
    return Problem(
        loss="mse",
        counts=tuple(counts.tolist()),
        widths=tuple(widths.tolist()),
        bias=bool(rng.random() < 0.5),
        weight_decays=tuple(decays[1:].tolist()),
        feature_decay=float(decays[0]),
    )


@dataclass(frozen=True)
class Kind:
    """A family of settings to draw from.

    classes, depths: smallest and largest. imbalance: largest over smallest class. beyond: strongest decays, in units of
    the squared loss' border, which deep cross-entropy survives for a while.
    """

    loss: str
    classes: tuple[int, int]
    depths: tuple[int, int]
    imbalance: float = 1.0
    bias: bool = False
    feature_sign: str = "free"
    head: str = "linear"
    beyond: float = 1.3

    def draw(self, rng: np.random.Generator) -> Problem:
        """Layers as wide as K or a little wider, unequal decays from far below the largest class' collapse to beyond.

        The border is that of the squared loss with M layers; the other losses and heads are not far from it.
        """
        K, M = (int(rng.integers(low, high + 1)) for low, high in (self.classes, self.depths))
        smallest = rng.uniform(1, 20)
        counts = np.round(smallest * self.imbalance ** rng.uniform(0, 1, K))
        border = ((M - 1) / M) ** ((M - 1) / (M + 1)) / M
        far = rng.random() < 0.7
        strength = border * (np.exp(rng.uniform(np.log(0.01), np.log(0.8))) if far else rng.uniform(0.8, self.beyond))
        typical_decay = strength * counts.max() ** (M / (M + 1)) / counts.sum()
        spread = rng.uniform(-1.5, 1.5, M + 1)
        decays = typical_decay * np.exp(spread - spread.mean())
        return Problem(
            loss=self.loss,
            counts=tuple(counts.tolist()),
            widths=tuple((K + rng.integers(0, 3, M)).tolist()),
            bias=self.bias and bool(rng.random() < 0.5),
            weight_decays=tuple(decays[1:].tolist()),
            feature_decay=float(decays[0]),
            feature_sign=self.feature_sign,
            head=self.head,
        )


KINDS: dict[str, Callable[[np.random.Generator], Problem]] = {
    "mse": random_mse,
    "mse-relu-features": Kind("mse", (2, 6), (1, 3), 50, feature_sign="nonnegative").draw,
    "ce-balanced-1": Kind("ce", (2, 8), (1, 1), bias=True).draw,
    "ce-imbalanced": Kind("ce", (2, 8), (1, 1), 100, bias=True).draw,
    "ce-balanced-deep": Kind("ce", (2, 7), (2, 4), bias=True, beyond=5).draw,
    "ce-relu": Kind("ce", (2, 8), (1, 1), 100, feature_sign="nonnegative").draw,
    "relu-head-2": Kind("mse", (2, 2), (2, 5), head="relu").draw,
    "relu-head": Kind("mse", (3, 6), (2, 5), head="relu").draw,
}


def random_setting(rng: np.random.Generator, kind: str = "mse") -> Problem:
    """A setting of one of the `KINDS`."""
    return KINDS[kind](rng)
