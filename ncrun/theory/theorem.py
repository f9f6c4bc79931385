"""A theorem: its conditions on a problem, each in plain words, and its prediction."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ncrun.losses import words_of
from ncrun.problem import Problem
from ncrun.theory.prediction import Prediction


@dataclass(frozen=True)
class Condition:
    """A condition of a theorem on a problem.

    words: what the problem must have, such as "equal class counts". holds: may rely on the problem being `POSED`.
    kind: whether a problem without it is of another kind (another loss, another head); then the message for "none" does
    not mention the theorem.
    """

    words: str
    holds: Callable[[Problem], bool]
    kind: bool = False


def _is_posed(problem: Problem) -> bool:
    counts = problem.counts
    classes = len(counts) >= 2 and all(0 < count < math.inf for count in counts)
    return classes and problem.targets is None and _has_widths(problem)


def _has_widths(problem: Problem) -> bool:
    return 0 < len(problem.widths) == problem.depth and min(problem.widths) >= 1


POSED = Condition("two classes or more, each with samples, and a width for each layer", _is_posed)
POSED_ON_TARGETS = Condition(
    "targets instead of classes, and a width for each layer",
    lambda problem: problem.targets is not None and not problem.counts and _has_widths(problem),
)


@dataclass(frozen=True)
class Theorem:
    """Covers the problems that are `POSED` and meet all of its conditions. No other theorem may cover one of them.

    key: its name in messages. prediction: for a covered problem. bound_only: whether it is only a bound or a direction,
    with claim "none". posed: `POSED`, or POSED_ON_TARGETS for a theorem about targets.
    """

    key: str
    conditions: tuple[Condition, ...]
    prediction: Callable[[Problem], Prediction]
    bound_only: bool = False
    posed: Condition = POSED

    def lacks(self, problem: Problem) -> list[Condition]:
        """The conditions that the problem does not meet."""
        if not self.posed.holds(problem):
            return [self.posed]
        return [condition for condition in self.conditions if not condition.holds(problem)]

    def covers(self, problem: Problem) -> bool:
        """Whether `predict` answers for this problem."""
        return self.posed.holds(problem) and all(condition.holds(problem) for condition in self.conditions)

    def predict(self, problem: Problem) -> Prediction:
        """Raises ValueError, with the reasons, for a problem that is not covered."""
        if lacking := self.lacks(problem):
            raise ValueError(f"{self.key} needs {', '.join(condition.words for condition in lacking)}")
        return self.prediction(problem)


def uncovered(problem: Problem, theorems: Iterable[Theorem]) -> Prediction:
    """Claim "none": the problem in words, and the missing condition of the theorems that lack only one."""
    posed = POSED if problem.targets is None else POSED_ON_TARGETS
    if not posed.holds(problem):
        return Prediction(problem, "none", "", note=f"no theorem covers a problem without {posed.words}")
    needs: dict[str, None] = {}
    for theorem in theorems:
        if theorem.posed is not posed:
            continue
        lacking = theorem.lacks(problem)
        if len(lacking) == 1 and not lacking[0].kind and not theorem.bound_only:
            needs[lacking[0].words] = None
    nearest = f"; the nearest needs {', or '.join(needs)}" if needs else ""
    return Prediction(problem, "none", "", note=f"no theorem covers: {_in_words(problem)}{nearest}")


def _in_words(problem: Problem) -> str:
    heads = {"linear": "linear head", "relu": "ReLU head"}
    signs = {"free": "free features", "nonnegative": "non-negative features"}
    modes = {"features": "", "parameters": "plain weight decay"}
    head = heads.get(problem.head, f"head '{problem.head}'")
    if problem.depth > 1:
        head += f" of {problem.depth} layers"
    narrowest, outputs = min(problem.widths), problem.num_outputs
    each = "classes" if problem.targets is None else "outputs"
    parts = [
        words_of(problem.loss),
        head if head != "linear head" else "",
        signs.get(problem.feature_sign, f"features '{problem.feature_sign}'"),
        "with a bias" if problem.bias else "no bias",
        modes.get(problem.decay_mode, f"decay mode '{problem.decay_mode}'"),
        _outputs_in_words(problem),
        "a decayed bias" if problem.bias_decay else "",
        "label smoothing" if problem.label_smoothing else "",
        "class weights" if problem.class_weights else "",
        "logit adjustment" if problem.logit_adjustment else "",
        "a decay of zero" if 0 in (*problem.weight_decays, problem.feature_decay) else "",
        f"a layer of width {narrowest} for {outputs} {each}" if narrowest < outputs else "",
    ]
    return ", ".join(filter(None, parts))


def _outputs_in_words(problem: Problem) -> str:
    if problem.targets is not None:
        return problem.targets.words
    return "equal class counts" if problem.is_balanced else "unequal class counts"


# --- conditions that several theorems share --------------------------------------------------------------------------


def _is_regular(problem: Problem) -> bool:
    decays = problem.weight_decays
    if problem.feature_decay is not None:
        decays = (*decays, problem.feature_decay)
    complete = problem.feature_decay is not None or problem.decay_mode == "parameters"
    return complete and all(0 < decay < math.inf for decay in decays)


REGULAR = Condition("positive decays (without them the objective has no minimiser)", _is_regular)
FREE = Condition("free features", lambda problem: problem.feature_sign == "free", kind=True)
NONNEGATIVE = Condition("non-negative features", lambda problem: problem.feature_sign == "nonnegative", kind=True)
EITHER_SIGN = Condition("features of a known sign", lambda p: p.feature_sign in ("free", "nonnegative"), kind=True)
BIAS = Condition("a bias", lambda problem: problem.bias)
UNDECAYED_BIAS = Condition("a bias without decay", lambda problem: not problem.bias_decay)
PLAIN_LOSS = Condition("a loss without weights, smoothing and adjustment", lambda problem: problem.has_plain_loss)
# Adjustment of equal counts adds one number to all logits, which changes nothing.
UNADJUSTED = Condition(
    "a loss without adjustment, or equal class counts", lambda p: not p.logit_adjustment or p.is_balanced
)
ADJUSTED = Condition("logit adjustment of unequal class counts", lambda p: not UNADJUSTED.holds(p))
NOT_SMOOTHED = Condition("no label smoothing", lambda problem: not problem.label_smoothing)
NO_BIAS = Condition("no bias", lambda problem: not problem.bias)
ONE_LAYER = Condition("a single layer", lambda problem: problem.depth == 1)
DEEP = Condition("two layers or more", lambda problem: problem.depth > 1)
BALANCED = Condition("equal class counts", lambda problem: problem.is_balanced)
WIDE = Condition("layers at least as wide as there are classes", lambda p: min(p.widths) >= p.num_classes)
WIDE_FOR_SIMPLEX = Condition("layers of width K - 1 or more", lambda p: min(p.widths) >= p.num_classes - 1)


def at_vanishing_decay(problem: Problem) -> str:
    """An addition to notes on the limit at vanishing decay, if options are set that do not change it."""
    if not problem.class_weights and not problem.logit_adjustment:
        return ""
    return "; class weights and adjustment change only the path to it"


def kind(loss: str, head: str, decay_mode: str, sign: Condition) -> tuple[Condition, ...]:
    """The conditions of theorems of the three papers: no options."""
    return (*kind_with_options(loss, head, decay_mode, sign), PLAIN_LOSS, UNDECAYED_BIAS)


def kind_with_options(loss: str, head: str, decay_mode: str, sign: Condition) -> tuple[Condition, ...]:
    """The conditions of a theorem with its own conditions on options of loss and bias."""
    return (
        Condition(words_of(loss), lambda problem: problem.loss == loss, kind=True),
        Condition(f"a {head} head", lambda problem: problem.head == head, kind=True),
        Condition(f"decay of {decay_mode}", lambda problem: problem.decay_mode == decay_mode, kind=True),
        sign,
        REGULAR,
    )
