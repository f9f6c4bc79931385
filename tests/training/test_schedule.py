"""When runs measure, and with which learning rate they step."""

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Command, rows

from ncrun.training.schedule import learning_rate, measured_epochs


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 1.0), (4, 1.0), (5, 0.1), (7, 0.1), (8, 0.01), (9, 0.01)],
    ids=lambda value: f"{value}",
)
def test_rate_drops_once_a_share_of_the_epochs_has_passed(epoch: int, rate: float) -> None:
    assert learning_rate(1.0, epoch, 10, [0.5, 0.75], 0, 0.1) == pytest.approx(rate)


def test_rate_drops_every_so_many_epochs() -> None:
    rates = [learning_rate(2.0, epoch, 7, [], 3, 0.5) for epoch in range(7)]
    assert rates == [2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.5]


def test_rate_without_drops_stays() -> None:
    assert {learning_rate(0.3, epoch, 9, [], 0, 0.1) for epoch in range(9)} == {0.3}


@pytest.mark.parametrize(
    ("measure", "epochs", "full_batch", "epochs_measured"),
    [
        ("auto", 4, False, {0, 1, 2, 3, 4}),
        ("every", 4, True, {0, 1, 2, 3, 4}),
        ("auto", 4, True, {0, 1, 2, 3, 4}),
        (3, 10, False, {0, 3, 6, 9, 10}),
        (100, 10, False, {0, 10}),
        (1, 2, True, {0, 1, 2}),
    ],
)
def test_measured_epochs(measure: str | int, epochs: int, full_batch: bool, epochs_measured: set[int]) -> None:
    assert measured_epochs(measure, epochs, full_batch) == epochs_measured


@pytest.mark.parametrize("epochs", [1, 2, 199, 200, 201, 250, 4000, 100_000])
def test_log_measures_about_two_hundred_epochs_evenly_in_their_logarithm(epochs: int) -> None:
    chosen = sorted(measured_epochs("log", epochs, True))
    assert (chosen[0], chosen[-1]) == (0, epochs)
    assert min(epochs, 195) + 1 <= len(chosen) <= 206
    if epochs >= 4000:
        late = np.diff(np.log([epoch for epoch in chosen if epoch > 200]))
        assert late.max() < 2 * late.min()
    assert measured_epochs("auto", epochs, True) == set(chosen)


@pytest.mark.usefixtures("undrawn")
def test_rates_of_the_schedule_are_used(ncrun: Command, workdir: Path) -> None:
    overrides = ["epochs=4", "schedule.drops=[0.5]", "optimizer=sgd", "optimizer.lr=0.01"]
    assert ncrun("train", *TINY, *overrides, "run_dir=run").status == 0
    assert [row["lr"] for row in rows(workdir / "run")] == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001])
