"""Deep linear heads under cross-entropy as one problem in the logits: its value, its descent, and the starts.

Balanced classes with one sample each (other counts n only change the factor of the decay term), features and layers as
wide as there are classes. Over all factors of the logits Z (K, K) and an undecayed bias b the objective is mean_k log
sum_j exp(Z_jk + b_j - Z_kk - b_k) + C sum_i sigma_i(Z)^p,    p = 2/(M+1), This code is independent of ncrun.theory. C
is given in units of the C above which zero logits are proven optimal (docs/proofs.md, section 3).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]

LARGEST_SMOOTHING = (2.0, 0.7, 0.2, 0.05)
SMOOTHING = (2.0, 0.7, 0.2, 0.05, 3e-3, 1e-4)  # of a singular value: sigma^p has no slope at zero
NEGLIGIBLE = 2e-4  # share of the largest singular value


@dataclass(frozen=True)
class Setting:
    """num_classes: K. depth: M. ratio: C in units of the one above which zero is optimal."""

    num_classes: int
    depth: int
    bias: bool
    ratio: float

    @property
    def power(self) -> float:
        return 2 / (self.depth + 1)

    @property
    def penalty(self) -> float:
        K = self.num_classes
        return float(self.ratio * np.log(K) / (K * np.log(K)) ** self.power)


@dataclass(frozen=True)
class Point:
    """logits: (K, K), column k those of class k. biases: (K,), zero without a bias."""

    logits: Array
    biases: Array

    def scaled(self, factor: float) -> "Point":
        return Point(factor * self.logits, factor * self.biases)


def value_of(setting: Setting, point: Point) -> float:
    """The objective, without smoothing."""
    scores = point.logits + point.biases[:, None]
    largest = scores.max(axis=0)
    data = np.log(np.exp(scores - largest).sum(axis=0)) + largest - np.diag(scores)
    singular = np.linalg.svd(point.logits, compute_uv=False)
    return float(data.mean() + setting.penalty * (singular[singular > 0] ** setting.power).sum())


def descend(setting: Setting, start: Point, smoothing: float) -> Point:
    """L-BFGS with decreasing smoothing of the decay term, from `smoothing` on; then small singular values are set to
    zero."""
    K = setting.num_classes
    flat = np.concatenate([start.logits.ravel(), start.biases if setting.bias else np.zeros(0)])
    options = {"maxiter": 300, "maxfun": 400, "maxcor": 15, "ftol": 1e-11, "gtol": 1e-9}
    for each in SMOOTHING:
        if each <= smoothing:
            flat = minimize(_smoothed, flat, (setting, each), jac=True, method="L-BFGS-B", options=options).x
    left, singular, right = np.linalg.svd(flat[: K * K].reshape(K, K))
    singular[singular < NEGLIGIBLE * singular[0]] = 0
    return Point((left * singular) @ right, flat[K * K :] if setting.bias else np.zeros(K))


def _smoothed(flat: Array, setting: Setting, smoothing: float) -> tuple[float, Array]:
    K, power = setting.num_classes, setting.power
    logits = flat[: K * K].reshape(K, K)
    scores = logits + (flat[K * K :, None] if setting.bias else 0)
    exponentials = np.exp(scores - scores.max(axis=0))
    totals = exponentials.sum(axis=0)
    data = np.mean(np.log(totals) + scores.max(axis=0) - np.diag(scores))
    left, singular, right = np.linalg.svd(logits)
    squares = singular**2 + smoothing**2
    slope = (exponentials / totals - np.eye(K)) / K
    by_logits = slope + setting.penalty * power * (left * (singular * squares ** (power / 2 - 1))) @ right
    value = data + setting.penalty * (squares ** (power / 2)).sum()
    return float(value), np.concatenate([by_logits.ravel(), slope.sum(axis=1) if setting.bias else np.zeros(0)])


# --- starts


def random_start(rng: np.random.Generator, setting: Setting) -> Point:
    """Groups of classes, or classes as points of a space of few dimensions, with some noise."""
    start = groups(rng, setting) if rng.random() < 0.5 else points(rng, setting)
    noise = float(rng.choice([0.01, 0.3, 1.5]))
    return noisy(rng, setting, start, noise)


def noisy(rng: np.random.Generator, setting: Setting, point: Point, noise: float) -> Point:
    """Adds independent normal numbers."""
    K = setting.num_classes
    biases = point.biases + noise * rng.standard_normal(K) if setting.bias else np.zeros(K)
    return Point(point.logits + noise * rng.standard_normal((K, K)), biases)


def groups(rng: np.random.Generator, setting: Setting) -> Point:
    """A random partition into simplexes and circles, each with its own scale and bias."""
    K = setting.num_classes
    logits, biases, order, at = np.zeros((K, K)), np.zeros(K), rng.permutation(K), 0
    common = rng.uniform(3, 25)
    while at < K:
        size = int(rng.integers(1, K - at + 1)) if rng.random() < 0.5 else min(K - at, int(rng.integers(1, 4)))
        members = order[at : at + size]
        gain = common * rng.uniform(0.5, 2)
        angles = 2 * np.pi * np.arange(size) / size
        circle = size > 3 and rng.random() < 0.5
        block = np.cos(angles[:, None] - angles) if circle else np.eye(size) - (1 / size if size > 1 else 0)
        logits[np.ix_(members, members)] = gain * block * (size > 1 or rng.random() < 0.6)
        biases[members] = common / 4 * rng.standard_normal()
        at += size
    return Point(logits, biases if setting.bias else np.zeros(K))


def points(rng: np.random.Generator, setting: Setting) -> Point:
    """Points x_k; a sample belongs to the nearest: logits steep x_j.x_k, biases -steep |x_j|^2 / 2. Without a bias, the
    points stand on a sphere."""
    K = setting.num_classes
    rank = int(rng.integers(1, K))
    places = rng.standard_normal((K, rank))
    if rank <= 2 and rng.random() < 0.5:  # spread evenly
        places = np.linspace(-1, 1, K)[:, None] if rank == 1 else _plane(rng, K)
    if not setting.bias:
        places = places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-6)
    distances = np.linalg.norm(places[:, None] - places, axis=2)[~np.eye(K, dtype=bool)]
    steep = rng.uniform(4, 20) * 2 / max(float(np.quantile(distances, 0.1)), 0.1) ** 2
    logits = steep * places @ places.T
    return Point(logits, -np.diag(logits) / 2 if setting.bias else np.zeros(K))


def _plane(rng: np.random.Generator, num_classes: int) -> Array:
    """Part of a square or a hexagonal lattice, or a circle about a few points."""
    kind = int(rng.integers(3))
    if kind == 2:
        around = int(rng.integers(max(num_classes - 3, 2), num_classes + 1))
        angles = 2 * np.pi * (np.arange(around) + rng.random()) / around
        inner = 0.3 * rng.standard_normal((num_classes - around, 2))
        return np.concatenate([np.stack([np.cos(angles), np.sin(angles)], axis=1), inner])
    i, j = np.meshgrid(np.arange(-3, 4), np.arange(-3, 4))
    lattice = np.stack([i + (0.5 * j if kind else 0), (0.75**0.5 if kind else 1.0) * j], axis=-1).reshape(-1, 2)
    centre = rng.uniform(-0.6, 0.6, 2)
    stretched = (lattice - centre) * np.array([1.0, rng.uniform(0.6, 1.6)])
    return np.asarray((lattice - centre)[np.argsort((stretched**2).sum(axis=1))[:num_classes]])
