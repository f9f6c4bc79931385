"""Deep neural collapse at every layer: over training, and at the end over the layers."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import arrangement, changes, convergence, endings, looks, panels, wording
from ncrun.figures.arrangement import Curve
from ncrun.records.read import Record

# The theorem covers DNC2 and DNC3 from the head's second layer on, and DNC1 in all layers.
BEYOND_THEOREM: dict[str, Any] = {"linestyle": ":", "linewidth": 1.2}
DNC = (
    ("nc1_trace", "DNC1: within / between", 1),
    ("dnc2", "DNC2: condition − 1", 2),
    ("dnc3", "DNC3: weights to means", 2),
)
MARKERS = ("o", "s", "^")
# The loss is a wide line, so that an almost equal part does not hide it.
PARTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("loss", {"color": "0.7", "linewidth": 3.5}),
    ("regulariser", {"color": "0.15", "marker": "P"}),
    ("data_term", {"color": "C3", "marker": "X"}),
)


def deep_collapse(records: Sequence[Record]) -> Figure:
    """Loss with its parts beside the optimum, then DNC1, DNC2 and DNC3 over epochs, a curve for each layer from the
    backbone's first tap to the head's last, and their values at the end over the layers; a row for each network. Seeds
    are a band."""
    curves = [(row, curve) for row in arrangement.arrange(records) for curve in row.curves]
    figure, axes = panels.grid(len(curves), 6)
    for (row, curve), line in zip(curves, axes, strict=True):
        loss_and_parts(line[0], curve)
        for ax, (key, title, first) in zip(line[1:4], DNC, strict=True):
            layers_over_epochs(ax, curve, key, title, first)
        changes.mark(line[:4], curve.records)
        at_the_end(line[4], curve)
        panels.label_row(line[:5], arrangement.broken("\n".join(filter(None, (row.label, curve.label)))))
        panels.legend_panel(line[5], layer_handles(layer_looks(layer_names(curve.records[0]))))
    for ax in axes[1:, :5].flat:
        ax.set_title("")
    for ax in axes[:-1, :4].flat:
        ax.set_xlabel("")
    panels.legend_above(figure, _handles(curves[0][1].records[0], [curve for _, curve in curves]))
    panels.caption(figure, convergence.caption(records, _words([curve for _, curve in curves])))
    return figure


def loss_and_parts(ax: Axes, curve: Curve) -> None:
    """Dashed: the loss and its parts at the optimum, if theory knows it."""
    theory = curve.records[0].theory
    known = theory["claim"] in wording.CLAIM_WORDS
    optimum, fit = theory["objective"] if known else None, theory["data_term"] if known else None
    rest = None if optimum is None or fit is None else optimum - fit
    for (name, style), value in zip(PARTS, (optimum, rest, fit), strict=True):
        panels.band(ax, curve.records, _regulariser if name == "regulariser" else name, **style)
        if value is not None and value > 0:
            ax.axhline(value, **panels.PREDICTION)
    ax.set_title("loss and its parts")
    convergence.mark_times(ax, curve, "loss")
    panels.tidy_log(ax.yaxis)
    panels.tidy_log(ax.xaxis)


def layer_names(record: Record) -> list[str]:
    """Names of the measured layers: taps of the backbone in order, then head.1 .. head.L."""
    taps = [match[1] for key in record.metrics if (match := re.fullmatch(r"(tap\..+)\.nc1_trace", str(key)))]
    return [*taps, *(f"head.{layer}" for layer in range(1, record.config["head"]["depth"] + 1))]


def layer_words(name: str) -> str:
    """A layer's name in a legend."""
    return f"head {name.removeprefix('head.')}" if name.startswith("head.") else name.removeprefix("tap.")


def layer_looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each layer's lines, from dark, the first layer, to light."""
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(names)))
    return {
        name: {"color": colour, "marker": looks.MARKERS[place % len(looks.MARKERS)]}
        for place, (name, colour) in enumerate(zip(names, colours, strict=True))
    }


def layer_handles(known: Mapping[str, dict[str, Any]]) -> list[Line2D]:
    """For a legend: which look is which layer."""
    return [Line2D([], [], markersize=looks.SIZE, label=layer_words(name), **look) for name, look in known.items()]


def layers_over_epochs(ax: Axes, curve: Curve, key: str, title: str, first: int) -> None:
    """A metric at every layer that has it; dotted before the head's layer `first`, where the theorem does not apply."""
    drawn = False
    for name, look in layer_looks(layer_names(curve.records[0])).items():
        full = f"{name}.{key}"
        if not any(_aboveleast(record, full) for record in curve.records):
            continue
        style = {} if _in_theorem(name, first) else BEYOND_THEOREM
        panels.band(ax, curve.records, partial(_above, full), **look | style)
        drawn = True
    ax.set_title(title)
    if not drawn:
        panels.nothing_to_draw(ax)
        return
    panels.tidy_log(ax.yaxis)
    panels.tidy_log(ax.xaxis)


def at_the_end(ax: Axes, curve: Curve) -> None:
    """DNC1, DNC2 and DNC3 at the last epoch over the layers in their order: a marker for each seed, and a line through
    their median."""
    names = layer_names(curve.records[0])
    for index, (key, _, _) in enumerate(DNC):
        values = np.array([[_last(record, f"{name}.{key}") for name in names] for record in curve.records])
        places = np.arange(len(names))
        ax.plot(places, panels.middle(values), color=f"C{index}", linewidth=1.0)
        for seed in values:
            ax.plot(places, seed, MARKERS[index], color=f"C{index}", markersize=3, alpha=0.7)
    ax.set(yscale="log", title="at the end, by layer")
    labels = [layer_words(name).replace("head ", "") for name in names]
    turned = max(map(len, labels)) > 2
    ax.set_xticks(range(len(names)), labels, rotation=90 if turned else 0)
    ax.set_xlabel("" if turned else "layer of the head")
    panels.tidy_log(ax.yaxis)


def _in_theorem(name: str, first: int) -> bool:
    return name.startswith("head.") and int(name.removeprefix("head.")) >= first


def least(key: str) -> float:
    """The value of a DNC metric at perfect collapse."""
    return 1.0 if key.endswith(".dnc2") else 0.0


def _above(key: str, frame: Any) -> Any:
    """A metric minus its least value; empty if a record lacks it."""
    return frame[key] - least(key) if key in frame else [None] * len(frame)


def _aboveleast(record: Record, key: str) -> bool:
    return key in record.metrics and bool((np.array(_above(key, record.metrics), dtype=float) > 0).any())


def _last(record: Record, key: str) -> float:
    """A metric minus its least value at the last epoch, nan if a log axis cannot show it."""
    value = record.metrics[key].iloc[-1] if key in record.metrics else None
    above = np.nan if value is None else float(value) - least(key)
    return above if above > 0 else np.nan


def _regulariser(frame: Any) -> Any:
    return frame["loss"] - frame["data_term"]


def _handles(first: Record, curves: Sequence[Curve]) -> list[Line2D]:
    found = [Line2D([], [], label=name.replace("_", " "), markersize=looks.SIZE, **style) for name, style in PARTS]
    if first.theory["claim"] in wording.CLAIM_WORDS:
        found.append(Line2D([], [], label="predicted", **panels.PREDICTION))
    found.append(Line2D([], [], color="0.25", label="layer not in the theorem", **BEYOND_THEOREM))
    found += [
        Line2D([], [], color=f"C{i}", marker=MARKERS[i], markersize=3, linewidth=1.0, label=title.split(":")[0])
        for i, (_, title, _) in enumerate(DNC)
    ]
    records = [record for curve in curves for record in curve.records]
    return [*found, *convergence.zero_error_handles(curves), *endings.handles(records), *changes.handles(records)]


def _words(curves: Sequence[Curve]) -> str:
    ends = []
    for curve in curves:
        gaps = [100 * record.metrics["gap"].iloc[-1] for record in curve.records if record.metrics["gap"].iloc[-1]]
        if gaps:
            words = " to ".join(dict.fromkeys(f"{gap:.2g}" for gap in (min(gaps), max(gaps))))
            ends.append(f"{words} % ({curve.label})")
    return f"At the end {', '.join(ends)} above the optimum." if ends else ""
