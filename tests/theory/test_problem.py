"""The problem as JSON: nothing is lost, and nothing else is taken for a problem."""

import json
from dataclasses import asdict, replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ncrun.losses import LOSSES
from ncrun.objective import Objective
from ncrun.problem import ADDED, Problem
from ncrun.targets import Targets

PROBLEM = Problem("mse", (50.0, 20.5, 1.0), (7, 4), True, (5e-4, 0.1), 1e-300)


def number(**limits: Any) -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False, **limits)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    depth = draw(st.integers(1, 4))
    counts = tuple(draw(st.lists(number(min_value=0, exclude_min=True, max_value=1e9), min_size=1, max_size=5)))
    return Problem(
        loss=draw(st.sampled_from(["mse", "ce", "label_smoothing"])),
        counts=counts,
        widths=tuple(draw(st.lists(st.integers(1, 10**6), min_size=depth, max_size=depth))),
        bias=draw(st.booleans()),
        weight_decays=tuple(draw(st.lists(number(min_value=0, max_value=1e9), min_size=depth, max_size=depth))),
        feature_decay=draw(st.none() | number(min_value=0, max_value=1e9)),
        decay_mode=draw(st.sampled_from(["features", "parameters"])),
        feature_sign=draw(st.sampled_from(["free", "nonnegative"])),
        head=draw(st.sampled_from(["linear", "relu"])),
        free_features=draw(st.booleans()),
        bias_decay=draw(number(min_value=0, max_value=1e9)),
        label_smoothing=draw(st.sampled_from([0.0, 0.1])),
        class_weights=draw(st.just(()) | st.just((1.5,) * len(counts))),
        logit_adjustment=draw(number(min_value=0, max_value=3)),
    )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(problems())
def test_round_trip_is_exact(problem: Problem) -> None:
    """To the last bit, through the text of a file."""
    assert Problem.from_json(json.loads(json.dumps(problem.as_json(), allow_nan=False))) == problem


JUNK = [None, True, False, 0, -1, 1.5, 10**400, float("nan"), float("inf"), "", "7", [], [None], [True], [[1]], {}]
FIT = {  # the junk that is a value of that entry after all
    "loss": ["7"],
    "decay_mode": ["7"],
    "feature_sign": ["7"],
    "head": ["7"],
    "bias": [True, False],
    "free_features": [True, False],
    "feature_decay": [None, 0, 1.5],
    "bias_decay": [0, 1.5],
    "label_smoothing": [0, 1.5],
    "class_weights": [[]],
    "logit_adjustment": [0, 1.5],
    "targets": [None],
}


@pytest.mark.parametrize("key", asdict(PROBLEM))
def test_what_is_no_problem_is_refused_by_the_name_of_its_entry(key: str) -> None:
    content = PROBLEM.as_json()
    for junk in JUNK:
        changed = {**content, key: junk}
        if any(junk is value or (type(junk) is type(value) and junk == value) for value in FIT.get(key, [])):
            assert {**asdict(PROBLEM), **Problem.from_json(changed).as_json()}[key] in (junk, ())
            continue
        with pytest.raises(ValueError, match=f"^{key}: "):
            Problem.from_json(changed)
    if key in ADDED:  # earlier records do not have it
        assert Problem.from_json(content) == PROBLEM
        return
    with pytest.raises(ValueError, match=f"^{key}: is missing"):
        Problem.from_json({k: v for k, v in content.items() if k != key})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("counts", [3, 0]),
        ("counts", [3, -1]),
        ("counts", [3, "4"]),
        ("widths", [7]),
        ("widths", [7, 4, 4]),
        ("widths", [7, 4.0]),
        ("widths", [7, 0]),
        ("weight_decays", [0.1, -0.1]),
        ("weight_decays", [0.1, float("nan")]),
    ],
)
def test_lists_are_looked_into(key: str, value: list[Any]) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        Problem.from_json({**PROBLEM.as_json(), key: value})


ON_TARGETS = replace(PROBLEM, counts=(), targets=Targets.of(np.random.default_rng(0).standard_normal((9, 3)) + 5))


def test_targets_in_place_of_classes() -> None:
    """Nothing of them is lost in a file; what is about classes fails."""
    content = json.loads(json.dumps(ON_TARGETS.as_json(), allow_nan=False))
    assert Problem.from_json(content) == ON_TARGETS
    assert (ON_TARGETS.num_outputs, ON_TARGETS.num_samples, ON_TARGETS.num_classes) == (3, 9, 0)
    assert Objective.of(ON_TARGETS).num_samples == 9
    with pytest.raises(ValueError, match="empty"):
        assert ON_TARGETS.is_balanced
    with pytest.raises(ZeroDivisionError):
        ON_TARGETS.balanced()
    with pytest.raises(ValueError, match=r"^counts: must be an empty list"):
        Problem.from_json({**content, "counts": [3, 3]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_samples", 0),
        ("num_samples", 9.0),
        ("mean", []),
        ("mean", [1.0, 2.0]),
        ("mean", [1.0, 2.0, float("nan")]),
        ("covariance", [[1.0] * 3] * 2),
        ("covariance", [[1.0] * 2] * 3),
        ("covariance", [[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        ("covariance", [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        ("colour", "red"),
    ],
)
def test_what_are_no_moments_is_refused(key: str, value: Any) -> None:
    content = ON_TARGETS.as_json()
    with pytest.raises(ValueError, match=r"^targets: "):
        Problem.from_json({**content, "targets": {**content["targets"], key: value}})


@pytest.mark.parametrize("content", [*JUNK, [1, 2]])
def test_other_things_than_entries_are_refused(content: object) -> None:
    with pytest.raises(ValueError, match=r"^(a problem|loss): "):
        Problem.from_json(content)
    with pytest.raises(ValueError, match=r"^colour: a problem has no such entry"):
        Problem.from_json({**PROBLEM.as_json(), "colour": "red"})


def test_its_objective_is_that_of_its_samples() -> None:
    """N is the sum of the counts, also of the balanced baseline, whose counts may be fractions that round."""
    problem = replace(PROBLEM, counts=(4.0, 2.0, 1.0))
    assert Objective.of(problem) == Objective(LOSSES["mse"], "features", (5e-4, 0.1), 1e-300, 7)
    assert Objective.of(problem.balanced()).num_samples == 7
    assert np.sum(problem.balanced().counts) == pytest.approx(7, rel=1e-15)
