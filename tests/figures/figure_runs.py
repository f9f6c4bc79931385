"""Runs that the figures' tests draw, each trained once for all of them, and what is read off a figure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import Command
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import changes, endings, panels
from ncrun.records.places import runs_below
from ncrun.records.read import Record, find_records, load_record

RESULTS = Path(__file__).parents[2] / "results"
COUNTS = (3, 3, 4, 4, 5, 5, 6, 6, 7, 7)
SMALL = ("model.depth=1", "model.width=12", "epochs=6", f"counts={list(COUNTS)}".replace(" ", ""), "threads=1")
RELU_HEAD = ("model.depth=2", "model.width=6", "epochs=5", "classes=[0,1]", "head.depth=3", "head.relu=true")
NETWORKS: dict[str, tuple[str, ...]] = {
    **{f"M{M}-{seed}": (*SMALL, f"head.depth={M}", f"seed={seed}") for M in (1, 3) for seed in (0, 1, 2)},
    "parameters": (*SMALL, "decay.mode=parameters"),
    "relu-0": (*RELU_HEAD, "taps=[relu1,relu2]", "threads=1", "seed=0"),
    "relu-1": (*RELU_HEAD, "taps=[relu1,relu2]", "threads=1", "seed=1"),
    "ce": (*SMALL, "model.features=relu", "loss=ce"),
}
# Free features of four classes, under a head of three layers with ReLUs.
DIRECT = ("model.width=6", "counts=[8,4,2,2]", "epochs=30")
DUFM = ("model.width=6", "counts=[4,4]", "epochs=40", "restarts=3")


@dataclass(frozen=True)
class Runs:
    """Trains what is not yet in the folder, which all test files share."""

    folder: Path
    ncrun: Command

    @classmethod
    def shared(cls, factory: pytest.TempPathFactory, ncrun: Command) -> "Runs":
        panels.use_style()
        return cls(factory.getbasetemp() / "drawn", ncrun)

    def train(self, *overrides: str) -> list[Record]:
        """The records of `ncrun train` with these overrides: one, or one of each restart."""
        directory = self.folder / hashlib.sha256(repr(overrides).encode()).hexdigest()[:16]
        if not directory.exists():
            result = self.ncrun("train", *overrides, f"run_dir='{directory}'")
            assert result.status == 0, result
        return find_records(directory)

    def of(self, experiment: str, *overrides: str) -> list[Record]:
        return self.train(f"experiment={experiment}", *overrides)

    def __call__(self, *names: str) -> list[Record]:
        """Those of NETWORKS, by their names."""
        return [record for name in names for record in self.train(*NETWORKS[name])]


def panel(figure: Figure, title: str) -> Axes:
    (found,) = (ax for ax in figure.axes if ax.get_title() == title)
    return found


def panels_in(figure: Figure) -> list[Axes]:
    """Without colour bars."""
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def stored(archive: str, experiment: str) -> list[Record]:
    """Runs of results/ARCHIVE.zip with this in the path of their folder."""
    return [load_record(place) for place in runs_below(RESULTS / f"{archive}.zip") if experiment in str(place.path)]


def legend_of(figure: Figure) -> list[str]:
    """The words of the legends above all panels."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


MARKS = (changes.MARK["gid"], changes.FINISH_MARK["gid"], endings.MARK["gid"])


def curves_of(ax: Axes) -> list[Line2D]:
    """Its lines, but for the marks of what happens in a run: where the learning rate falls, where L-BFGS
    takes over, where it did not arrive."""
    return [line for line in ax.get_lines() if line.get_gid() not in MARKS]


def caption_of(figure: Figure) -> str:
    """The caption's words, once the figure is drawn (warnings are errors)."""
    figure.canvas.draw()
    return panels.caption_of(figure)


def with_metrics(record: Record, **columns: Sequence[object]) -> Record:
    return replace(record, metrics=record.metrics.assign(**columns))


def with_measured(record: Record, **matrices: object) -> Record:
    return replace(record, measured=(record.measured or {}) | matrices)
