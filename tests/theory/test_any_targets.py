"""The squared loss on any targets: the spectral formula against one-hot labels, against the paper's formula, and
against direct minimisation; and which theorem may answer for it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from free_feature_problems import random_targets
from free_features import Instance

from ncrun.targets import Targets
from ncrun.theory import THEOREMS, Prediction, Problem, predict
from ncrun.theory.directions import Directions
from ncrun.theory.report import as_json, as_table


def on_targets(values: np.ndarray, widths: tuple[int, ...], bias: bool, decay: float = 4e-3) -> Problem:
    """Decays that differ from layer to layer."""
    weights = tuple(decay * (m + 1) for m in range(len(widths)))
    return Problem("mse", (), widths, bias, weights, decay / 2, targets=Targets.of(values))


def directions(found: Prediction) -> Directions:
    assert found.directions is not None
    return found.directions


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(6,), (6, 5), (6, 3, 7)])
def test_one_hot_targets_are_classes(widths: tuple[int, ...], bias: bool) -> None:
    """All that is predicted of unequal classes, to the rounding of a matrix of condition 10: value, every layer's Gram
    matrices, logits and bias."""
    counts = (40, 20, 9, 4)
    labels = np.repeat(np.eye(4), counts, axis=0)
    problem = on_targets(labels, widths, bias)
    classes = predict(replace(problem, counts=tuple(map(float, counts)), targets=None))
    found = predict(problem)
    along = directions(found)
    assert (found.claim, found.is_lower_bound) == ("proven", True)
    assert found.objective == pytest.approx(classes.objective, rel=1e-14)
    assert found.data_term() == pytest.approx(classes.data_term(), rel=1e-12)
    assert found.bias == pytest.approx(classes.bias, abs=1e-15)
    centred = np.eye(4) - (found.bias[:, None] if found.bias is not None else 0)  # of each class' target
    assert along.output_map() @ centred == pytest.approx(classes.logits, abs=1e-13)
    for m, layer in enumerate(classes.layers):
        scale = np.abs(layer.weight_gram).max()
        assert along.weight_gram(m) == pytest.approx(layer.weight_gram, abs=1e-13 * scale)
        points = along.feature_root(m) @ centred
        assert points.T @ points == pytest.approx(layer.feature_gram, abs=1e-12 * np.abs(layer.feature_gram).max())


def test_one_layer_is_the_papers_formula() -> None:
    """Andriopoulos et al. 2024: W W^T = sqrt(N lam_H / lam_W) (Sigma^(1/2) - sqrt(N lam_H lam_W) I), positive part."""
    values = np.random.default_rng(3).standard_normal((50, 3)) @ np.diag([3.0, 1.0, 0.02]) + 7
    problem = on_targets(values, (5,), bias=True)
    assert problem.feature_decay is not None
    lam_w, lam_h = problem.weight_decays[0], problem.feature_decay
    variances, axes = np.linalg.eigh(np.cov(values.T, bias=True))
    inside = np.maximum(np.sqrt(variances) - np.sqrt(50 * lam_h * lam_w), 0)
    assert (inside > 0).tolist() == [False, True, True]
    expected = np.sqrt(50 * lam_h / lam_w) * (axes * inside) @ axes.T
    along = directions(predict(problem))
    assert along.weight_gram(0) == pytest.approx(expected, rel=1e-10, abs=1e-13)
    # A direction is given up where the formula's bracket is zero.
    border = np.sqrt(variances[::-1]) / np.sqrt(50 * lam_h * lam_w)
    assert along.decay_to_collapse == pytest.approx(border, rel=1e-9)
    for factor, lost in ((border[1] * 0.999, 1), (border[1] * 1.001, 2)):
        assert (directions(predict(problem.scaled(float(factor)))).kept == 0).sum() == lost


@pytest.mark.parametrize("seed", range(4))
def test_direct_minimisation_finds_no_lower_value(seed: int) -> None:
    """Features of every sample and all factors free, from many starts; more settings: scripts/verify_theory.py."""
    rng = np.random.default_rng([seed, 5])
    problem = random_targets(rng)
    found = predict(problem)
    best = Instance.on_targets(problem, rng).search(rng)[0]
    assert best.value == pytest.approx(found.objective, rel=1e-9)


def test_a_narrow_layer_drops_the_weakest_directions_and_tells_of_ties() -> None:
    values = np.random.default_rng(1).standard_normal((40, 3)) @ np.diag([4.0, 2.0, 1.0])
    found = predict(on_targets(values, (6, 2), bias=False))
    assert (directions(found).kept > 0).tolist() == [True, True, False]
    assert directions(found).decay_to_collapse[2] == 0
    tied = predict(on_targets(np.repeat(np.eye(3), 10, axis=0), (6, 2), bias=False))
    assert (tied.claim, tied.directions) == ("proven", None)
    assert "not determined" in tied.note
    rng = np.random.default_rng(2)
    best = Instance.on_targets(tied.problem, rng).search(rng)[0]
    assert best.value == pytest.approx(tied.objective, rel=1e-9)


def test_constant_targets_predict_nothing() -> None:
    """With a bias zero costs nothing at all, which no relative gap can be told from."""
    found = predict(on_targets(np.full((10, 2), 3.0), (4,), bias=True))
    assert (found.claim, found.directions) == ("none", None)


@pytest.mark.parametrize(
    ("changes", "claim", "words"),
    [
        ({"loss": "ce"}, "none", "cross-entropy"),
        ({"head": "relu"}, "none", "ReLU head"),
        ({"bias_decay": 1e-3}, "none", "a bias without decay"),
        ({"label_smoothing": 0.1}, "none", "a loss without weights"),
        ({"class_weights": (1.0, 2.0)}, "none", "a loss without weights"),
        ({"feature_sign": "nonnegative"}, "none", "a lower bound"),
        ({"feature_decay": None, "decay_mode": "parameters"}, "transferred", "vanishing decay"),
        ({"feature_decay": 0.0}, "none", "a decay of zero"),
        ({"counts": (20.0, 20.0)}, "none", "without targets instead of classes"),
        ({"widths": ()}, "none", "a width for each layer"),
    ],
)
def test_what_the_proof_does_not_say_is_not_claimed(changes: dict[str, object], claim: str, words: str) -> None:
    """And no theorem about classes answers."""
    problem = on_targets(np.random.default_rng(0).standard_normal((40, 2)), (4,), bias=True)
    found = predict(replace(problem, **changes))
    assert (found.claim, found.is_lower_bound) == (claim, False)
    assert words in found.note
    answering = [theorem.key for theorem in THEOREMS if theorem.covers(replace(problem, **changes))]
    assert all(key.startswith("targets") for key in answering)


def test_the_shape_at_vanishing_decay_is_approached() -> None:
    """Every layer's matrix, normalised, at decays 1e-9 times as strong."""
    values = np.random.default_rng(4).standard_normal((30, 3)) @ np.diag([3.0, 2.0, 1.0])
    problem = on_targets(values, (5, 4), bias=True)
    near = directions(predict(problem.scaled(1e-9)))
    shape = predict(replace(problem, weight_decays=(1e-3,) * 2, feature_decay=None, decay_mode="parameters"))
    for m in range(2):
        gram, limit = near.weight_gram(m), directions(shape).weight_gram(m)
        assert gram / np.linalg.norm(gram) == pytest.approx(limit / np.linalg.norm(limit), abs=1e-6)


def test_report_says_what_is_lost() -> None:
    values = np.random.default_rng(3).standard_normal((50, 3)) @ np.diag([3.0, 1.0, 0.02]) + 7
    found = predict(on_targets(values, (5,), bias=True))
    told = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert [entry["lost"] for entry in told["directions"]] == [False, False, True]
    assert told["classes"] == []
    assert told["directions"][0]["deviation"] == pytest.approx(
        np.sqrt(np.linalg.eigvalsh(np.cov(values.T, bias=True))[-1])
    )
    table = as_table(found)
    assert "targets of 3 numbers, 50 samples" in table
    assert "1 of 3 directions is lost" in table
    assert "LOST; kept below" in table
