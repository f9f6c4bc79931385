"""Figures in the settings of Sukenik, Mondelli and Lampert 2023."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import panels
from ncrun.records.read import Record

SOURCE = "A reconstruction of the setting of Sukenik et al. 2023, who released no code."
# The theorem has DNC2 and DNC3 from the second layer on, DNC1 in all.
BEYOND_THEOREM: dict[str, Any] = {"linestyle": ":", "linewidth": 1.2}
DNC = (
    ("nc1_trace", "DNC1: within / between spread", 1),
    ("dnc2", "DNC2: condition number − 1", 2),
    ("dnc3", "DNC3: sine, weights to means", 2),
)
# The loss is drawn wide, so that the part that it nearly equals does not hide it.
PARTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("loss", {"color": "0.7", "linewidth": 3.5}),
    ("regulariser", {"color": "C0"}),
    ("data_term", {"color": "C1"}),
)


def dufm(records: Sequence[Record]) -> Figure:
    """Loss with its parts beside the optimum, then deep neural collapse layer by layer, over iterations; a row for each
    depth L. Seeds are a band."""
    depths = sorted({record.config["head"]["depth"] for record in records})
    figure, axes = plt.subplots(
        len(depths), 4, figsize=(12, 2.6 * len(depths) + 0.9), layout="constrained", squeeze=False, sharex=True
    )
    ends = []
    for row, depth in zip(axes, depths, strict=True):
        here = [record for record in records if record.config["head"]["depth"] == depth]
        _loss_and_parts(row[0], here)
        for ax, (key, title, first) in zip(row[1:], DNC, strict=True):
            _layers(ax, here, key, first)
            ax.set_title(title)
        row[0].set(ylabel=f"L = {depth}", title="loss and its parts")
        row[3].legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1.2)
        gaps = [100 * record.metrics["gap"].iloc[-1] for record in here]
        ends.append(f"{min(gaps):.2g} to {max(gaps):.2g} % (L = {depth})")
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    handles = [Line2D([], [], label=name.replace("_", " "), **style) for name, style in PARTS]
    handles.append(Line2D([], [], label=f"at the optimum ({records[0].theory['claim']})", **panels.PREDICTION))
    handles.append(Line2D([], [], color="0.25", label="not in the theorem", **BEYOND_THEOREM))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    words = f"Line: mean over the seeds; band: smallest to largest. At the end {', '.join(ends)} above the optimum."
    panels.caption(figure, f"{panels.setting_words(*records)} {words} {SOURCE}")
    return figure


def _loss_and_parts(ax: Axes, records: Sequence[Record]) -> None:
    optimum, fit = records[0].theory["objective"], records[0].theory["data_term"]
    for (name, style), value in zip(PARTS, (optimum, optimum - fit, fit), strict=True):
        panels.band(ax, records, _regulariser if name == "regulariser" else name, **style)
        ax.axhline(value, **panels.PREDICTION)


def _layers(ax: Axes, records: Sequence[Record], key: str, first: int) -> None:
    """A metric of every layer; those before `first`, of which the theorem does not speak, dotted."""
    depth = records[0].config["head"]["depth"]
    colours = colormaps["viridis"](np.linspace(0, 0.9, depth))
    for layer, colour in enumerate(colours, start=1):
        name, least = f"head.{layer}.{key}", 1.0 if key == "dnc2" else 0.0
        style = BEYOND_THEOREM if layer < first else {}
        panels.band(ax, records, partial(_above, name, least), color=colour, label=f"layer {layer}", **style)


def _above(key: str, least: float, frame: Any) -> Any:
    return frame[key] - least


def _regulariser(frame: Any) -> Any:
    return frame["loss"] - frame["data_term"]
