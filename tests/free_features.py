"""An independent optimiser over free features: what ncrun.theory claims is held against it.

It knows the objective and its gradient and nothing of the theorems:
    data term + sum_m lam_m/2 ||W_m||^2 + lam_H/2 ||H||^2 + lam_b/2 ||b||^2
for every loss with its options, head and sign of the features that a `Problem` can name. The starts of its search are
shapes that somebody could think of, not predictions.
A column of H may stand for several samples of one class (`repeats`): where the objective is convex in H equal samples
share one optimal feature, so one column per class loses nothing, and one column per sample tests just that.
"""

from dataclasses import dataclass

import numpy as np
from free_feature_shapes import circle, flat, partitions, relu_starts, root_mean_square, simplices, split, subsets
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
        """W_M..W_{m+1}, counting from m = 0 as Prediction.layers does."""
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
    """A setting with its columns written out. repeats, labels: (J,), samples that a column stands for and its class.
    targets: (q, J), instead of classes."""

    problem: Problem
    repeats: Array
    labels: NDArray[np.int64]
    targets: Array | None = None

    @classmethod
    def of(cls, problem: Problem, rng: np.random.Generator) -> "Instance":
        """The fewest columns that the problem can be written out with."""
        return cls.by_class(problem) if problem.targets is None else cls.on_targets(problem, rng)

    @classmethod
    def on_targets(cls, problem: Problem, rng: np.random.Generator) -> "Instance":
        """One column per sample: targets with the moments of the problem, which does not know their order."""
        moments = problem.targets
        assert moments is not None
        N, q = moments.num_samples, moments.num_outputs
        # Orthonormal columns, all of them orthogonal to the vector of ones: coordinates of mean 0 and covariance I / N.
        columns = np.linalg.qr(np.column_stack([np.ones(N), rng.standard_normal((N, q))]))[0][:, 1:]
        variances, axes = np.linalg.eigh(np.array(moments.covariance))
        values = (axes * np.sqrt(np.maximum(variances, 0) * N)) @ columns.T + np.array(moments.mean)[:, None]
        return cls(problem, np.ones(N), np.zeros(N, dtype=np.int64), values)

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
        """Y, (K, J); of a problem with targets, those."""
        if self.targets is not None:
            return self.targets
        return np.asarray(np.eye(self.problem.num_classes)[:, self.labels])

    def shapes(self) -> list[tuple[int, int]]:
        """Of H, W_1, .., W_M."""
        inner = list(self.problem.widths)
        return list(zip([*inner, self.problem.num_outputs], [len(self.labels), *inner], strict=True))

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
        problem, counts = self.problem, np.array(self.problem.counts)
        if problem.class_weights:
            share = share * np.array(problem.class_weights)[self.labels]
        adjusted = scores + problem.logit_adjustment * np.log(counts / counts.sum())[:, None]
        shifted = adjusted - adjusted.max(axis=0)
        exponentials = np.exp(shifted)
        sums = exponentials.sum(axis=0)
        targets = (1 - problem.label_smoothing) * self.one_hot + problem.label_smoothing / problem.num_classes
        losses = -(targets * (shifted - np.log(sums))).sum(axis=0)
        return float(share @ losses), share * (exponentials / sums - targets)

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
        value += self.problem.bias_decay / 2 * float(bias @ bias)
        bias_gradient = np.zeros_like(bias)
        if self.problem.bias:
            bias_gradient = back.sum(axis=1) + self.problem.bias_decay * bias
        for m in range(last, 0, -1):
            if relu and m < last:
                back = back * (signals[m] > 0)
            gradients[m] += back @ signals[m - 1].T
            back = factors[m].T @ back
        gradients[0] += back
        return value, gradients, bias_gradient

    def start_bias(self) -> Array:
        """The best bias while the rest of the network is silent: the class shares, or their logarithms."""
        if not self.problem.bias:
            return np.zeros(self.problem.num_outputs)
        if self.targets is not None:
            return np.asarray(self.targets.mean(axis=1))
        shares = np.array(self.problem.counts) / sum(self.problem.counts)
        return shares if self.problem.loss == "mse" else np.asarray(np.log(shares) - np.log(shares).mean())

    def balanced_factors(self, logits: Array, rng: np.random.Generator) -> list[Array]:
        """Factors whose product is `logits` (K, J) at the least penalty: equal shares of the singular values."""
        scales = self.scales()
        product = logits / np.prod([float(s) for s in scales[1:]]) / scales[0]
        return [s * unit for s, unit in zip(scales, split(product, list(self.problem.widths), rng), strict=True)]

    def descend(self, factors: list[Array], bias: Array, iterations: int = 20000) -> Point:
        """L-BFGS from here until the gradient is gone; bounds keep non-negative features so."""
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
        problem, K = self.problem, self.problem.num_outputs
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
        if problem.bias_decay and problem.loss == "mse":
            logits.append(self.one_hot)  # nothing left to the bias
        if problem.loss == "ce" and problem.depth > 1:
            grouped = [circle(K), *map(simplices, partitions(K)), *(flat(K, rank, rng) for rank in (1, 1, 2, 2, 3))]
            logits += [shape[:, self.labels] for shape in grouped]
        return [self.balanced_factors(target, rng) for target in logits]

    def spread(self, units: list[Array]) -> list[Array]:
        """Factors of this problem, all of the same penalty, from factors with one column per class."""
        units = [units[0][:, self.labels] * np.sqrt(self.repeats), *units[1:]]
        return [s * unit / max(float(np.linalg.norm(unit)), 1e-9) for s, unit in zip(self.scales(), units, strict=True)]

    def on_axes(self, logits: Array, rng: np.random.Generator) -> list[Array]:
        """Factors with these logits (K, J), equal within a class, and non-negative features: one axis for each
        class."""
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
        # A bias that takes what all outputs have in common keeps it: with a decay that can be a local minimum.
        biases = [bias, np.zeros_like(bias)] if self.problem.bias_decay else [bias]
        return sorted((self.descend(start, b) for b in biases for start in starts), key=lambda point: point.value)
