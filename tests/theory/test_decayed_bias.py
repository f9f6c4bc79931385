"""Squared loss with a decayed bias: against an independent search, at both ends of its path, and its bounds."""

from dataclasses import replace

import numpy as np
import pytest
from free_features import Instance
from posed import assert_shape, make, simplex

from ncrun.theory import Problem, predict
from ncrun.theory.decayed_bias import lower_bound

RARE = (30, 10, 10, 2)


def posed(counts: tuple[float, ...], depth: int, bias_decay: float, strength: float = 0.12) -> Problem:
    """strength: of the decays, in units of the largest class."""
    decay = strength * max(counts) ** (depth / (depth + 1)) / sum(counts)
    return make(counts, depth, decay, bias=True, bias_decay=bias_decay)


@pytest.mark.parametrize("bias_decay", [0.02, 0.3, 3.0])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("counts", [(8, 8, 8), RARE], ids=["equal", "unequal"])
def test_the_search_finds_the_predicted_optimum(counts: tuple[float, ...], depth: int, bias_decay: float) -> None:
    """Value to 1e-10, bias and logits to 1e-6: where L-BFGS stops. Deep and unequal it is open, and never lower."""
    problem = posed(counts, depth, bias_decay)
    found = predict(problem)
    assert found.claim == {1: "certified"}.get(depth, "open") if counts == RARE else found.claim == "proven"
    assert found.objective is not None
    assert found.logits is not None
    assert found.bias is not None
    best = Instance.by_class(problem).search(np.random.default_rng(0), found.logits)[0]
    assert best.value == pytest.approx(found.objective, rel=1e-10)
    assert best.bias == pytest.approx(found.bias, abs=1e-6)
    assert np.abs(best.logits() - found.logits).max() < 1e-6
    assert lower_bound(problem) <= found.objective


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("counts", [(8, 8, 8), RARE], ids=["equal", "unequal"])
def test_its_ends_are_an_undecayed_bias_and_none(counts: tuple[float, ...], depth: int) -> None:
    """At lam_b = 1e-9 and 1e9 value and matrices differ by that order from those of the known theorems."""
    for bias_decay, end in ((1e-9, {"bias_decay": 0.0}), (1e9, {"bias_decay": 0.0, "bias": False})):
        near = posed(counts, depth, bias_decay)
        found, known = predict(near), predict(replace(near, **end))
        assert found.objective == pytest.approx(known.objective, rel=1e-7)
        assert found.bias == pytest.approx(known.bias, abs=1e-7)
        for layer, other in zip(found.layers, known.layers, strict=True):
            assert_shape(layer.weight_gram, other.weight_gram, 1e-6)
            assert_shape(layer.feature_gram, other.feature_gram, 1e-6)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_simplex_is_exact_up_to_a_bias_decay(depth: int) -> None:
    """A per cent below the border that the note tells the head is a simplex (1e-12), a per cent above it is not."""
    note = predict(posed((8, 8, 8), depth, 1e-3)).note
    border = float(note.rsplit("decay.bias = ", 1)[1])
    for factor, exact in ((0.99, True), (1.01, False)):
        gram = predict(posed((8, 8, 8), depth, border * factor)).layers[0].weight_gram
        distance = np.linalg.norm(gram / np.linalg.norm(gram) - simplex(3) / np.sqrt(2))
        assert (distance < 1e-12) == exact


@pytest.mark.parametrize("width", [2, 3, 4])
def test_a_bottleneck_drops_the_direction_of_all_ones_first(width: int) -> None:
    """Four equal classes, two layers: nothing that the search finds is lower (1e-10: where it stops)."""
    problem = replace(posed((8, 8, 8, 8), 2, 2.0), widths=(6, width))
    found = predict(problem)
    best = Instance.by_class(problem).search(np.random.default_rng(1), None)[0]
    assert best.value == pytest.approx(found.objective, rel=1e-10)
    assert (found.tie is not None) == (width == 2)


def test_what_it_does_not_cover_is_none() -> None:
    """Deep heads on features after a ReLU have a bound; plain weight decay a shape that says what it leaves out."""
    deep = replace(posed(RARE, 2, 0.3), feature_sign="nonnegative")
    assert predict(deep).claim == "none"
    assert predict(deep).objective == lower_bound(deep)
    for changes in ({"head": "relu"}, {"bias": False}, {"decay_mode": "half"}):
        assert predict(replace(posed(RARE, 2, 0.3), **changes)).claim == "none"
    plain = replace(posed(RARE, 2, 0.0), feature_decay=None, decay_mode="parameters")
    assert "here the bias decays like all parameters" in predict(plain).note


def test_many_classes_of_few_sizes_are_quick() -> None:
    """Classes of one size share one bias: 300 classes of two sizes are a problem in two numbers, certified."""
    counts = tuple([60.0] * 200 + [20.0] * 100)
    found = predict(posed(counts, 1, 0.01, strength=0.3))
    assert found.claim == "certified"
    assert found.bias is not None
    assert len(set(found.bias.tolist())) == 2
