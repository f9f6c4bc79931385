"""The stored configurations of ReLU heads: what theory reads from them against the objective, written out in full."""

import json
from importlib.resources import files
from math import comb, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from ncrun.theory.witnesses import FILE, Witness, witnesses

Array = NDArray[np.float64]

DEPTHS = (2, 3, 4, 5, 6)
ALL = [(depth, i) for depth in DEPTHS for i in range(len(witnesses(depth)))]
NAMES = [witnesses(depth)[i].name for depth, i in ALL]
RATIOS = np.logspace(-7, 0, 29)  # of Lam_glob


def border(num_classes: int, depth: int) -> float:
    """Lam_glob, where deep neural collapse is as good as zero (Súkeník et al. 2023)."""
    return float((depth - 1) ** (depth - 1) / (num_classes ** (depth + 1) * depth ** (2.0 * depth)))


def value(witness: Witness, lam: float, scale: Array) -> Array:
    """v(a) as in the module's docstring; scale: a, any shape."""
    classes, depth = witness.num_classes, witness.depth
    misfit = scale**2 * witness.norm_sq - 2 * scale * witness.trace + classes
    return misfit / (2 * classes) + (depth + 1) / 2 * (lam * witness.cost * scale**2) ** (1 / (depth + 1))


def lowest(witness: Witness, lam: float) -> tuple[float, float]:
    """The best a and v(a) on a grid up to the best fit, beyond which both terms grow."""
    scales = np.linspace(0, witness.trace / witness.norm_sq, 2001)
    values = value(witness, lam, scales)
    best = int(values.argmin())
    return float(scales[best]), float(values[best])


def collapse(num_classes: int, depth: int) -> Witness:
    """Deep neural collapse: O = I, P = K^(L+1)."""
    cost = float(num_classes) ** (depth + 1)
    return Witness(num_classes, depth, cost, num_classes, num_classes, (num_classes,) * depth, "collapse")


def graph(num_classes: int, depth: int) -> Witness | None:
    """The strongly regular graph: O = I, P = S^2 r^(L-2) K^2 / 4; None unless K = r (r-1) / 2 and L >= 3."""
    r = next(r for r in range(2, num_classes + 2) if comb(r, 2) >= num_classes)
    if comb(r, 2) != num_classes or r < 4 or depth < 3:
        return None
    readout = sqrt(2 * (r - 1)) + (r - 1) * sqrt(r - 2)
    cost = readout**2 * r ** (depth - 2) * num_classes**2 / 4
    return Witness(num_classes, depth, cost, num_classes, num_classes, (num_classes, *(r,) * (depth - 1)), "graph")


def known(num_classes: int, depth: int, lam: float) -> float:
    """The lowest value without a search."""
    others = (collapse(num_classes, depth), graph(num_classes, depth))
    return min(lowest(other, lam)[1] for other in others if other is not None)


def objective(factors: list[Array], samples: int, decays: Array) -> float:
    """The full objective. factors: H (d, N) with its columns ordered by class, W_1 .. W_L; decays: lam_H, lam_1 ..."""
    signal = factors[0]
    for layer, weight in enumerate(factors[1:], start=1):
        signal = weight @ (signal if layer == 1 else np.maximum(signal, 0))
    labels = np.repeat(np.eye(len(signal)), samples, axis=1)
    decay = sum(lam / 2 * np.sum(factor**2) for lam, factor in zip(decays, factors, strict=True))
    return float(np.sum((signal - labels) ** 2) / (2 * signal.shape[1]) + decay)


@pytest.mark.parametrize(("depth", "i"), ALL, ids=NAMES)
def test_formula_is_the_full_objective(depth: int, i: int) -> None:
    witness = witnesses(depth)[i]
    entries = json.loads(files("ncrun.theory").joinpath(FILE).read_text(encoding="utf-8"))
    stored = [entry["factors"] for entry in entries if entry["depth"] == depth][i]
    factors = [np.array(factor, dtype=np.float64) for factor in stored]
    assert tuple(len(factor) for factor in factors[:-1]) == witness.widths
    samples = 3
    decays = np.random.default_rng(i).uniform(0.5, 2, depth + 1)
    lam = 0.1 * border(witness.num_classes, depth)
    decays *= (lam / (samples * np.prod(decays))) ** (1 / (depth + 1))
    scale, best = lowest(witness, lam)
    assert scale > 0
    factors[0] = np.repeat(factors[0], samples, axis=1)
    shares = np.array([decay * np.sum(factor**2) for decay, factor in zip(decays, factors, strict=True)])
    common = np.prod(shares) ** (1 / (depth + 1)) * scale ** (2 / (depth + 1))  # balanced: equal shares of the decay
    scaled = [factor * np.sqrt(common / share) for factor, share in zip(factors, shares, strict=True)]
    # The same sum in another order: a few hundred roundings of 1e-16.
    assert objective(scaled, samples, decays) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(("depth", "i"), ALL, ids=NAMES)
def test_each_is_lower_than_what_is_known_without_it(depth: int, i: int) -> None:
    witness = witnesses(depth)[i]
    classes = witness.num_classes
    limits = RATIOS * border(classes, depth)
    gains = [1 - lowest(witness, lam)[1] / known(classes, depth, lam) for lam in limits]
    assert max(gains) > 1e-3


@pytest.mark.parametrize("depth", DEPTHS)
def test_each_is_the_lowest_stored_somewhere(depth: int) -> None:
    """Of all, or of those that fit into a head as wide as there are classes."""
    for classes in {w.num_classes for w in witnesses(depth)}:
        alike = [w for w in witnesses(depth) if w.num_classes == classes]
        values = np.array([[lowest(w, ratio * border(classes, depth))[1] for ratio in RATIOS] for w in alike])
        narrow = np.array([max(w.widths) <= classes for w in alike])
        of_narrow = np.where(narrow[:, None], values, np.inf)
        assert {*values.argmin(axis=0), *(of_narrow.argmin(axis=0) if narrow.any() else ())} == set(range(len(alike)))


def test_two_classes_are_not_refuted() -> None:
    """There deep neural collapse is proven optimal for every depth (Súkeník et al. 2023), so none may be stored."""
    stored = [w for depth in range(1, 20) for w in witnesses(depth)]
    assert stored
    assert min(w.num_classes for w in stored) > 2


def test_none_is_known_without_a_hidden_layer() -> None:
    assert witnesses(1) == ()
