"""The claim in one picture: the points are records beside theory, and what does not fit is named."""

from collections.abc import Sequence
from dataclasses import replace
from math import hypot, sqrt

import numpy as np
import pytest
from figure_runs import Runs, caption_of, with_metrics
from matplotlib.figure import Figure

from ncrun.errors import UserError
from ncrun.figures import DRAWINGS, diagonal, diagonal_points
from ncrun.records.read import Record
from ncrun.theory import predict

pytestmark = pytest.mark.usefixtures("closed")


def drawn(figure: Figure, column: int) -> list[tuple[float, float]]:
    """All points of one of the upper panels, sorted."""
    lines = [line for line in figure.axes[column].lines if line.get_linestyle() == "None"]
    return sorted((float(x), float(y)) for line in lines for x, y in np.transpose(line.get_data()))


def expected(records: Sequence[Record]) -> list[list[tuple[float, float]]]:
    """Norms, margins and cosines, number by number from what the files say."""
    norms, margins, angles = [], [], []
    for record in records:
        classes, last, shown = record.theory["classes"], record.metrics.iloc[-1], record.measured
        assert shown is not None
        for name in ("weight_norm_sq", "feature_norm_sq"):
            unit = sqrt(sum(entry[name] for entry in classes) / len(classes))
            for entry, found in zip(classes, last[f"class.{name}"], strict=True):
                norms.append((sqrt(entry[name]) / unit, sqrt(found) / unit))
        unit = max(abs(entry["margin"]) for entry in classes)
        margins += [(e["margin"] / unit, m / unit) for e, m in zip(classes, last["class.margin"], strict=True)]
        for i in range(len(classes)):
            for j in range(len(classes)):
                sides = [each for each in ("weight_gram", "feature_gram") if i < j] + ["logits"] * (i == j)
                for name in sides:
                    pair = []
                    for source in (record.theory, shown):
                        left, right = ("weight_gram", "feature_gram") if name == "logits" else (name, name)
                        lengths = sqrt(source[left][i][i]) * sqrt(source[right][j][j])
                        pair.append(source[name][i][j] / lengths)
                    angles.append((pair[0], pair[1]))
    return [sorted(norms), sorted(margins), sorted(angles)]


def test_points_are_what_records_and_theory_say(runs: Runs) -> None:
    """Every class, and every pair, once; to the rounding of a few operations."""
    records = runs("M1-0", "M3-1")
    figure = DRAWINGS["claim"].of(records)
    for column, points in enumerate(expected(records)):
        assert np.array(drawn(figure, column)) == pytest.approx(np.array(points), abs=1e-12)
    text = caption_of(figure)
    assert "2 finished runs" in text
    assert "2 proven" in text


def arrived(record: Record) -> Record:
    """A record whose every number is the predicted one."""
    classes, last = record.theory["classes"], len(record.metrics) - 1
    told = {
        f"class.{name}": [entry[name] for entry in classes] for name in ("weight_norm_sq", "feature_norm_sq", "margin")
    }
    frame = record.metrics.copy()
    for column, values in told.items():
        frame[column] = [*frame[column][:last], values]
    frame["loss"] = [*frame["loss"][:last], record.theory["objective"]]
    names = ("weight_gram", "feature_gram", "logits")
    return replace(record, metrics=frame, measured={**(record.measured or {}), **{n: record.theory[n] for n in names}})


def spoiled(record: Record, k: int, loss: float) -> Record:
    """With a classifier row three times as long as it was, and the loss times a factor."""
    frame = record.metrics.copy()
    *before, norms = frame["class.weight_norm_sq"]
    frame["class.weight_norm_sq"] = [*before, [9 * norm if i == k else norm for i, norm in enumerate(norms)]]
    frame["loss"] *= loss
    return replace(record, metrics=frame)


@pytest.mark.parametrize(
    ("loss", "state", "words"),
    [(1.005, "reached", "loss +0.5 %"), (0.8, "below", "loss -20 %"), (1.5, "above", "loss +50 %")],
)
def test_a_wrong_record_is_named(loss: float, state: str, words: str, runs: Runs) -> None:
    """With its class and loss; a run above the claimed loss is hollow, for it refutes nothing."""
    (record,) = runs("M3-0")
    right, (neighbour,) = arrived(record), runs("M1-0")
    figure = diagonal.claim([arrived(neighbour), spoiled(right, 3, loss)])
    text = caption_of(figure)
    assert f"(1) {record.path.name} (proven, {words}): class 3 (norms)." in text
    assert "2 " + neighbour.path.name not in text
    (line,) = [
        each
        for each in figure.axes[0].lines
        if hypot(*each.get_data()[1]) and 3 in np.round(each.get_data()[1] / each.get_data()[0])
    ]
    assert (line.get_markerfacecolor() == "white") == (state == "above")
    numbers = [each.get_text() for each in figure.axes[0].texts]
    assert numbers == ["1"]
    run = diagonal_points.standing(spoiled(right, 3, loss))
    assert run.state == state


def test_what_theory_does_not_cover_is_counted(runs: Runs) -> None:
    """It is not drawn; alone it is refused in one line."""
    (record,) = runs("M1-0")
    bare = replace(record, theory=record.theory | {"claim": "none"})
    figure = diagonal.claim([record, bare])
    assert drawn(figure, 1) == drawn(diagonal.claim([record]), 1)
    assert "Not on the diagonal: 1 that no theory covers." in caption_of(figure)
    with pytest.raises(UserError, match="no norm, margin or cosine"):
        diagonal.claim([bare])


def test_shapes_have_no_scale(runs: Runs) -> None:
    """Where theory fixes shapes only, a run has norms of the mean square one, and no claimed loss."""
    (record,) = runs("parameters")
    figure = diagonal.claim([record])
    measured = np.array([y for _, y in drawn(figure, 0)])
    assert np.mean(measured**2) == pytest.approx(1, rel=1e-12)
    assert diagonal_points.standing(record).state == "unknown"


def test_along_a_path_the_claim_is_that_of_the_last_decay(runs: Runs) -> None:
    (record,) = runs("M3-0")
    run = diagonal_points.standing(with_metrics(record, factor=[2.0] * len(record.metrics)))
    last = predict(record.problem.scaled(2.0))
    assert run.theory["objective"] == last.objective != record.theory["objective"]
    assert run.excess == pytest.approx(record.metrics["loss"].iloc[-1] / last.objective - 1, rel=1e-12)
