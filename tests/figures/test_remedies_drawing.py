"""The drawing of remedies for imbalance: margins and test accuracies as recorded, each remedy told apart."""

import numpy as np
import pytest
from figure_runs import SMALL, Runs, caption_of, panel
from matplotlib import pyplot as plt

from ncrun.errors import UserError
from ncrun.figures import DRAWINGS
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")
CE = (*SMALL, "loss=ce", "head.bias=true")
REMEDIES = ((), ("class_weights=balanced",), ("label_smoothing=0.1",))


@pytest.fixture
def records(runs: Runs) -> list[Record]:
    return [record for options in REMEDIES for record in runs.train(*CE, *options)]


def test_margins_and_accuracies_are_the_recorded_ones(records: list[Record]) -> None:
    """Ordered by class count: symbols measured, lines from theory.json; and the difference to the plain loss."""
    figure = DRAWINGS["remedies"].draw(records)
    lines = panel(figure, "margin").get_lines()
    accuracies = panel(figure, "test accuracy").get_lines()
    above = panel(figure, "gain in test accuracy").get_lines()
    order = np.argsort(records[0].manifest["class_counts"], kind="stable")
    plain = np.array(records[0].metrics["class.test_accuracy"].iloc[-1])
    by_name = {"no options": records[0], "balanced class weights": records[1], "label smoothing 0.1": records[2]}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(by_name)
    for n, record in enumerate(by_name.values()):
        measured, predicted = lines[2 * n : 2 * n + 2]
        assert list(measured.get_ydata()) == list(np.array(record.metrics["class.margin"].iloc[-1])[order])
        assert list(predicted.get_ydata()) == [record.theory["classes"][k]["margin"] for k in order]
        found = np.array(record.metrics["class.test_accuracy"].iloc[-1])
        assert list(accuracies[n].get_ydata()) == list(found[order])
        assert list(above[n].get_ydata()) == list((found - plain)[order])
    assert len({line.get_marker() for line in accuracies}) == len({line.get_color() for line in accuracies}) == 3
    words = caption_of(figure)
    assert "cross-entropy, cross-entropy with balanced class weights or cross-entropy with label smoothing 0.1" in words
    assert "certified" in words
    plt.close(figure)


def test_without_the_plain_loss_there_is_nothing_to_compare_with(records: list[Record]) -> None:
    figure = DRAWINGS["remedies"].draw(records[1:])
    assert not panel(figure, "gain in test accuracy").get_lines()
    assert panel(figure, "test accuracy").get_lines()
    plt.close(figure)


def test_free_features_have_no_test_split(runs: Runs) -> None:
    with pytest.raises(UserError, match=r"has no class\.test_accuracy"):
        DRAWINGS["remedies"].draw(runs.train("model=ufm", "counts=[4,2]", "loss=ce", "optimizer=sgd", "epochs=4"))
