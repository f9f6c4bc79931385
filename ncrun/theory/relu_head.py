"""The deep unconstrained features model: L weight matrices with a ReLU between them, squared loss, no bias.

Source: Sukenik, Mondelli and Lampert 2023 (arXiv 2305.13165), main theorem. Its optimum for K = 2 balanced classes,
deep neural collapse, has a separate chain for each class; its values and determined Gram matrices (after the ReLU, from
the second layer on) are those of a linear head of the same depth without bias. For K >= 3 chains are only a reference
value: Sukenik, Mondelli and Lampert 2024 (arXiv 2405.14468) show lower ones built on strongly regular graphs, and a
search finds more (ncrun.theory.witnesses). Zero is optimal at strong decay: docs/proofs.md.
"""

from dataclasses import dataclass, field, replace
from itertools import combinations
from math import comb, isqrt, sqrt

import numpy as np

from ncrun.problem import Problem
from ncrun.theory import squared_loss
from ncrun.theory.prediction import Array, Prediction, Reference, against_known
from ncrun.theory.products import geometric_mean, mean_decay
from ncrun.theory.squared_loss import global_border, kept_fraction
from ncrun.theory.theorem import DEEP, EITHER_SIGN, NO_BIAS, ONE_LAYER, REGULAR, WIDE, Condition, Theorem, kind
from ncrun.theory.witnesses import SEARCHED_CLASSES, SEARCHED_DEPTHS, SEARCHED_RATIOS, witnesses

SOURCE = "Sukenik, Mondelli and Lampert 2023, main theorem (deep unconstrained features, two balanced classes)"
SOURCE_CHAINS = "the deep neural collapse configuration of Sukenik, Mondelli and Lampert 2023, one chain for each class"
SOURCE_ONE_LAYER = "Dang et al. 2023, Theorems 1 and 3 (one linear layer)"
SOURCE_ZERO = "zero is optimal at decays this strong: docs/proofs.md"
SOURCE_GRAPH = "Sukenik, Mondelli and Lampert 2024, strongly regular graphs"
SOURCE_SEARCH = "a configuration found by scripts/search_relu_heads.py"
NOT_SEARCHED = "lower values were not searched"


def _one_layer(problem: Problem) -> Prediction:
    """Without a hidden layer there is no ReLU."""
    return replace(_chains(problem), problem=problem, source=SOURCE_ONE_LAYER)


def _zero(problem: Problem) -> Prediction:
    return replace(_from_chains(problem, _chains(problem)), claim="proven", source=SOURCE_ZERO)


def _deep(problem: Problem) -> Prediction:
    """The claimed optimum, one chain for each class, and known lower values."""
    geometry = replace(_from_chains(problem, _chains(problem)), source=SOURCE_CHAINS)
    if problem.num_classes == 2 and problem.is_balanced:
        return replace(geometry, claim="proven", source=SOURCE)
    if not problem.is_balanced:
        note = f"unequal class counts: one chain for each class, without a proof; {NOT_SEARCHED}"
        return replace(geometry, claim="open", note=note)
    if problem.feature_sign == "nonnegative":
        # The known lower configurations have features of both signs.
        note = (
            f"three or more classes on non-negative features: one chain for each class, without a proof; {NOT_SEARCHED}"
        )
        return replace(geometry, claim="open", note=note)
    looked = "scripts/search_relu_heads.py found no lower value" if _was_searched(problem) else NOT_SEARCHED
    note = f"three or more classes: one chain for each class, without a proof; {looked}"
    return against_known(geometry, *_alternatives(problem), "chains", note)


def _was_searched(problem: Problem) -> bool:
    """Whether the search covered this number of classes and depth, with decays on both sides."""
    K, M = problem.num_classes, problem.depth
    ratio = problem.counts[0] * (K * mean_decay(problem) / global_border(M)) ** (M + 1)
    return K in SEARCHED_CLASSES and M in SEARCHED_DEPTHS and SEARCHED_RATIOS[0] <= ratio <= 1


def _limit(problem: Problem) -> Prediction:
    """The limit at vanishing decay, up to scale, for plain weight decay."""
    shape = squared_loss.limit(replace(problem, head="linear"))
    if problem.depth == 1:
        return replace(shape, problem=problem)
    return replace(_from_chains(problem, shape), source=SOURCE_CHAINS)


def _chains(problem: Problem) -> Prediction:
    """The optimum of a linear head of the same depth."""
    return squared_loss.optimum(replace(problem, head="linear"))


def _from_chains(problem: Problem, chains: Prediction) -> Prediction:
    """The prediction from a linear head's optimum: W_L with its input, and every Gram matrix from layer 2 on."""
    inputs = (None, *(layer.feature_gram for layer in chains.layers[1:]))
    return replace(chains, problem=problem, layers=chains.layers[-1:], input_grams=inputs)


def _zero_is_proven(problem: Problem) -> bool:
    """Whether decay outweighs the gain of any outputs: docs/proofs.md."""
    if problem.feature_decay is None or not REGULAR.holds(problem):
        return False
    M, N = problem.depth, sum(problem.counts)
    return bool(mean_decay(problem) * N ** (1 / (M + 1)) >= global_border(M))


@dataclass(frozen=True)
class Family:
    """Configurations on `size` classes with outputs a * O, for any a >= 0.

    mean_cost: P^(1/(L+1)), the geometric mean of all L+1 squared factor norms at a = 1 with one sample for each class;
    at a the product P grows to P a^2.
    trace: tr O. norm_sq: ||O||_F^2. widths: the least dimension of the features and of each hidden layer.
    factors: H, W_1, .., W_L at some scale, whose outputs are a multiple of O.
    """

    size: int
    name: str
    source: str
    mean_cost: float
    trace: float
    norm_sq: float
    widths: tuple[int, ...]
    factors: tuple[Array, ...] = field(compare=False, repr=False)

    def kept(self, num_classes: int, decay: float, count: float, depth: int) -> float:
        """The best a, as a share of the one with the least error. decay: Lambda^(1/(L+1)). count: the samples of a
        class."""
        price = self._price(decay, count, depth)
        return float(kept_fraction(np.array(price * num_classes * self.norm_sq / self.trace**2), depth))

    def value(self, num_classes: int, decay: float, count: float, depth: int) -> float:
        """Its share of the objective at the best a."""
        kept = self.kept(num_classes, decay, count, depth)
        fit = self.size + self.trace**2 / self.norm_sq * ((1 - kept) ** 2 - 1)
        paid = self._price(decay, count, depth) * kept ** (2 / (depth + 1))
        return float(fit / (2 * num_classes) + (depth + 1) / 2 * paid)

    def _price(self, decay: float, count: float, depth: int) -> float:
        """Lambda^(1/(L+1)) P^(1/(L+1)) with the least error."""
        return float(decay * self.mean_cost * (count * (self.trace / self.norm_sq) ** 2) ** (1 / (depth + 1)))


def graph_family(size: int, depth: int) -> Family | None:
    """Classes as the edges of a complete graph on r vertices; None unless size = r (r-1) / 2 with r >= 4, L >= 3."""
    r = (1 + isqrt(1 + 8 * size)) // 2
    if comb(r, 2) != size or r < 4 or depth < 3:
        return None
    singular_values = sqrt(2 * (r - 1)) + (r - 1) * sqrt(r - 2)
    incidence = np.zeros((r, size))
    incidence[np.transpose(list(combinations(range(r), 2))), np.arange(size)] = 1
    left, values, right = np.linalg.svd(incidence, full_matrices=False)
    # An edge's neuron is 1 on its own edge and at most 0 on the others.
    first = (np.sqrt(values)[:, None] * right, left * np.sqrt(values), *(np.eye(r),) * (depth - 3))
    factors = (*first, np.where(incidence.T == 1, 0.5, -0.5), np.eye(size))
    cost = geometric_mean(singular_values, singular_values, *(float(r),) * (depth - 2), size**2 / 4)
    return Family(
        size,
        f"strongly regular graph on {size} classes",
        SOURCE_GRAPH,
        cost,
        size,
        size,
        (*(r,) * (depth - 1), size),
        factors,
    )


def _families(num_classes: int, depth: int) -> list[Family]:
    chain = Family(1, "chain", SOURCE_CHAINS, 1.0, 1.0, 1.0, (1,) * depth, (np.eye(1),) * (depth + 1))
    graphs = [graph_family(size, depth) for size in range(6, num_classes + 1)]
    found = [
        Family(
            w.num_classes,
            f"configuration found by search on {w.num_classes} classes",
            SOURCE_SEARCH,
            w.cost ** (1 / (depth + 1)),
            w.trace,
            w.norm_sq,
            w.widths,
            w.factors,
        )
        for w in witnesses(depth)
        if w.num_classes <= num_classes
    ]
    return [chain, *(graph for graph in graphs if graph is not None), *found]


@dataclass(frozen=True)
class Split:
    """A split of the classes into blocks. blocks: the family of each, the largest first. value: its objective."""

    blocks: tuple[Family, ...]
    value: float


def lowest_split(problem: Problem) -> tuple[Split, list[tuple[Family, float]]]:
    """The split of lowest value; and the families that fit into the head, each with its share of the objective.
    problem: with equal class counts."""
    K, M = problem.num_classes, problem.depth
    # Each family gets its classes' share of every layer, which is enough for any split into blocks.
    families = [
        family
        for family in _families(K, M)
        if all(need * K <= family.size * width for need, width in zip(family.widths, problem.widths, strict=True))
    ]
    values = [family.value(K, mean_decay(problem), problem.counts[0], M) for family in families]
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for total in range(1, K + 1):
        options = [
            (best[total - family.size][0] + value, i)
            for i, (family, value) in enumerate(zip(families, values, strict=True))
            if family.size <= total
        ]
        value, i = min(options)
        best.append((value, (*best[total - families[i].size][1], i)))
    value, chosen = best[K]
    blocks = tuple(families[i] for i in sorted(chosen, reverse=True))
    return Split(blocks, value), list(zip(families, values, strict=True))


def _alternatives(problem: Problem) -> tuple[Reference, tuple[Reference, ...]]:
    """The lowest value of any split of the classes; and references: this split, and every family for all classes."""
    K = problem.num_classes
    split, families = lowest_split(problem)
    names = [block.name for block in split.blocks if block.size > 1]
    chains = len(split.blocks) - len(names)
    names += [f"{chains} chain{'s' if chains > 1 else ''}"] if chains else []
    lowest = Reference(" + ".join(names), split.value, split.blocks[0].source, "upper-bound")
    references = {lowest.name: lowest} if chains < K else {}
    for family, whole in sorted(families, key=lambda pair: pair[1]):
        if family.size == K and family.name not in references:
            references[family.name] = Reference(family.name, whole, family.source, "upper-bound")
    return lowest, tuple(references.values())


ZERO = Condition("decays so strong that zero is optimal", _zero_is_proven)
NOT_ZERO = Condition("decays at which zero is not yet proven optimal", lambda problem: not _zero_is_proven(problem))
WIDE_OR_ONE_LAYER = Condition(f"{WIDE.words}, or {ONE_LAYER.words}", lambda p: WIDE.holds(p) or ONE_LAYER.holds(p))
FINITE = (*kind("mse", "relu", "features", EITHER_SIGN), NO_BIAS)
THEOREMS = (
    Theorem("relu-head-one-layer", (*FINITE, ONE_LAYER), _one_layer),
    Theorem("relu-head-zero", (*FINITE, DEEP, ZERO), _zero),
    Theorem("relu-head", (*FINITE, DEEP, NOT_ZERO, WIDE), _deep),
    Theorem("relu-head-limit", (*kind("mse", "relu", "parameters", EITHER_SIGN), NO_BIAS, WIDE_OR_ONE_LAYER), _limit),
)
