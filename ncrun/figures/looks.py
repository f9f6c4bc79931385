"""Makes lines distinguishable in grey, too: each has a colour and a few markers."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D

# In the order of the palette's colours. The diamond is reserved for marks of epochs.
MARKERS = ("o", "s", "^", "v", "P", "X", "<", ">", "p", "h", "*", "8")
# Number and size of the markers on a line.
MARKS, SIZE = 4, 3.0
# Each line's markers are shifted by this share of their distance (the golden ratio spreads any number evenly), so that
# the markers of coinciding lines are all visible.
SHIFT = 0.618
# Numbers beside a colour bar of classes.
SHOWN = 4
# From dark to light.
ORDERED = "viridis"


def look(place: int) -> dict[str, Any]:
    """Colour and marker of a place in the palette."""
    return {"color": f"C{place % len(_palette())}", "marker": MARKERS[place % len(MARKERS)]}


def ordered_look(place: int, number: int) -> dict[str, Any]:
    """Colours of ordered values: from the palette if it has enough, else from dark to light. Fixed colours, independent
    of the style at display."""
    palette = _palette()
    return look(place) | {"color": palette[place] if number <= len(palette) else mpl.colormaps[ORDERED](place / number)}


def _palette() -> list[str]:
    return list(mpl.rcParams["axes.prop_cycle"].by_key()["color"])


def marked(line: Line2D) -> Line2D:
    """The same line with a few markers, evenly from left to right on the axis' current scale."""
    marker, ax = str(line.get_marker()), line.axes
    if marker not in MARKERS or line.get_linestyle() == "None" or ax is None:
        return line
    x, y = (np.asarray(part, dtype=float) for part in line.get_data())
    places = ax.transScale.transform(np.stack([x, np.ones(len(x))], axis=1))[:, 0]
    known = np.flatnonzero(np.isfinite(places) & np.isfinite(y))
    if len(known) > MARKS:
        first, last = places[known[0]], places[known[-1]]
        wanted = first + (last - first) * (np.arange(MARKS) + MARKERS.index(marker) * SHIFT % 1) / MARKS
        known = known[np.unique(np.abs(places[known, None] - wanted).argmin(axis=0))]
    line.set(markevery=known.tolist(), markersize=SIZE)
    return line


def class_looks(counts: Sequence[float]) -> list[dict[str, Any]]:
    """Colours of classes: from the palette if it has enough, else from dark (the largest class) to light."""
    K = len(counts)
    if len(_palette()) >= K:
        return [look(k) for k in range(K)]
    places = np.argsort(np.argsort(-np.array(counts, dtype=float), kind="stable"), kind="stable")
    return [ordered_look(int(place), K) for place in places]


def class_key(ax: Axes, counts: Sequence[float], sized: bool, **bar: Any) -> list[Line2D]:
    """The legend of classes: entries if the palette has enough colours; else none, and a colour bar beside the panel.
    sized: whether the counts are known. bar: options of the colour bar."""
    K, found = len(counts), class_looks(counts)
    if len(_palette()) >= K:
        names = [f"class {k}" + (f" ({count:g})" if sized else "") for k, count in enumerate(counts)]
        return [Line2D([], [], markersize=SIZE, label=name, **each) for name, each in zip(names, found, strict=True)]
    order = np.argsort(-np.array(counts, dtype=float), kind="stable")
    drawn = ScalarMappable(BoundaryNorm(np.arange(K + 1) - 0.5, K), ListedColormap([found[k]["color"] for k in order]))
    figure = ax.get_figure()
    assert figure is not None
    by_size = sized and len(set(counts)) > 1
    colours = figure.colorbar(drawn, ax=ax, label="class count" if by_size else "class", **bar)
    shown = np.unique(np.linspace(0, K - 1, SHOWN).astype(int))
    colours.set_ticks(
        shown.tolist(), labels=[f"{counts[order[place]]:g}" if by_size else str(place) for place in shown]
    )
    colours.minorticks_off()
    return []
