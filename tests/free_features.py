"""An independent optimiser of the squared loss over free features: what ncrun.theory claims is held against it.

It knows the objective and its gradient and nothing of the theorems:
    1/(2N) ||W_M..W_1 H + b 1^T - Y||^2 + sum_m lam_m/2 ||W_m||^2 + lam_H/2 ||H||^2.
A column of H may stand for several samples of one class (`repeats`): by convexity in H equal samples share one optimal
feature, so one column per class loses nothing, and one column per sample tests just that.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ncrun.theory import Setting

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """factors = [H, W_1, .., W_M] and the last-layer bias, with the objective there."""

    value: float
    factors: list[Array]
    bias: Array

    def suffix(self, m: int) -> Array:
        """W_M..W_{m+1}, counting from m = 0 as Geometry.layers does."""
        product = self.factors[-1]
        for weight in self.factors[-2:m:-1]:
            product = product @ weight
        return product

    def layer_input(self, m: int) -> Array:
        """W_m..W_1 H, the input of that suffix."""
        product = self.factors[0]
        for weight in self.factors[1 : m + 1]:
            product = weight @ product
        return product


@dataclass(frozen=True)
class Problem:
    """A setting with its columns written out. repeats, labels: (J,), samples that a column stands for and its class."""

    setting: Setting
    repeats: Array
    labels: NDArray[np.int64]

    @classmethod
    def by_class(cls, setting: Setting) -> "Problem":
        """One column per class: small and fast."""
        return cls(setting, np.array(setting.counts, dtype=float), np.arange(setting.num_classes))

    @classmethod
    def by_sample(cls, setting: Setting) -> "Problem":
        """One column per sample: every feature vector is on its own."""
        labels = np.repeat(np.arange(setting.num_classes), np.array(setting.counts, dtype=int))
        return cls(setting, np.ones(len(labels)), labels)

    @property
    def one_hot(self) -> Array:
        """Y, (K, J)."""
        return np.asarray(np.eye(self.setting.num_classes)[:, self.labels])

    def shapes(self) -> list[tuple[int, int]]:
        """Of H, W_1, .., W_M."""
        inner = list(self.setting.widths)
        return list(zip([*inner, self.setting.num_classes], [len(self.labels), *inner], strict=True))

    def scales(self) -> list[Array]:
        """In units of these every factor has the penalty 1/2 ||X||^2, which L-BFGS likes better."""
        assert self.setting.feature_decay is not None
        features = 1 / np.sqrt(self.setting.feature_decay * self.repeats)
        return [features, *(np.array(decay**-0.5) for decay in self.setting.weight_decays)]

    def value_and_gradient(self, factors: list[Array], bias: Array) -> tuple[float, list[Array], Array]:
        """The objective and its gradient with respect to the factors and the bias."""
        assert self.setting.feature_decay is not None
        decays = [self.setting.feature_decay * self.repeats, *map(np.array, self.setting.weight_decays)]
        signals = [factors[0]]
        for weight in factors[1:]:
            signals.append(weight @ signals[-1])
        residual = signals[-1] + bias[:, None] - self.one_hot
        total = self.repeats.sum()
        value = (self.repeats * residual**2).sum() / (2 * total)
        value += sum((decay * factor**2).sum() / 2 for decay, factor in zip(decays, factors, strict=True))
        gradients = [decay * factor for decay, factor in zip(decays, factors, strict=True)]
        back = self.repeats * residual / total
        bias_gradient = back.sum(axis=1) if self.setting.bias else np.zeros_like(bias)
        for m in range(len(factors) - 1, 0, -1):
            gradients[m] += back @ signals[m - 1].T
            back = factors[m].T @ back
        gradients[0] += back
        return float(value), gradients, bias_gradient

    def start_bias(self) -> Array:
        """The class shares, which are the best bias while the rest of the network is silent."""
        shares = np.array(self.setting.counts) / sum(self.setting.counts)
        return shares if self.setting.bias else np.zeros(self.setting.num_classes)

    def balanced_factors(self, logits: Array, rng: np.random.Generator) -> list[Array]:
        """Factors whose product is `logits` (K, J) at the least penalty: equal shares of the singular values."""
        rank = min(self.setting.num_classes, *self.setting.widths)
        scales = self.scales()
        product = logits / np.prod([float(s) for s in scales[1:]]) / scales[0]
        left, values, right_t = np.linalg.svd(product, full_matrices=False)
        values = np.where(values > 1e-12 * values[0], values, 0.0)  # a root would blow rounding errors up
        share = np.sqrt(values[:rank] ** (2 / (self.setting.depth + 1)))
        axes = [right_t[:rank].T]
        axes += [np.linalg.qr(rng.standard_normal((width, rank)))[0] for width in self.setting.widths]
        axes += [left[:, :rank]]
        return [s * ((out * share) @ into.T) for s, out, into in zip(scales, axes[1:], axes[:-1], strict=True)]

    def descend(self, factors: list[Array], bias: Array, iterations: int = 20000) -> Point:
        """L-BFGS from here until the gradient is gone."""
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
        options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 0.0, "gtol": 1e-9, "maxcor": 20}
        found = minimize(fun, x0, jac=True, method="L-BFGS-B", options=options)
        final, final_bias = unpack(found.x)
        return Point(float(found.fun), final, final_bias)

    def search(self, rng: np.random.Generator, predicted_logits: Array | None = None) -> list[Point]:
        """Descend from many starts, best first.

        For M >= 2 zero is a local minimum and so is every choice of classes to give up, so random starts alone do not
        do: the best fits of the labels of every rank are added, and the predicted optimum, all of them perturbed.
        """
        scales, shapes, bias = self.scales(), self.shapes(), self.start_bias()

        def noise(size: float) -> list[Array]:
            return [size * s * rng.standard_normal(shape) for s, shape in zip(scales, shapes, strict=True)]

        def near(logits: Array, size: float) -> list[Array]:
            exact = self.balanced_factors(logits, rng)
            typical = float(np.sqrt(np.mean((exact[-1] / scales[-1]) ** 2)))
            return [a + b for a, b in zip(exact, noise(size * typical), strict=True)]

        root = np.sqrt(self.repeats)
        left, values, right_t = np.linalg.svd((self.one_hot - bias[:, None]) * root, full_matrices=False)
        starts = [noise(1e-3), noise(0.2), noise(0.5)]
        for rank in range(1, min(self.setting.num_classes, *self.setting.widths) + 1):
            best_fit = (left[:, :rank] * values[:rank]) @ right_t[:rank] / root
            starts.append(near(0.9 * best_fit, 0.03))
        if predicted_logits is not None:
            starts.append(near(predicted_logits, 0.1))
        return sorted((self.descend(start, bias) for start in starts), key=lambda point: point.value)


def random_setting(rng: np.random.Generator) -> Setting:
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
    strength = np.exp(rng.uniform(np.log(0.01), np.log(0.7)))  # 0.4 to 1 is the border, depending on M
    typical_decay = strength * counts.max() ** (M / (M + 1)) / counts.sum()
    spread = rng.uniform(-1.5, 1.5, M + 1)
    decays = typical_decay * np.exp(spread - spread.mean())
    return Setting(
        loss="mse",
        counts=tuple(counts.tolist()),
        widths=tuple(widths.tolist()),
        bias=bool(rng.random() < 0.5),
        weight_decays=tuple(decays[1:].tolist()),
        feature_decay=float(decays[0]),
    )
