"""`ncrun.predict`: the command's numbers from arguments, as arrays, and what is refused. test_loaded.py sees that it
needs no torch."""

import json
from dataclasses import FrozenInstanceError
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from conftest import Command
from matplotlib import pyplot as plt

import ncrun as package
from ncrun.errors import UserError

COUNTS = [50, 30, 2, 1]
RELU = {"loss": "ce", "feature_sign": "nonnegative", "decay_weight": 2e-2, "decay_feature": 5e-3}


@pytest.mark.parametrize(
    ("overrides", "arguments"),
    [
        (["model=ufm_relu", "decay.weight=2e-2", "decay.feature=5e-3"], RELU),
        (
            ["model=ufm", "head.depth=3", "head.width=2", "decay.weight=[1e-3,2e-3,3e-3]", "decay.feature=1e-3"],
            {"depth": 3, "widths": [64, 2, 2], "decay_weight": [1e-3, 2e-3, 3e-3], "decay_feature": 1e-3},
        ),
        (
            ["model=dufm", "decay.weight=1e-3", "decay.feature=1e-3"],
            {"depth": 3, "head": "relu", "decay_weight": 1e-3, "decay_feature": 1e-3},
        ),
    ],
    ids=["relu features", "bottleneck", "relu head"],
)
def test_is_what_the_command_prints(overrides: list[str], arguments: dict[str, Any], ncrun: Command) -> None:
    """The default width is the models', so that the problems are the same, and every number with them."""
    words = [f"counts=[{','.join(map(str, COUNTS))}]", *overrides]
    found = package.predict(COUNTS, **arguments)
    assert json.loads(ncrun("theory", *words, "--json").out) == json.loads(json.dumps(found.as_json()))
    assert ncrun("theory", *words).out == f"{found}\n"


def test_arrays_are_the_prediction_and_cannot_be_written_to() -> None:
    found = package.predict(np.array(COUNTS), **RELU)
    whole = found.as_json()
    assert found.claim == "proven"
    for name in ("weight_gram", "feature_gram", "logits", "bias"):
        array = getattr(found, name)
        assert array.tolist() == whole[name]
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    margins = found.margins()
    assert margins is not None
    assert margins.tolist() == [entry["margin"] for entry in whole["classes"]] == list(found.table()["margin"])
    assert found.threshold == whole["threshold"] != ""
    with pytest.raises(FrozenInstanceError):
        found.claim = "none"  # type: ignore[misc]


def test_a_shape_without_a_scale() -> None:
    """Without decays: the simplex ETF, to the rounding of a K x K projection."""
    found = package.predict([7] * 4, "ce", bias=True)
    assert (found.claim, found.scale_free, found.margins()) == ("transferred", True, None)
    for gram in (found.weight_gram, found.feature_gram):
        assert gram is not None
        np.testing.assert_allclose(gram / gram[0, 0] * 0.75, np.eye(4) - 0.25, atol=1e-15)


def test_where_no_theorem_holds_there_is_no_number() -> None:
    found = package.predict([5, 4], "ce", depth=2, feature_sign="nonnegative", decay_weight=1e-3, decay_feature=1e-3)
    assert (found.claim, found.objective, found.weight_gram, found.feature_gram) == ("none", None, None, None)
    assert "no theorem covers" in found.note
    with pytest.raises(UserError, match=r"^no matrices to draw \(claim none\): no theorem covers"):
        found.plot()


def test_short_in_a_terminal_and_whole_in_a_notebook() -> None:
    found = package.predict(COUNTS, **RELU)
    assert repr(found) == "<ncrun.Prediction proven: 4 classes, cross-entropy, objective 0.504731>"
    shown = found._repr_html_()
    assert found.source in shown
    assert shown.count("<tr") == 1 + 1 + len(COUNTS)  # names of the columns, of the index, and a row for each class


def test_a_plot_leaves_the_programs_style_and_screen_alone() -> None:
    before, backend, figures = dict(mpl.rcParams), mpl.get_backend(), plt.get_fignums()
    drawn = package.predict(COUNTS, **RELU).plot()
    assert len(drawn.axes) == 4 + 3  # three matrices with their bars of colours, and the margins
    assert (dict(mpl.rcParams), mpl.get_backend(), plt.get_fignums()) == (before, backend, figures)
    assert len(package.predict([7] * 4, "ce").plot().axes) == 3 + 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"counts": [3]}, "counts: give the samples of at least two classes, such as counts=[100, 50, 10]"),
        ({"counts": [3, 0]}, "counts: class 1 must have a finite number of samples above 0, not 0"),
        ({"counts": [3, float("nan")]}, "counts: class 1 must have a finite number of samples above 0, not nan"),
        ({"counts": 5}, "counts=5: must be a list of numbers, one for each class"),
        ({"counts": [[1, 2], [3]]}, "counts=[[1, 2], [3]]: must be a list of numbers, one for each class"),
        ({"loss": "mee"}, "loss=mee: not one of mse, ce; did you mean 'mse'?"),
        ({"feature_sign": "relu"}, "feature_sign=relu: not one of free, nonnegative"),
        ({"head": "deep"}, "head=deep: not one of linear, relu"),
        ({"bias": 1}, "bias=1: must be True or False"),
        ({"depth": 0}, "depth=0: must be from 1 to 1000"),
        ({"depth": 1.0}, "depth=1.0: must be a whole number"),
        ({"decay_feature": 1e-3}, "decay_feature=0.001: needs decay_weight"),
        ({"decay_weight": "1", "decay_feature": 1}, "decay_weight='1': must be a number"),
        ({"decay_weight": -1}, "decay_weight=-1: must be finite and not negative"),
        (
            {"depth": 2, "decay_weight": [1, 2, 3]},
            "decay_weight: expected a number, or 2 of them, one for each layer; found 3",
        ),
        (
            {"depth": 2, "widths": [64]},
            "widths: expected a number, or 2 of them (the features' dimension, then the head's hidden widths); found 1",
        ),
    ],
    ids=str,
)
def test_refused(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        package.predict(**{"counts": [3, 3], **arguments})
    assert (type(error.value), str(error.value)) == (UserError, line)
