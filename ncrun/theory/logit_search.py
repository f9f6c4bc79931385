"""The lowest logits that a search finds for cross-entropy with a deep or a narrow linear head.

The objective in the logits is D(X) + c sum_i sigma_i(X)^q, with X of at most the narrowest layer's rank (see
schatten_bound.py). With a deep head rank is expensive, and fewer directions may be lower than a simplex of all classes.
So descents start at the shapes of the convex programs, at groups of classes (a simplex each), and at points in few
dimensions, which stay there. The decay term has no slope at a singular value of zero; it is smoothed, less and less.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ncrun.losses import CrossEntropy
from ncrun.theory.class_losses import cross_entropy
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.prediction import Array
from ncrun.theory.quasi_newton import minimise
from ncrun.theory.spectra import full_svd

MOST_CLASSES = 10  # a descent's steps cost K^6; with more classes only the shapes of the convex programs are tried
SMOOTHING = (0.1, 1e-2, 1e-4)  # of a singular value, relative to the largest where the descent starts
NEGLIGIBLE = 1e-3  # of the largest singular value, at the end of a descent
ROUNDING = 1e-12  # the same, of the logits of a convex program
FEW_CLASSES, MOST_STARTS = 6, 4  # number of starts of each family, those with the lowest values; half with more classes
POINTS, MOST_DIMENSIONS = 20, 3
SCALES = np.geomspace(0.25, 4, 17)
FITTED = 5.0  # a margin at which a class has little loss
NOISE = 0.05  # relative: a start may be a saddle


@dataclass(frozen=True)
class Found:
    """X: (K, K), column k sqrt n_k times the logits of class k. bias: (K,). value: the objective there."""

    X: Array
    bias: Array
    value: float


@dataclass(frozen=True)
class Search:
    """problem: of the convex program; its strength does not matter. price, power: c and q. rank: the most X has."""

    problem: ConvexProblem
    price: float
    power: float
    rank: int

    def best(self, solutions: Sequence[tuple[Array, Array]]) -> Found:
        """solutions: (K, K) logits and (K,) biases of convex programs, zero logits among them."""
        shapes = [self._scaled(logits * self.problem.root, bias) for logits, bias in solutions]
        shapes.sort(key=lambda each: each.value)
        if self._num_classes > MOST_CLASSES:
            return shapes[0]
        silent = next(bias for logits, bias in solutions if not logits.any())
        most = MOST_STARTS if self._num_classes <= FEW_CLASSES else MOST_STARTS // 2
        ends = shapes[:1]
        for rank in range(1, min(self.rank, MOST_DIMENSIONS) + 1):
            held = replace(self, rank=rank)
            ends += held._descended(_lowest(held._points(), most))
        starts = [each for each in shapes if each.X.any()][:most] + _lowest(self._groups(silent), most)
        return min([*ends, *self._descended(starts)], key=lambda each: each.value)

    def value(self, X: Array, bias: Array) -> float:
        """The objective, without smoothing."""
        losses, _ = cross_entropy(self._loss, X / self.problem.root + bias[:, None])
        singular = np.linalg.svd(X, compute_uv=False)
        penalty = self.price * float((singular[singular > ROUNDING * singular[0]] ** self.power).sum())
        return float(self.problem.shares @ losses) + self.problem.bias_penalty(bias) + penalty

    @cached_property
    def _loss(self) -> CrossEntropy:
        assert isinstance(self.problem.loss, CrossEntropy)
        return replace(self.problem.loss, weights=())  # they are in the shares

    @property
    def _num_classes(self) -> int:
        return len(self.problem.counts)

    @property
    def _is_wide(self) -> bool:
        """Whether the rank does not restrict X: the loss does not depend on shifts of the logits, so K - 1 is
        enough."""
        return self.rank >= self._num_classes - 1

    def _found(self, X: Array, bias: Array) -> Found:
        return Found(X, bias, self.value(X, bias))

    def _scaled(self, X: Array, bias: Array) -> Found:
        """A convex program's shape at its best scale, because its decay term was another one."""
        X = self._cut(X, ROUNDING)
        return min((self._found(scale * X, bias) for scale in SCALES), key=lambda each: each.value)

    def _cut(self, X: Array, smallest: float) -> Array:
        """Limited to the rank, without singular values below a share of the largest."""
        left, singular, right_t = full_svd(X)
        singular[self.rank :] = 0
        singular[singular < smallest * singular[0]] = 0
        return np.asarray((left * singular) @ right_t)

    def _groups(self, silent: Array) -> list[Found]:
        """Groups of the largest classes, neighbours in the order of counts, each a simplex at its best scale; other
        classes have zero logits. silent: (K,), the bias if all have."""
        K, order = self._num_classes, np.argsort(-self.problem.shares, kind="stable")
        gain, starts = np.log(K) + FITTED, []
        for kept, size in itertools.product(range(1, K + 1), (1, 2, 3, (K + 1) // 2, K)):
            if size > kept:
                continue
            logits = np.zeros((K, K))
            for at in range(0, kept, size):
                group = order[at : min(at + size, kept)]
                logits[np.ix_(group, group)] = gain * (np.eye(len(group)) - (len(group) > 1) / len(group))
            X = logits * self.problem.root
            starts += [self._scaled(X, bias) for bias in ([silent, np.zeros(K)] if self.problem.bias else [silent])]
        return starts

    def _points(self) -> list[Found]:
        """Classes as points of as few dimensions as the rank says, a sample with the nearest: logits x_j.x_k and biases
        -|x_j|^2/2; without a bias on a sphere. On a line their order is random, because it matters which class is
        between which."""
        K, rng, starts = self._num_classes, np.random.default_rng(0), []
        for draw in range(POINTS):
            places = rng.standard_normal((K, self.rank))
            if not self.problem.bias or (self.rank > 1 and draw % 2):
                places /= np.linalg.norm(places, axis=1, keepdims=True) * np.sin(np.pi / K)
            elif draw % 2:
                places = rng.permutation(K)[:, None].astype(float) - (K - 1) / 2
            logits = 2 * FITTED * places @ places.T
            bias = -np.diag(logits) / 2 * self.problem.bias
            X = self._cut(logits * self.problem.root, ROUNDING)
            starts.append(min((self._found(s * X, s * bias) for s in SCALES), key=lambda each: each.value))
        return starts

    def _descended(self, starts: Sequence[Found]) -> list[Found]:
        """The ends of descents from all starts."""
        rng = np.random.default_rng(0)
        X, bias = np.stack([each.X for each in starts]), np.stack([each.bias for each in starts])
        X = X + NOISE * np.abs(X).max(axis=(1, 2), keepdims=True) * rng.standard_normal(X.shape)
        for smoothing in SMOOTHING:
            flat, largest = self._flat(X, bias)

            def objective(
                points: Array, which: NDArray[np.intp], widths: Array = smoothing * largest
            ) -> tuple[Array, Array]:
                return self._smoothed(points, widths[which])

            X, bias = self._read(minimise(objective, flat))
        return [self._found(self._cut(each, NEGLIGIBLE), b) for each, b in zip(X, bias, strict=True)]

    def _flat(self, X: Array, bias: Array) -> tuple[Array, Array]:
        """The parameters of B points, (B, n): X itself, or its two factors where its rank is held; then the bias if
        there is one. And (B,) the largest singular values."""
        B = len(X)
        left, singular, right_t = np.linalg.svd(X)
        parts = [X.reshape(B, -1)]
        if not self._is_wide:
            half = np.sqrt(singular[:, None, : self.rank])
            factors = left[:, :, : self.rank] * half, right_t[:, : self.rank].swapaxes(1, 2) * half
            parts = [factor.reshape(B, -1) for factor in factors]
        return np.concatenate([*parts, bias] if self.problem.bias else parts, axis=1), singular[:, 0]

    def _factors(self, flat: Array) -> list[Array]:
        K, shape = self._num_classes, (-1, self._num_classes, self.rank)
        if self._is_wide:
            return [flat[:, : K * K].reshape(-1, K, K)]
        return [part.reshape(shape) for part in np.split(flat[:, : 2 * K * self.rank], 2, axis=1)]

    def _read(self, flat: Array) -> tuple[Array, Array]:
        """(B, K, K) and (B, K)."""
        factors = self._factors(flat)
        X = factors[0] if self._is_wide else factors[0] @ factors[1].swapaxes(1, 2)
        bias = flat[:, -self._num_classes :] if self.problem.bias else np.zeros((len(X), self._num_classes))
        return X, bias

    def _smoothed(self, flat: Array, widths: Array) -> tuple[Array, Array]:
        """Values (B,) and gradients (B, n), each singular value s counting as sqrt(s^2 + width^2)."""
        X, bias = self._read(flat)
        left, singular, right_t = np.linalg.svd(X)
        squares = singular**2 + widths[:, None] ** 2
        values = self.price * (squares ** (self.power / 2)).sum(axis=1)
        slopes = self.price * self.power * (left * (singular * squares ** (self.power / 2 - 1))[:, None]) @ right_t
        by_bias = np.empty_like(bias)
        for i, (each, b) in enumerate(zip(X, bias, strict=True)):
            losses, errors = cross_entropy(self._loss, each / self.problem.root + b[:, None])
            values[i] += self.problem.shares @ losses + self.problem.bias_penalty(b)
            slopes[i] += self.problem.slopes(errors)
            by_bias[i] = self.problem.bias_slope(errors, b)
        parts = [slopes]
        if not self._is_wide:
            P, Q = self._factors(flat)
            parts = [slopes @ Q, slopes.swapaxes(1, 2) @ P]
        found = [part.reshape(len(X), -1) for part in parts]
        return values, np.concatenate([*found, by_bias] if self.problem.bias else found, axis=1)


def _lowest(found: Sequence[Found], most: int) -> list[Found]:
    return sorted((each for each in found if each.X.any()), key=lambda each: each.value)[:most]
