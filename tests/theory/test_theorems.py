"""Which theorem answers for which problem: a whole grid of problems against the table of grades in the design."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ncrun.errors import UserError
from ncrun.theory import THEOREMS, Condition, Prediction, Problem, Theorem, predict
from ncrun.theory.theorem import POSED

EQUAL, UNEQUAL, TWO_EQUAL, TWO_UNEQUAL = (20.0,) * 4, (40.0, 20.0, 20.0, 3.0), (9.0, 9.0), (9.0, 4.0)


def grid(counts: tuple[tuple[float, ...], ...], decays: tuple[float, ...], depths: tuple[int, ...]) -> list[Problem]:
    """Every combination of what a Problem can say, words that nobody knows among them."""
    problems = []
    for classes, loss, sign, head, mode, bias, depth, decay, spare in itertools.product(
        counts,
        ("mse", "ce", "label_smoothing"),
        ("free", "nonnegative", "complex"),
        ("linear", "relu", "tanh"),
        ("features", "parameters", "half"),
        (False, True),
        depths,
        decays,
        (-2, -1, 0, 2),
    ):
        if len(classes) + spare > 0:
            widths = (len(classes) + 2,) * (depth - 1) + (len(classes) + spare,)
            feature = None if mode == "parameters" else decay
            problems.append(Problem(loss, classes, widths, bias, (decay,) * depth, feature, mode, sign, head))
    return problems


# What each theorem may claim, and where, as the design's table has it: rows by loss and head, columns by sign.
NONE: frozenset[str] = frozenset({"none"})
BETWEEN = frozenset({"certified", "open"})
PROVEN, SHAPE, CERTIFIED = frozenset({"proven"}), frozenset({"transferred"}), frozenset({"certified"})


def grades(problem: Problem) -> tuple[str | None, frozenset[str]]:
    """The theorem that has to answer (None: none may) and the grades that it may give."""
    K, one_layer, narrowest = problem.num_classes, problem.depth == 1, min(problem.widths)
    if 0 in (*problem.weight_decays, problem.feature_decay):
        return None, NONE
    match problem.loss, problem.head, problem.decay_mode, problem.feature_sign:
        case "mse", "linear", "features", "free":
            return "squared-loss", PROVEN
        case "mse" | "ce", "linear", "features", "nonnegative" if problem.bias and one_layer:
            narrow = narrowest <= K  # sharing takes one direction more than there are classes
            return f"relu-features-bias-{problem.loss}", CERTIFIED | NONE if narrow else CERTIFIED
        case "mse", "linear", "features", "nonnegative":
            return ("squared-loss-bound", NONE) if problem.bias else ("squared-loss", PROVEN)
        case "mse", "linear", "parameters", "free":
            return "squared-loss-limit", SHAPE
        case "mse" | "ce", "linear", "parameters", "nonnegative" if problem.bias and one_layer:
            alone = K == 2 and problem.is_balanced  # feature and bias may split the margin in any way
            known = NONE if alone else SHAPE | NONE if narrowest <= K else SHAPE
            return f"relu-features-bias-limit-{problem.loss}", known
        case "mse", "linear", "parameters", "nonnegative":
            return (None, NONE) if problem.bias else ("squared-loss-limit", SHAPE)
        case "ce", "linear", "features", "free" if problem.is_balanced:
            if narrowest < K - 1:
                return "cross-entropy-between", BETWEEN
            known = one_layer or K == 2
            return "cross-entropy-balanced", PROVEN if known else frozenset({"proven", "open", "refuted"})
        case "ce", "linear", "features", "free" if one_layer:
            wide = narrowest >= K - 1
            return "cross-entropy-one-layer", CERTIFIED if wide else BETWEEN
        case "ce", "linear", "features", "free":
            return "cross-entropy-between", BETWEEN
        case "ce", "linear", "parameters", "free" if narrowest >= K - 1:
            if problem.is_balanced:
                return "cross-entropy-limit", SHAPE
            step = one_layer and not problem.bias and len(set(problem.counts)) == 2
            return ("seli" if step else None), NONE
        case "ce", "linear", "features", "nonnegative" if one_layer and not problem.bias and narrowest >= K:
            return "relu-features", PROVEN
        case "ce", "linear", "parameters", "nonnegative" if one_layer and not problem.bias and narrowest >= K:
            return "relu-features-limit", SHAPE
        case "mse", "relu", "features", "free" | "nonnegative" if not problem.bias:
            if one_layer:
                return "relu-head-one-layer", PROVEN
            # Zero is optimal from (Lambda N)^(1/(M+1)) >= ((M-1)/M)^((M-1)/(M+1)) / M on: docs/proofs.md.
            M, N, decay = problem.depth, sum(problem.counts), problem.weight_decays[0]
            if decay * N ** (1 / (M + 1)) >= ((M - 1) / M) ** ((M - 1) / (M + 1)) / M:
                return "relu-head-zero", PROVEN
            if narrowest < K:
                return None, NONE
            if K == 2 and problem.is_balanced:
                return "relu-head", PROVEN
            lower = problem.is_balanced and problem.feature_sign == "free"
            return "relu-head", frozenset({"open", "refuted"} if lower else {"open"})
        case "mse", "relu", "parameters", "free" | "nonnegative" if not problem.bias and (one_layer or narrowest >= K):
            return "relu-head-limit", SHAPE
    return None, NONE


OPTIONS: list[dict[str, Any]] = [
    {"label_smoothing": 0.1},
    {"class_weights": (1.0, 2.0, 1.0, 1.0)},
    {"bias_decay": 0.1},
    {"label_smoothing": 0.1, "logit_adjustment": 1.0, "bias_decay": 0.1},
]


def grades_with_options(problem: Problem) -> tuple[str | None, frozenset[str]]:
    """The same for problems with an option of the loss or a decayed bias: of cross-entropy with a linear head, and of a
    decayed bias beside the squared loss."""
    if problem.decay_mode == "parameters":
        expected = grades(problem) if problem.loss == "ce" and not problem.bias_decay else (None, NONE)
        return (None, NONE) if problem.label_smoothing and expected[0] == "seli" else expected
    if 0 in (*problem.weight_decays, problem.feature_decay) or problem.decay_mode != "features":
        return None, NONE
    if problem.head != "linear" or problem.feature_sign not in ("free", "nonnegative"):
        return None, NONE
    weighted = bool(problem.class_weights)
    one_layer, nonnegative = problem.depth == 1, problem.feature_sign == "nonnegative"
    if problem.loss == "mse":
        if not (problem.bias and problem.has_plain_loss):
            return None, NONE
        if nonnegative:
            return grades(problem) if one_layer else ("squared-loss-decayed-bias-bound", NONE)
        unequal = CERTIFIED if one_layer else frozenset({"open", "certified"})
        return "squared-loss-decayed-bias", PROVEN if problem.is_balanced else unequal
    if problem.loss != "ce":
        return None, NONE
    if nonnegative and one_layer and not problem.bias and problem.logit_adjustment and not problem.is_balanced:
        return "relu-features-adjusted", CERTIFIED | NONE if min(problem.widths) <= problem.num_classes else CERTIFIED
    if not nonnegative and weighted and problem.is_balanced:
        wide = min(problem.widths) >= problem.num_classes - 1
        if not one_layer:
            return "cross-entropy-between", BETWEEN
        return "cross-entropy-one-layer", CERTIFIED if wide else BETWEEN
    return grades(problem)


@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_with_options_too_the_theorem_is_that_of_the_table(options: dict[str, Any]) -> None:
    """Every problem of the grid: which theorem answers. The grades of wide ones that are quick."""
    for problem in grid((EQUAL, UNEQUAL), (1e-3,), (1, 2)):
        posed = replace(problem, **options)
        answering = [theorem.key for theorem in THEOREMS if theorem.covers(posed)]
        expected, allowed = grades_with_options(posed)
        assert answering == ([] if expected is None else [expected]), posed
        if expected is not None and min(posed.widths) > posed.num_classes and (posed.depth == 1 or posed.is_balanced):
            assert predict(posed).claim in allowed, posed


def test_at_most_one_theorem_answers_and_it_is_the_one_of_the_table() -> None:
    for problem in grid((EQUAL, UNEQUAL, TWO_EQUAL, TWO_UNEQUAL), (1e-3, 0.5, 0.0), (1, 2, 3)):
        answering = [theorem.key for theorem in THEOREMS if theorem.covers(problem)]
        expected, _ = grades(problem)
        assert answering == ([] if expected is None else [expected]), problem


def test_every_grade_is_one_of_the_table() -> None:
    seen: dict[str, set[str]] = {theorem.key: set() for theorem in THEOREMS if theorem.posed is POSED}
    for problem in grid((EQUAL, UNEQUAL, TWO_EQUAL, TWO_UNEQUAL), (1e-3, 0.5), (1, 3)):
        key, allowed = grades(problem)
        if key is None:
            continue
        hard = problem.depth == 1 or problem.weight_decays[0] > 0.1 or problem.bias or min(problem.widths) < 2
        if key == "cross-entropy-between" and hard:
            continue  # each of these searches takes half a second
        claim = predict(problem).claim
        assert claim in allowed, problem
        seen[key].add(claim)
    for with_option in ("relu-features-adjusted", "squared-loss-decayed-bias", "squared-loss-decayed-bias-bound"):
        del seen[with_option]
    assert all(seen.values()), seen


def test_where_no_theorem_answers_nothing_is_claimed_and_the_problem_is_named() -> None:
    for problem in grid((EQUAL, UNEQUAL), (1e-3, 0.0), (1, 2)):
        if grades(problem)[0] is None:
            answer = predict(problem)
            assert answer == Prediction(problem, "none", "", note=answer.note)
            assert answer.note.startswith("no theorem covers: "), problem
            words = {"mse": "squared loss", "ce": "cross-entropy"}.get(problem.loss, problem.loss)
            assert words in answer.note


BIASED = Problem("ce", UNEQUAL, (6, 6), True, (1e-3, 1e-3), 1e-3, feature_sign="nonnegative")


@pytest.mark.parametrize(
    ("problem", "note"),
    [
        (
            BIASED,
            "no theorem covers: cross-entropy, linear head of 2 layers, non-negative features, with a bias,"
            " unequal class counts; the nearest needs a single layer",
        ),
        (
            replace(BIASED, loss="label_smoothing", feature_sign="free", bias=False),
            "no theorem covers: label_smoothing, linear head of 2 layers, free features, no bias, unequal class counts",
        ),
        (
            Problem("ce", (20.0,) * 300, (400, 400), False, (1e-3, 1e-3), 1e-3, class_weights=(2.0,) * 300),
            "no theorem covers: cross-entropy, linear head of 2 layers, free features, no bias, equal class counts,"
            " class weights; the nearest needs class weights of 1, or a single layer, or at most 200 classes",
        ),
        (
            Problem("mse", EQUAL, (6,), False, (0.0,), 1e-3),
            "no theorem covers: squared loss, free features, no bias, equal class counts, a decay of zero;"
            " the nearest needs positive decays (without them the objective has no minimiser)",
        ),
    ],
)
def test_the_note_says_what_is_missing(problem: Problem, note: str) -> None:
    assert predict(problem).note == note


GOOD = Problem("mse", EQUAL, (6, 6), False, (1e-3, 1e-3), 1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": ()},
        {"counts": (5.0,)},
        {"counts": (5.0, 0.0)},
        {"counts": (5.0, float("nan"))},
        {"widths": ()},
        {"widths": (6,)},
        {"widths": (6, 0)},
        {"weight_decays": ()},
        {"weight_decays": (1e-3, -1e-3)},
        {"weight_decays": (1e-3, float("inf"))},
        {"feature_decay": float("nan")},
        {"feature_decay": None},
        {"head": "Linear"},
        {"feature_sign": ""},
        {"decay_mode": "both"},
        {"loss": "MSE"},
    ],
)
@pytest.mark.parametrize("base", [GOOD, replace(GOOD, loss="ce"), replace(GOOD, head="relu")])
def test_what_is_not_a_posed_problem_is_never_proven(base: Problem, changes: dict[str, object]) -> None:
    assert predict(base).claim != "none"
    answer = predict(replace(base, **changes))  # type: ignore[arg-type]
    assert answer.claim == "none"
    assert answer.note.startswith("no theorem covers")


@pytest.fixture
def own_theorems() -> Iterator[None]:
    yield
    THEOREMS.forget_added()


def of_loss(loss: str) -> tuple[Condition, ...]:
    return (Condition(loss, lambda problem: problem.loss == loss, kind=True),)


def zero(problem: Problem) -> Prediction:
    return Prediction(problem, "proven", "my own", objective=1.0, bias=np.zeros(problem.num_classes))


@pytest.mark.usefixtures("own_theorems")
def test_a_theorem_of_the_users_answers_where_none_did() -> None:
    problem = replace(BIASED, loss="label_smoothing")
    own = THEOREMS.add(Theorem("mine", of_loss("label_smoothing"), zero))
    assert (predict(problem).claim, predict(problem).source) == ("proven", "my own")
    assert predict(BIASED).claim == "none"
    with pytest.raises(ValueError, match="mine needs label_smoothing"):
        own.predict(BIASED)
    with pytest.raises(UserError, match="theorem=mine: exists already"):
        THEOREMS.add(own)


@pytest.mark.usefixtures("own_theorems")
def test_two_theorems_for_one_problem_are_an_error() -> None:
    THEOREMS.add(Theorem("mine", of_loss("mse"), zero))
    with pytest.raises(AssertionError, match="squared-loss, mine all cover"):
        predict(GOOD)


def test_a_bound_is_not_what_a_reader_is_pointed_to() -> None:
    """Two class counts would give SELI, a direction; equal counts give a target."""
    problem = Problem("ce", (40.0, 20.0, 10.0), (6,), False, (1e-3,), None, decay_mode="parameters")
    assert predict(problem).note.endswith("; the nearest needs equal class counts")
