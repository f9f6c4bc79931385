"""Cross-entropy over balanced classes: logits in blocks, and the best value that such a structure reaches.

The K classes are split into groups; logits across groups are zero, so the objective is a sum over groups. Inside a
group of g classes the logits are one of
    simplex  beta (I - 11^T/g)           g-1 singular values beta               (a pair, g = 2, is the 2 x 2 block)
    circle   beta cos(2 pi (i-j)/g)      2 singular values g beta / 2
    alone    beta                        1 singular value beta                  (g = 1)
With M+1 factors (head and features) the least penalty for singular values s sqrt(n) is (M+1)/2 Lambda^(1/(M+1)) sum (s
sqrt(n))^(2/(M+1)): for deep heads rank is expensive, and low-rank structures may be better than the simplex over all
classes.
Source: Garrod and Keating 2024, "The persistence of neural collapse despite low-rank bias" (pairs, M >= 2); larger
groups and the circle are the same computation.
Groups with their own biases and logits across groups: ncrun.theory.mixed_groups.
"""

from dataclasses import dataclass

import numpy as np

from ncrun.theory.prediction import Array

# exp(-800) is zero in float64: beyond it the data term is flat and only the decay term grows.
LARGEST_GAIN = 800.0
GRID = np.geomspace(1e-7, LARGEST_GAIN, 300)


@dataclass(frozen=True)
class Block:
    """One group's structure as a function of its gain beta >= 0.

    Each of its classes has the data term log(1 + sum_j weights_j exp(-rates_j beta)) + smoothed beta; `multiplicity`
    singular values are scale * beta. smoothed: label smoothing times the own logit minus the mean of all, over beta.
    """

    size: int
    kind: str
    weights: Array
    rates: Array
    multiplicity: int
    scale: float
    smoothed: float = 0.0

    def data_term(self, beta: Array) -> Array:
        """Per class, (any shape) -> same shape."""
        return np.asarray(np.log1p(np.exp(-beta[..., None] * self.rates) @ self.weights) + self.smoothed * beta)

    def shape(self) -> Array:
        """(size, size): its logits at the gain 1."""
        places = np.arange(self.size)
        if self.kind == "circle":
            return np.asarray(np.cos(2 * np.pi * (places[:, None] - places) / self.size))
        return np.eye(self.size) - (1 / self.size if self.size > 1 else 0)

    def pull(self, beta: Array) -> Array:
        """Minus the derivative of the data term."""
        terms = np.exp(-beta[..., None] * self.rates)
        return np.asarray(terms @ (self.weights * self.rates) / (1 + terms @ self.weights) - self.smoothed)


def simplex_block(size: int, num_classes: int, smoothing: float = 0.0) -> Block:
    """A simplex over `size` of the classes; a single class is alone in its group."""
    if size == 1:
        smoothed = smoothing * (1 - 1 / num_classes)
        return Block(1, "alone", np.array([num_classes - 1.0]), np.array([1.0]), 1, 1.0, smoothed)
    weights, own = np.array([size - 1.0, num_classes - size]), 1 - 1 / size
    return Block(size, "simplex", weights, np.array([1.0, own]), size - 1, 1.0, smoothing * own)


def circle_block(size: int, num_classes: int, smoothing: float = 0.0) -> Block:
    """Classes at equal angles in a plane; for 2 and 3 classes that is the simplex."""
    rates = np.append(1 - np.cos(2 * np.pi * np.arange(1, size) / size), 1.0)
    weights = np.append(np.ones(size - 1), num_classes - size)
    return Block(size, "circle", weights, rates, 2, size / 2, smoothing)


def best_gain(block: Block, num_classes: int, count: float, penalties: Array, depth: int) -> tuple[Array, Array]:
    """The gain that minimises the group's share of the objective, and that minimum; zero if losing the group is best.

    penalties: (P,), each (M+1)/2 Lambda^(1/(M+1)). count: samples per class. Both results: (P,).
    """
    power = 2 / (depth + 1)
    price = penalties * block.multiplicity * (block.scale * count**0.5) ** power
    share = block.size / num_classes

    def value(beta: Array, price: Array) -> Array:
        return np.asarray(share * block.data_term(beta) + price * beta**power)

    on_grid = value(GRID, price[:, None])
    # Zero is compared at the end; near the threshold it would be lower than the grid although a minimum lies between
    # two points.
    inner = on_grid[:, 1:-1]
    dip = (inner <= on_grid[:, :-2]) & (inner <= on_grid[:, 2:])
    lowest = np.where(dip, inner, np.inf).argmin(axis=1) + 1
    low, high = GRID[lowest - 1], GRID[lowest + 1]
    for _ in range(60):  # the derivative changes its sign once between the neighbours of the lowest grid point
        middle = (low + high) / 2
        falling = share * block.pull(middle) > price * power * middle ** (power - 1)
        low, high = np.where(falling, middle, low), np.where(falling, high, middle)
    beta = (low + high) / 2
    silent = share * np.log(num_classes)
    found = value(beta, price)
    alive = found < silent
    return np.where(alive, beta, 0.0), np.where(alive, found, silent)


def collapse_penalty(block: Block, num_classes: int, count: float, depth: int) -> float:
    """The factor (M+1)/2 Lambda^(1/(M+1)) above which the structure is not better than zero logits."""
    power = 2 / (depth + 1)
    price = block.multiplicity * (block.scale * count**0.5) ** power
    if depth == 1:  # the gain falls to zero continuously
        return float(block.size / num_classes * float(block.pull(np.zeros(()))) / price)
    fine = np.geomspace(1e-7, LARGEST_GAIN, 200_000)  # a maximum: an error of its place by 1e-4 shifts it by 1e-8
    saved = block.size / num_classes * (np.log(num_classes) - block.data_term(fine))
    top = int((saved / fine**power).argmax())
    closer = np.linspace(fine[max(top - 1, 0)], fine[min(top + 1, len(fine) - 1)], 2001)
    saved = block.size / num_classes * (np.log(num_classes) - block.data_term(closer))
    return float((saved / closer**power).max() / price)


@dataclass(frozen=True)
class Structure:
    """A partition of the classes. blocks: kind and size of each group, largest first. value: its objective."""

    blocks: tuple[tuple[str, int], ...]
    value: float

    @property
    def name(self) -> str:
        """In words, such as "simplexes of 3 + 2 classes" or "circle of 10 classes"."""
        words = []
        for kind, title in (("simplex", "simplexes"), ("circle", "circles"), ("alone", "alone")):
            sizes = [size for k, size in self.blocks if k == kind]
            if sizes and kind == "alone":
                words.append(f"{len(sizes)} alone")
            elif sizes:
                noun = title if len(sizes) > 1 else kind
                words.append(f"{noun} of {' + '.join(map(str, sizes))} classes")
        if silent := sum(size for kind, size in self.blocks if kind == "silent"):
            words.append(f"{silent} with zero logits")
        return ", ".join(words)


def best_structures(
    num_classes: int, count: float, penalties: Array, depth: int, smoothing: float = 0.0
) -> list[Structure]:
    """The best partition for each factor, every group with its best structure. penalties: (P,)."""
    table: list[tuple[Array, list[str]]] = [(np.zeros(0), [])]  # for g = 1..K: values (P,), and their kind
    for size in range(1, num_classes + 1):
        blocks = [simplex_block(size, num_classes, smoothing)]
        if size >= 5:  # a circle of 4 is two pairs
            blocks.append(circle_block(size, num_classes, smoothing))
        found = [best_gain(block, num_classes, count, penalties, depth) for block in blocks]
        values = np.stack([value for _, value in found])
        which = values.argmin(axis=0)
        gains = np.stack([gain for gain, _ in found])
        kinds = [blocks[int(w)].kind if gains[int(w), i] > 0 else "silent" for i, w in enumerate(which)]
        table.append((values.min(axis=0), kinds))
    structures = []
    for i in range(len(penalties)):
        best: list[tuple[float, tuple[tuple[str, int], ...]]] = [(0.0, ())]
        for total in range(1, num_classes + 1):
            options = [(best[total - size][0] + float(table[size][0][i]), size) for size in range(1, total + 1)]
            value, size = min(options)
            best.append((value, (*best[total - size][1], (table[size][1][i], size))))
        value, parts = best[num_classes]
        structures.append(Structure(tuple(sorted(parts, key=lambda part: -part[1])), value))
    return structures
