"""Deep neural collapse, layer by layer: over training, at the end over the layer's depth, and over the width."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import arrangement, convergence, drops, endings, needs, panels, wording
from ncrun.figures.arrangement import Curve
from ncrun.records.read import Record

# The theorem has DNC2 and DNC3 from the head's second layer on, DNC1 in all.
BEYOND_THEOREM: dict[str, Any] = {"linestyle": ":", "linewidth": 1.2}
DNC = (
    ("nc1_trace", "DNC1: within / between", 1),
    ("dnc2", "DNC2: condition − 1", 2),
    ("dnc3", "DNC3: weights to means", 2),
)
MARKERS = ("o", "s", "^")
# The loss is drawn wide, so that the part that it nearly equals does not hide it.
PARTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("loss", {"color": "0.7", "linewidth": 3.5}),
    ("regulariser", {"color": "C0"}),
    ("data_term", {"color": "C1"}),
)
# Excess losses, and DNC over the width, below these are rounding; they are drawn there.
ROUNDING, DNC_ROUNDING = 1e-9, 1e-16
REACHED = ("global optimum", "at the claim", "lower than the claim")


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
        drops.mark(line[:4], curve.records)
        at_the_end(line[4], curve)
        panels.label_row(line[:5], arrangement.broken("\n".join(filter(None, (row.label, curve.label)))))
        colours = layer_colours(layer_names(curve.records[0]))
        layers = [Line2D([], [], color=colour, label=layer_words(name)) for name, colour in colours.items()]
        panels.legend_panel(line[5], layers)
    for ax in axes[1:, :5].flat:
        ax.set_title("")
    for ax in axes[:-1, :4].flat:
        ax.set_xlabel("")
    panels.legend_above(figure, _handles(curves[0][1].records[0], [curve for _, curve in curves]))
    panels.caption(figure, convergence.caption(records, _words([curve for _, curve in curves])))
    return figure


def loss_and_parts(ax: Axes, curve: Curve) -> None:
    """Dashed: the loss and its parts at the optimum, where theory knows it."""
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
    """Names of the layers whose class means are measured: taps of the backbone in its order, then head.1 .. head.L."""
    taps = [match[1] for key in record.metrics if (match := re.fullmatch(r"(tap\..+)\.nc1_trace", str(key)))]
    return [*taps, *(f"head.{layer}" for layer in range(1, record.config["head"]["depth"] + 1))]


def layer_words(name: str) -> str:
    """A layer's name in a legend."""
    return f"head {name.removeprefix('head.')}" if name.startswith("head.") else name.removeprefix("tap.")


def layer_colours(names: Sequence[str]) -> dict[str, Any]:
    """From dark, the first layer, to light."""
    return dict(zip(names, colormaps["viridis"](np.linspace(0, 0.9, len(names))), strict=True))


def layers_over_epochs(ax: Axes, curve: Curve, key: str, title: str, first: int) -> None:
    """A metric of every layer that has it; those before the head's layer `first`, of which the theorem does not speak,
    dotted."""
    drawn = False
    for name, colour in layer_colours(layer_names(curve.records[0])).items():
        full = f"{name}.{key}"
        if not any(_above_least(record, full) for record in curve.records):
            continue
        style = {} if _in_theorem(name, first) else BEYOND_THEOREM
        panels.band(ax, curve.records, partial(_above, full), color=colour, **style)
        drawn = True
    ax.set_title(title)
    if not drawn:
        panels.nothing_to_draw(ax)
        return
    panels.tidy_log(ax.yaxis)
    panels.tidy_log(ax.xaxis)


def at_the_end(ax: Axes, curve: Curve) -> None:
    """DNC1, DNC2 and DNC3 at the last epoch over the layers in their order: a marker for each seed, a line through
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


def width_ablation(records: Sequence[Record]) -> Figure:
    """Over the width: loss over the optimum, share of restarts at the optimum, and DNC1, DNC2 and DNC3 of the last
    layer at the end; every restart a dot, colours are depths, lines are medians."""
    needs.verdicts(records)
    for record in records:
        needs.columns(record, *(f"head.{record.config['head']['depth']}.{key}" for key, _, _ in DNC))
    depths = sorted({record.config["head"]["depth"] for record in records})
    figure, axes = panels.grid(1, 5)
    panel = axes[0]
    for depth in depths:
        here = [record for record in records if record.config["head"]["depth"] == depth]
        colour = panels.colour_of(here[0])
        _over_width(panel[0], here, excess, colour)
        widths = sorted({_width(record) for record in here})
        panel[1].plot(widths, [_share(here, width) for width in widths], "o-", color=colour)
        for ax, (key, _, _) in zip(panel[2:], DNC, strict=True):
            _over_width(ax, here, partial(_floored, key=f"head.{depth}.{key}"), colour)
    claims = {record.theory["claim"] for record in records}
    goal = "optimum" if claims <= {"proven", "certified"} else "claimed value"
    titles = [f"loss / {goal} − 1", f"share of restarts at the {goal}", *(f"{title}" for _, title, _ in DNC)]
    for ax, title in zip(panel, titles, strict=True):
        ax.set(title=title, xlabel="width", xscale="log")
        widths = sorted({_width(record) for record in records})
        ax.set_xticks(widths, [str(width) for width in widths])
        ax.minorticks_off()
        if ax is not panel[1]:
            ax.set_yscale("log")
            panels.tidy_log(ax.yaxis)
    panel[1].set_ylim(-0.05, 1.05)
    handles = [Line2D([], [], color=_depth_colour(records, depth), label=f"L = {depth}") for depth in depths]
    one = Line2D([], [], color="0.4", marker="o", linestyle="", alpha=0.5, markersize=3, label="one restart")
    median = Line2D([], [], color="0.4", label="median of the restarts")
    panels.legend_above(figure, [*handles, one, median])
    reached = ", ".join(dict.fromkeys(_verdict(record) for record in records if _verdict(record) in REACHED))
    words = (
        f"DNC is of the last layer. Excess losses below {ROUNDING:g} and DNC below {DNC_ROUNDING:g} are drawn there."
    )
    words += f" At the {goal}: restarts with the verdict {reached}." if reached else f" No restart is at the {goal}."
    panels.caption(figure, convergence.caption(records, words, bands=False))
    return figure


def excess(record: Record) -> float:
    """Loss at the end over the objective of the theory, minus 1; at least ROUNDING. nan where theory has none."""
    objective = record.theory["objective"]
    return max(float(record.metrics["loss"].iloc[-1]) / objective - 1, ROUNDING) if objective else np.nan


def _over_width(ax: Axes, records: Sequence[Record], value: Any, colour: str) -> None:
    widths = sorted({_width(record) for record in records})
    found = {width: [value(record) for record in records if _width(record) == width] for width in widths}
    for width, values in found.items():
        ax.plot([width] * len(values), values, "o", color=colour, alpha=0.5, markersize=3)
    medians = [np.median(known) if (known := [v for v in found[w] if np.isfinite(v)]) else np.nan for w in widths]
    ax.plot(widths, medians, color=colour, linewidth=1.0)


def _share(records: Sequence[Record], width: int) -> float:
    words = [_verdict(record) for record in records if _width(record) == width]
    return sum(word in REACHED for word in words) / len(words)


def _verdict(record: Record) -> str:
    return str(record.manifest["verdict"]["word"])


def _width(record: Record) -> int:
    return int(record.config["model"]["width"])


def _depth_colour(records: Sequence[Record], depth: int) -> str:
    return panels.colour_of(next(record for record in records if record.config["head"]["depth"] == depth))


def _in_theorem(name: str, first: int) -> bool:
    return name.startswith("head.") and int(name.removeprefix("head.")) >= first


def _least(key: str) -> float:
    return 1.0 if key.endswith(".dnc2") else 0.0


def _above(key: str, frame: Any) -> Any:
    """What a metric has above its least value; nothing where a record lacks it."""
    return frame[key] - _least(key) if key in frame else [None] * len(frame)


def _above_least(record: Record, key: str) -> bool:
    return key in record.metrics and bool((np.array(_above(key, record.metrics), dtype=float) > 0).any())


def _last(record: Record, key: str) -> float:
    """A metric above its least value at the last epoch, nan where there is nothing for a log axis."""
    value = record.metrics[key].iloc[-1] if key in record.metrics else None
    above = np.nan if value is None else float(value) - _least(key)
    return above if above > 0 else np.nan


def _floored(record: Record, key: str) -> float:
    """A metric above its least value at the last epoch, at least DNC_ROUNDING; nan where it is not defined."""
    value = record.metrics[key].iloc[-1]
    return np.nan if value is None or np.isnan(value) else max(float(value) - _least(key), DNC_ROUNDING)


def _regulariser(frame: Any) -> Any:
    return frame["loss"] - frame["data_term"]


def _handles(first: Record, curves: Sequence[Curve]) -> list[Line2D]:
    found = [Line2D([], [], label=name.replace("_", " "), **style) for name, style in PARTS]
    if first.theory["claim"] in wording.CLAIM_WORDS:
        found.append(Line2D([], [], label="predicted", **panels.PREDICTION))
    found.append(Line2D([], [], color="0.25", label="layer not in the theorem", **BEYOND_THEOREM))
    found += [
        Line2D([], [], color=f"C{i}", marker=MARKERS[i], markersize=3, linewidth=1.0, label=title.split(":")[0])
        for i, (_, title, _) in enumerate(DNC)
    ]
    records = [record for curve in curves for record in curve.records]
    return [*found, *convergence.zero_error_handles(curves), *endings.handles(records), *drops.handles(records)]


def _words(curves: Sequence[Curve]) -> str:
    ends = []
    for curve in curves:
        gaps = [100 * record.metrics["gap"].iloc[-1] for record in curve.records if record.metrics["gap"].iloc[-1]]
        if gaps:
            words = " to ".join(dict.fromkeys(f"{gap:.2g}" for gap in (min(gaps), max(gaps))))
            ends.append(f"{words} % ({curve.label})")
    return f"At the end {', '.join(ends)} above the optimum." if ends else ""
