"""Drawings of one kind each: the frame in space as it is seen, the ledger of several seeds, and what captions name."""

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import Runs, caption_of, curves_of
from mpl_toolkits.mplot3d import proj3d  # type: ignore[import-untyped]

from ncrun.figures import frame_3d, ledger, wording
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")


@pytest.mark.parametrize("bias", ["false", "true"])
def test_equal_classes_look_regular(runs: Runs, bias: str) -> None:
    """The predicted rows, as they stand in the panel: of one length, at 120 degrees. 1e-6: the run's own precision."""
    (run,) = runs.of("dang2023/geometry-3d", "counts=[9,9,9]", f"head.bias={bias}")
    figure = frame_3d.geometry_3d([run])
    figure.canvas.draw()
    (ax,) = figure.axes
    predicted, _ = frame_3d.frames(run)
    flat = [np.array(proj3d.proj_transform(*point, ax.get_proj())[:2]) for point in (np.zeros(3), *predicted[0])]
    rows = np.array(flat[1:]) - flat[0]
    lengths = np.linalg.norm(rows, axis=1)
    assert lengths == pytest.approx(lengths[0], rel=1e-6)
    cosines = (rows @ rows.T / np.outer(lengths, lengths))[np.triu_indices(3, 1)]
    assert cosines == pytest.approx(-0.5, abs=1e-6)
    squares = [line for line in ax.get_lines() if line.get_linewidth() == frame_3d.RIGHT_ANGLE["linewidth"]]
    assert len(squares) == (3 if bias == "false" else 0)


def test_the_ledger_is_of_all_seeds(seeds: list[Record]) -> None:
    """A band from the smallest to the largest of every part, in units of the optimum; shares are means over the seeds
    and add up to one."""
    figure = ledger.ledger(seeds)
    above = figure.axes[0]
    parts = [key for key in ledger.PARTS if any((run.metrics[key] > 0).any() for run in seeds)]
    assert [line.get_marker() for line in curves_of(above)[1:]] == [ledger.PARTS[key].marker for key in parts]
    optimum = seeds[0].theory["objective"]
    for band, key in zip(above.collections[1:], parts, strict=True):
        corners = band.get_paths()[0].vertices
        values = np.array([run.metrics[key][1:] for run in seeds]) / optimum
        assert (corners[:, 1].min(), corners[:, 1].max()) == pytest.approx((values.min(), values.max()))
    _, shares = ledger.windowed_shares(seeds, parts)
    single = [ledger.windowed_shares([run], parts)[1] for run in seeds]
    assert shares == pytest.approx(np.mean(single, axis=0), rel=1e-12)
    assert shares.sum(axis=0) == pytest.approx(1, rel=1e-12)
    areas = figure.axes[1].collections
    assert len({area.get_hatch() for area in areas}) == len(areas) == len(parts)
    assert "seeds 0 to 2" in caption_of(figure)


def test_a_caption_names_how_runs_were_trained(seeds: list[Record]) -> None:
    """Optimiser, rate, schedule, batch, dtype; and of several runs what each has."""
    run = seeds[0]
    optimizer, schedule = run.config["optimizer"], run.config["schedule"]
    assert (optimizer["name"], schedule["step"]) == ("adam", None)
    words = wording.setting_words(run)
    drops = " and ".join(format(drop, "g") for drop in schedule["drops"])
    expected = f"6 epochs of Adam, learning rate {optimizer['lr']:g} times {schedule['gamma']:g} after {drops} of the"
    assert f"{expected} training, batch 50, float32, seed 0." in words
    stepped = replace(
        run, config=run.config | {"schedule": schedule | {"step": 2, "drops": []}, "precision": "bfloat16"}
    )
    words = wording.setting_words(run, stepped)
    assert f" or {optimizer['lr']:g} times 0.1 every 2 epochs, batch 50, float32 or float32, products in" in words


def test_what_has_a_name_is_called_by_it() -> None:
    for key, value, expected in (
        ("dataset.name", "cifar10", "CIFAR-10"),
        ("loss", "ce", "cross-entropy"),
        ("model.name", "resnet18", "ResNet18"),
        ("head.depth", 3, "3"),
        ("loss", "my-own", "my-own"),
    ):
        assert wording.value_words(key, value) == expected
