"""The options of a loss as users give them: checks, numbers and words.

Configuration keys and Python arguments have the same names, so both get the same messages.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ncrun.errors import UserError, nearest
from ncrun.losses.loss import Loss
from ncrun.problem import Problem

BALANCED = "balanced"


@dataclass(frozen=True)
class Options:
    """label_smoothing: the share of each label that is spread evenly over all classes, in [0, 1).
    class_weights: a weight for each class, or "balanced": N / (K n_k), scikit-learn's; None: all 1.
    logit_adjustment: tau >= 0: training adds tau log(n_k / N) to the logits (Menon et al. 2021, with tau = 1).
    """

    label_smoothing: float = 0.0
    class_weights: str | Sequence[float] | None = None
    logit_adjustment: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.class_weights, Iterable) and not isinstance(self.class_weights, str | Mapping):
            object.__setattr__(self, "class_weights", tuple(self.class_weights))

    @property
    def in_use(self) -> dict[str, Any]:
        """Those that change the loss, by name."""
        given = {"label_smoothing": self.label_smoothing, "logit_adjustment": self.logit_adjustment}
        found = {name: value for name, value in given.items() if value != 0}
        return found if self.class_weights is None else {**found, "class_weights": self.class_weights}

    @property
    def need_counts(self) -> bool:
        """Whether the loss of a sample depends on how many samples the classes have."""
        return self.logit_adjustment != 0 or self.class_weights == BALANCED

    def check(self, loss: Loss, num_classes: int) -> None:
        """Raises UserError, in one line, for an option that the loss does not have, for a value that is not a number or
        out of bounds, and for weights that are not one for each class."""
        for name, value in self.in_use.items():
            if not loss.takes_options:
                raise UserError(f"{name}={value}: has no effect with loss={loss.key}, which has no such option")
        smoothing = _number("label_smoothing", self.label_smoothing)
        if not 0 <= smoothing < 1:
            raise UserError(f"label_smoothing={smoothing:g}: must lie in [0, 1)")
        tau = _number("logit_adjustment", self.logit_adjustment)
        if not 0 <= tau < math.inf:
            raise UserError(f"logit_adjustment={tau:g}: must be finite and not negative")
        self._weights(num_classes)

    def posed(self, problem: Problem, loss: Loss) -> Problem:
        """The problem with these options. Options that change nothing are dropped: weights of 1, and an adjustment of
        equal counts, which adds the same to all logits. Raises UserError as `check` does."""
        self.check(loss, problem.num_classes)
        weights = balanced_weights(problem.counts)
        if self.class_weights != BALANCED:
            weights = self._weights(problem.num_classes)
        return replace(
            problem,
            label_smoothing=float(self.label_smoothing),
            class_weights=() if set(weights) == {1.0} else weights,
            logit_adjustment=0.0 if not self.logit_adjustment or problem.is_balanced else float(self.logit_adjustment),
        )

    def on(self, loss: Loss, counts: Sequence[float]) -> Loss:
        """The loss under these options. counts: (K,), of the training samples. Raises UserError as `check` does."""
        return loss.with_options(self.posed(Problem(loss.key, tuple(counts), (1,), False, (1.0,), 1.0), loss))

    def _weights(self, num_classes: int) -> tuple[float, ...]:
        """Raises UserError. All 1 if the weights depend on the counts."""
        given = self.class_weights
        if given is None or given == BALANCED:
            return (1.0,) * num_classes
        wanted = f"must be {BALANCED} or a list of {num_classes} positive numbers, one for each class"
        if not isinstance(given, tuple):
            raise UserError(f"class_weights={given}: {wanted}{nearest(str(given), [BALANCED])}")
        numbers = tuple(_number("class_weights", each) for each in given)
        if len(numbers) != num_classes:
            raise UserError(f"class_weights: has {len(numbers)} entries; {wanted}")
        for k, number in enumerate(numbers):
            if not 0 < number < math.inf:
                raise UserError(f"class_weights: the weight of class {k} must be finite and positive, not {number:g}")
        return numbers


def balanced_weights(counts: Sequence[float]) -> tuple[float, ...]:
    """N / (K n_k): every class has the same weight in the data term, and the weights of all samples sum to N."""
    N, K = sum(counts), len(counts)
    return tuple(N / (K * count) for count in counts)


def in_words(problem: Problem) -> list[str]:
    """The options of a problem's loss, each in a few words."""
    weights, found = problem.class_weights, []
    if weights:
        balanced = balanced_weights(problem.counts)
        same = all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(weights, balanced, strict=True))
        found.append("balanced class weights" if same else f"class weights {min(weights):.3g} to {max(weights):.3g}")
    if problem.label_smoothing:
        found.append(f"label smoothing {problem.label_smoothing:g}")
    if problem.logit_adjustment:
        found.append(f"logit adjustment {problem.logit_adjustment:g}")
    return found


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool | str):
            raise TypeError
        return float(value)  # also for entries of a tensor or an array
    except (TypeError, ValueError):
        raise UserError(f"{name}={value}: must be a number") from None
