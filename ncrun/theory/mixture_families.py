"""The mixtures of groups (ncrun.theory.mixed_groups) that are tried for balanced cross-entropy, and their starts.

    groups and biases   every partition of the classes into simplexes and circles, each with a gain and a bias of its
                        own, some classes being left to the bias alone                                (with a bias)
    a line              all classes on a line with biases: one singular value                         (with a bias)
    a coupled class     groups of all classes but one, which has logits of rank one with them
    points every class a point in r dimensions: configurations that scripts/search_cross_entropy.py found With deep
heads rank is expensive and a bias is free, so few dimensions are best.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from itertools import groupby, product

import numpy as np

from ncrun.theory.group_structures import Block, Structure, best_gain, circle_block, simplex_block
from ncrun.theory.mixed_groups import Kind, Mixture, Posed, Values
from ncrun.theory.prediction import Array, Reference
from ncrun.theory.quasi_newton import minimise

# Where scripts/search_cross_entropy.py looks: classes, layers, and C / C_0, C_0 being where zero is proven optimal.
SEARCHED_CLASSES = (3, 4, 5, 6, 7)
SEARCHED_DEPTHS = (2, 3, 4, 5, 6)
SEARCHED_RATIOS = (1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5)

FILE = "cross_entropy_witnesses.json"
SOURCE_MIXED = "groups with biases of their own, lines and coupled classes: docs/proofs.md, section 8"
SOURCE_SEARCH = "a configuration found by scripts/search_cross_entropy.py"

LARGEST_ENUMERATED = 10  # classes up to which every partition is tried; beyond, equal groups
SCALES = np.geomspace(0.2, 5.0, 25)  # of the logits of a stored configuration, found at another decay
LARGEST_CIRCLE = 64  # classes: on larger ones neighbours are too near for any decay of interest
DESCENTS = 60  # of the starts with equally many kinds, the lowest ones
STORED = 3  # of the stored configurations of one rank, the lowest ones


@dataclass(frozen=True)
class Candidate:
    """A mixture and the starting points of its descents."""

    mixture: Mixture
    starts: tuple[Array, ...]
    name: str
    source: str


def was_searched(posed: Posed) -> bool:
    """Whether the search covered this number of classes and depth, with decays on both sides.

    It used the loss without smoothing and an undecayed bias.
    """
    if posed.smoothing or (posed.bias and posed.bias_decay):
        return False
    K, power = posed.num_classes, 2 / (posed.depth + 1)
    ratio = posed.penalty * (K * posed.count**0.5 * math.log(K)) ** power / math.log(K)
    return K in SEARCHED_CLASSES and posed.depth in SEARCHED_DEPTHS and ratio >= SEARCHED_RATIOS[0]


@dataclass(frozen=True)
class Lowest:
    """The lowest value of all tried mixtures. point: its place, as for `Values`."""

    candidate: Candidate
    point: Array
    value: float


def lowest_mixture(posed: Posed) -> Lowest:
    """For three classes or more."""
    best: Lowest | None = None
    for _, group in groupby(sorted([*families(posed), *_stored(posed)], key=_shape), key=_shape):
        pairs = [(candidate, start) for candidate in group for start in candidate.starts]
        values = Values([candidate.mixture for candidate, _ in pairs], posed)
        starts = np.array([start for _, start in pairs])
        kept = np.argsort(values(starts, np.arange(len(pairs)))[0], kind="stable")[:DESCENTS]
        values = Values([pairs[i][0].mixture for i in kept], posed)
        points = minimise(values, starts[kept])
        found = values(points, np.arange(len(kept)))[0]
        if best is None or found.min() < best.value:
            lowest = int(found.argmin())
            best = Lowest(pairs[kept[lowest]][0], points[lowest], float(found[lowest]))
    assert best is not None
    return best


def best_mixture(posed: Posed) -> Reference:
    """Its name, value and source."""
    lowest = lowest_mixture(posed)
    return Reference(lowest.candidate.name, lowest.value, lowest.candidate.source, "upper-bound")


def _shape(candidate: Candidate) -> tuple[int, int]:
    """Common properties of candidates whose descents run together."""
    return len(candidate.mixture.kinds), candidate.mixture.rank


def families(posed: Posed) -> Iterator[Candidate]:
    """All mixtures that a formula gives, without those that are stored."""
    K = posed.num_classes
    for sizes in _partitions(K - 1, K):
        for blocks in product(*(_blocks(size, posed) for size in sorted(set(sizes), reverse=True))):
            kinds = tuple(Kind(block, sizes.count(block.size)) for block in blocks)
            name = f"{_words(kinds)}, 1 coupled to them"
            yield Candidate(Mixture((*kinds, Kind(None, 1)), 1), _coupled(kinds, posed), name, SOURCE_MIXED)
    if not posed.bias:
        return
    many = K > LARGEST_ENUMERATED
    for left in range(K - 1):
        for sizes in _partitions(K - left, K):
            for blocks in product(*(_blocks(size, posed) for size in (sizes[:1] if many else sizes))):
                kinds = tuple(Kind(block, len(sizes) if many else 1) for block in blocks)
                name = _words(kinds) + (f", {left} left to the bias" if left else "")
                name += ", with unequal biases" if len(kinds) > 1 else ""
                mixture = Mixture((*kinds, Kind(None, left)) if left else kinds)
                yield Candidate(mixture, _spread(mixture, posed), name, SOURCE_MIXED)
    if not many:
        yield Candidate(Mixture((Kind(None, 1),) * K, 1), _line(posed), f"{K} classes on a line", SOURCE_MIXED)


def _words(kinds: tuple[Kind, ...]) -> str:
    groups = [(kind.block.kind, kind.block.size) for kind in kinds if kind.block for _ in range(kind.groups)]
    return Structure(tuple(sorted(groups, key=lambda group: -group[1])), 0.0).name


def _blocks(size: int, posed: Posed) -> list[Block]:
    K, smoothing = posed.num_classes, posed.smoothing
    circles = [circle_block(size, K, smoothing)] if 5 <= size <= LARGEST_CIRCLE else []  # a circle of 4 is two pairs
    return [simplex_block(size, K, smoothing), *circles]


def _partitions(total: int, num_classes: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """Into sizes of two or more, in falling order; of many classes into equal sizes only."""
    if num_classes > LARGEST_ENUMERATED:
        yield from ((size,) * (total // size) for size in range(2, total + 1) if total % size == 0)
        return
    if total == 0:
        yield ()
    for size in range(min(total, largest or total), 1, -1):
        yield from ((size, *rest) for rest in _partitions(total - size, num_classes, size))


# --- where the descents start


def _gain(block: Block, posed: Posed) -> float:
    """The gain that the block has without biases; where that is zero, one at which it separates its classes."""
    return _gain_of(block.kind, block.size, posed)


@lru_cache(maxsize=1000)
def _gain_of(kind: str, size: int, posed: Posed) -> float:
    block = (circle_block if kind == "circle" else simplex_block)(size, posed.num_classes, posed.smoothing)
    return float(best_gain(block, posed.num_classes, posed.count, np.array([posed.penalty]), posed.depth)[0][0]) or 5.0


def _spread(mixture: Mixture, posed: Posed) -> tuple[Array, ...]:
    """Gains alike, or falling or rising over the kinds. A class with the own logit a is at home at the bias -a/2."""
    kinds = len(mixture.kinds)
    gains = np.array([_gain(kind.block, posed) if kind.block else 1.0 for kind in mixture.kinds])
    own = np.array([kind.block.rates[-1] if kind.block else 0.0 for kind in mixture.kinds])
    factors = [np.geomspace(2.0, 0.5, kinds) ** power for power in ((0, 1, -1) if kinds > 1 else (0,))]
    return tuple(np.concatenate([np.log(gains * factor), -gains * factor * own / 2]) for factor in factors)


def _coupled(kinds: tuple[Kind, ...], posed: Posed) -> tuple[Array, ...]:
    """The coupled class away from the groups, which are near zero."""
    gains = [_gain(kind.block, posed) for kind in kinds if kind.block]
    alone = _gain_of("alone", 1, posed) ** 0.5
    u, v = (np.append(np.full(len(kinds), -share * alone), alone) for share in (0.2, 0.1))
    return (np.concatenate([np.log([*gains, 1.0]), np.zeros(len(kinds) + 1), u, v]),)


def _line(posed: Posed) -> tuple[Array, ...]:
    """Points at equal distances on a line; a sample belongs to the nearest."""
    places = np.linspace(-1, 1, posed.num_classes)
    steep = _gain_of("simplex", 2, posed) * (posed.num_classes - 1) ** 2 / 4
    starts = [(places, scale * steep * places, -scale * steep * places**2 / 2) for scale in (0.5, 1.0, 2.0)]
    return tuple(np.concatenate([np.zeros(len(places)), bias, u, v]) for u, v, bias in starts)


# --- configurations that were found by search


@cache
def stored() -> dict[tuple[int, bool, int], Array]:
    """(number, K + K + K r + K r) for each K, bias and rank r: points as `Values` takes them, at any decay."""
    entries = json.loads(files("ncrun.theory").joinpath(FILE).read_text(encoding="utf-8"))
    found: dict[tuple[int, bool, int], list[Array]] = {}
    for entry in entries:
        u, v = np.array(entry["u"], dtype=float), np.array(entry["v"], dtype=float)
        point = np.concatenate([np.zeros(len(u)), np.array(entry["biases"], dtype=float), u.ravel(), v.ravel()])
        found.setdefault((len(u), entry["bias"], u.shape[1]), []).append(point)
    return {key: np.array(points) for key, points in found.items()}


def _stored(posed: Posed) -> Iterator[Candidate]:
    """For each rank the lowest ones after scaling of their logits."""
    K = posed.num_classes
    for (classes, bias, rank), points in stored().items():
        if (classes, bias) != (K, posed.bias) or rank >= K:  # more than the narrowest layer allows
            continue
        mixture = Mixture((Kind(None, 1),) * K, rank)
        scales = np.ones((len(SCALES), points.shape[1]))
        scales[:, K : K * (2 + rank)] = SCALES[:, None]  # biases and u
        tried = (points[:, None] * scales).reshape(-1, points.shape[1])
        values = Values([mixture] * len(tried), posed)(tried, np.arange(len(tried)))[0].reshape(-1, len(SCALES))
        lowest = np.argsort(values.min(axis=1), kind="stable")[:STORED]
        starts = tuple(points[i] * scales[values[i].argmin()] for i in lowest)
        name = f"{K} classes as points in {rank} dimensions" if rank > 1 else f"{K} classes on a line, found by search"
        yield Candidate(mixture, starts, name, SOURCE_SEARCH)
