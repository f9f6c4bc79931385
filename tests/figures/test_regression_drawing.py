"""The drawing of runs on targets, and their curves: what is recorded beside what is predicted."""

import numpy as np
import pytest
from figure_runs import Runs, caption_of, panel
from matplotlib import pyplot as plt

from ncrun.errors import UserError
from ncrun.figures import DRAWINGS
from ncrun.figures.curves import run_curves
from ncrun.records.read import Record

FREE = (
    "model=ufm",
    "dataset=linnerud",
    "model.width=6",
    "decay.weight=5e-3",
    "decay.feature=5e-3",
    "epochs=30",
    "threads=1",
)


@pytest.fixture
def records(runs: Runs) -> list[Record]:
    return [record for depth in (1, 2) for record in runs.train(*FREE, f"head.depth={depth}")]


def test_marks_are_measured_over_predicted(records: list[Record]) -> None:
    """A colour for each depth, one mark for each direction."""
    figure = DRAWINGS["regression"].of(records)
    *marks, diagonal = panel(figure, r"$u^\top W W^\top u$").get_lines()
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    for record, mark in zip(records, marks, strict=True):
        assert list(mark.get_xdata()) == [entry["weight_norm_sq"] for entry in record.theory["directions"]]
        assert list(mark.get_ydata()) == record.metrics["direction.weight_norm_sq"].iloc[-1]
    assert "targets of 3 numbers for 16 samples of linnerud" in caption_of(figure)
    plt.close("all")


def test_curves_have_a_line_for_each_direction(records: list[Record]) -> None:
    figure = run_curves(records[1])
    lines = panel(figure, "share of each direction in the outputs").get_lines()
    kept = np.array(records[1].metrics["direction.kept"].tolist())
    assert [list(line.get_ydata()) for line in lines[:6:2]] == kept.T.tolist()
    assert [line.get_ydata()[0] for line in lines[1:6:2]] == [x["kept"] for x in records[1].theory["directions"]]
    assert panel(figure, "mean squared error").get_lines()[0].get_label() == "train"
    plt.close("all")


def test_drawings_for_classes_and_for_targets_are_not_mistaken(runs: Runs, records: list[Record]) -> None:
    for drawing in DRAWINGS:
        if drawing.key == "curves":  # of one run of either kind
            continue
        with pytest.raises(UserError, match=r"has no (classes|targets)"):
            drawing.of([*records, *runs("M1-0")] if drawing.on_targets else records)
