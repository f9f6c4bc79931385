"""The result of a theorem: the predicted geometry, and its claim (grade)."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ncrun.losses import loss_of
from ncrun.problem import Problem
from ncrun.theory.class_matrix import ClassMatrix
from ncrun.theory.directions import Directions
from ncrun.theory.exchangeable import Kinds
from ncrun.theory.symmetry import kinds_of

Array = NDArray[np.float64]

# A margin that is exactly zero has a few rounding errors of the largest logit.
MARGIN_ROUNDING = 1e-12
# A value is lower than a claim if the difference exceeds the rounding of two sums over the classes.
STRICTLY = 1e-10
PIECE = 2**21  # numbers of a K x K matrix that are checked at once

# The grades of claims, best first.
CLAIMS = {
    "proven": "a theorem",
    "certified": "a convex program with a duality gap",
    "refuted": "the paper claims it, but a lower value is known",
    "open": "claimed, neither proven nor refuted",
    "transferred": "a theorem about another objective, up to scale",
    "none": "no theorem covers this problem",
}


@dataclass(frozen=True)
class Reference:
    """A further known value or shape.

    kind: "upper-bound" (a configuration with that objective exists) or "limit" (a shape as decay vanishes: objective
    None, and never a target at finite decay).
    """

    name: str
    objective: float | None
    source: str
    kind: str


@dataclass(frozen=True)
class Tie:
    """Directions of equal strength at a bottleneck: the optimum keeps any `rank`-dimensional subspace of them.

    They are the axes of some of the K classes, `classes`; if centred, the subspace orthogonal to their sum. The kept
    subspace adds value * P to a layer's matrix, where P is a projection of this rank inside their span; the three
    values are per layer, in the order of `Prediction.layers`.
    """

    num_classes: int
    classes: NDArray[np.int64]
    centred: bool
    rank: int
    weight_values: tuple[float, ...]
    feature_values: tuple[float, ...]
    logit_value: float

    @property
    def basis(self) -> Array:
        """(K, m) orthonormal, m > rank: the span."""
        return self.outside(np.eye(len(self.classes) - self.centred))

    def inside(self, vectors: Array) -> Array:
        """(K, c) -> (m, c): basis^T vectors."""
        found = vectors[self.classes]
        return self._reflected(found)[1:] if self.centred else found

    def outside(self, coefficients: Array) -> Array:
        """(m, c) -> (K, c): basis times coefficients."""
        found = np.zeros((self.num_classes, coefficients.shape[1]))
        if self.centred:
            coefficients = self._reflected(np.vstack((np.zeros((1, coefficients.shape[1])), coefficients)))
        found[self.classes] = coefficients
        return found

    def _reflected(self, vectors: Array) -> Array:
        """By the reflection that exchanges the first axis and the direction of all ones."""
        between = np.full(len(vectors), -(len(vectors) ** -0.5))
        between[0] += 1
        return np.asarray(vectors - np.outer(between, between @ vectors) * (2 / (between @ between)))


@dataclass(frozen=True, eq=False)
class LayerTarget:
    """One suffix of the head, W_M..W_m, and its input, all K x K.

    With a `Tie` these hold only the part that the optimum determines.
    weights: (W_M..W_m)(W_M..W_m)^T; weight_gram: the same as a whole array.
    features: Gram matrix of the class means of the suffix' input; feature_gram: the same as a whole array.
    """

    weights: ClassMatrix
    features: ClassMatrix

    @property
    def weight_gram(self) -> Array:
        return self.weights.array

    @property
    def feature_gram(self) -> Array:
        return self.features.array


@dataclass(frozen=True, eq=False)
class OnMeans:
    """The loss of the class means at the optimum, by class. margins, costs: (K,). largest: of all logits."""

    margins: Array
    costs: Array
    largest: float


@dataclass(frozen=True)
class Prediction:
    """The predicted global optimum of a `Problem`. Norms and Gram matrices are in the units of the objective, not
    normalised; Gram matrices of class means are not centred.

    claim: its grade, a key of CLAIMS. source: the paper and its theorem, or "". layers: one target per head layer m =
    1..M; layers[0] is the whole head. Empty if claim is "none". A ReLU head has only one target: W_L and its input
    relu(H_L). input_grams: for a ReLU head, Gram matrices of the class means that layer l = 1..L reads, after the ReLU;
    None for l = 1, which the optimum does not determine. class_logits: (K, K), column k = W_M..W_1 times the mean
    feature of class k, without the bias; logits: the same as a whole array. bias: (K,), zero without a bias. objective:
    the optimum's value, a lower bound for every network if proven or certified (also with claim "none", if the note
    says so); the claimed value if refuted or open; None if nothing is known. duality_gap: for a certified optimum,
    objective minus its certified lower bound. lower_bound: a proven one, if the objective itself is not proven; else
    None. best_known: the lowest known value if it is below the claim; references: all known values. scale_free: whether
    the matrices are determined only up to scale (claim "transferred"). decay_to_collapse: (K,), the factor on all
    decays at which a class' margin reaches zero; nan if undetermined. decay_to_vanish: (K,), the factor up to which a
    local minimum keeps the class after it is lost at the optimum; None if there is no such minimum, or none is known.
    mean_rank: rank of the class means minus their sample-weighted mean; None if undetermined. directions: for a problem
    with targets, the optimum along their principal directions; then all entries by class are empty. note: one important
    sentence about the numbers, or "".
    """

    problem: Problem
    claim: str
    source: str
    layers: tuple[LayerTarget, ...] = ()
    input_grams: tuple[Array | None, ...] = ()
    class_logits: ClassMatrix | None = None
    bias: Array | None = None
    objective: float | None = None
    duality_gap: float | None = None
    lower_bound: float | None = None
    best_known: Reference | None = None
    references: tuple[Reference, ...] = ()
    scale_free: bool = False
    tie: Tie | None = None
    decay_to_collapse: Array | None = None
    decay_to_vanish: Array | None = None
    mean_rank: int | None = None
    directions: Directions | None = None
    note: str = ""

    @property
    def determined(self) -> bool:
        """Whether the optimum fixes the norms and logits of all classes, with their scale."""
        return bool(self.layers) and self.tie is None and not self.scale_free

    @property
    def is_lower_bound(self) -> bool:
        """Whether the objective is a lower bound for all networks."""
        return self.claim in ("proven", "certified") and self.objective is not None

    def data_term(self) -> float | None:
        """The data term at the optimum, or None if the optimum does not determine it."""
        if self.directions is not None and not self.scale_free:
            return self.directions.squared_error() / (2 * self.problem.num_samples)
        if self._on_means is None:
            return None
        counts = np.asarray(self.problem.counts)
        return float(counts @ self._on_means.costs / counts.sum())

    def margins(self) -> Array | None:
        """(K,): z_kk - max_j z_jk with the bias, or None if the optimum does not determine them."""
        return None if self._on_means is None else self._on_means.margins

    def collapsed(self) -> list[bool | None]:
        """Per class, whether its margin is zero or below, so that the class is lost. None if the optimum does not
        determine it."""
        found = self._on_means
        if found is None:
            return [None] * self.problem.num_classes
        return [bool(gone) for gone in found.margins <= MARGIN_ROUNDING * found.largest]

    @cached_property
    def _on_means(self) -> OnMeans | None:
        """Computed from one class of each kind, some kinds at a time."""
        if not self.determined or self.class_logits is None or self.bias is None:
            return None
        logits, bias, loss = self.class_logits, self.bias, loss_of(self.problem)
        kinds = Kinds.of(np.column_stack((kinds_of(self.problem), logits.of_class, logits.own, bias)))
        margins, costs, largest = [], [], 0.0
        for classes in np.array_split(kinds.members, 1 + len(kinds.members) * len(bias) // PIECE):
            scores = logits.columns(classes) + bias[:, None]
            costs.append(loss.on_some_means(scores, classes))
            largest = max(largest, float(np.abs(scores).max()))
            margins.append(class_margins(scores, classes))
        return OnMeans(np.concatenate(margins)[kinds.of_class], np.concatenate(costs)[kinds.of_class], largest)

    @property
    def logits(self) -> Array | None:
        """(K, K), or None: `class_logits` as a whole array."""
        return None if self.class_logits is None else self.class_logits.array

    def merged_with(self) -> list[list[int]]:
        """Per class, the other classes whose predicted feature means coincide with its own."""
        K = self.problem.num_classes
        if not self.determined:
            return [[] for _ in range(K)]
        gram = self.layers[0].features
        norms = gram.own
        bound = 1e-12 * max(float(norms.max()), np.finfo(float).tiny)
        found: list[list[int]] = []
        rows = max(PIECE // K, 1)
        for start in range(0, K, rows):
            part = slice(start, start + rows)
            same = norms[part, None] + norms - 2 * gram[part] <= bound
            found += [[j for j in np.flatnonzero(each).tolist() if j != start + k] for k, each in enumerate(same)]
        return found


def against_known(
    geometry: Prediction, best: Reference, references: tuple[Reference, ...], shape: str, open_note: str
) -> Prediction:
    """A claimed optimum without a proof: refuted by a lower value if one is known, else open.

    shape: the claimed shape, for the note on a refuted claim. open_note: the note on an open one.
    """
    assert geometry.objective is not None
    if best.objective is None or best.objective >= geometry.objective * (1 - STRICTLY):
        return replace(geometry, claim="open", references=references, note=open_note)
    note = f"{best.name}: the lower value {best.objective:.8g} is known; wide networks may still reach the {shape}"
    return replace(geometry, claim="refuted", best_known=best, references=references, note=note)


def without_margin(scores: Array) -> NDArray[np.bool_]:
    """(K,): whether a class' margin is zero, to rounding, or negative. scores: (K, K), as in class_margins."""
    return np.asarray(class_margins(scores) <= MARGIN_ROUNDING * np.abs(scores).max())


def class_margins(scores: Array, classes: NDArray[np.int64] | None = None) -> Array:
    """(B,): each class' own logit minus its largest other one. scores: (K, B), a column of logits for the mean of each
    of these classes (default: all K)."""
    own = np.arange(len(scores)) if classes is None else classes, np.arange(scores.shape[1])
    others = scores.copy()
    others[own] = -np.inf
    return np.asarray(scores[own] - others.max(axis=0))
