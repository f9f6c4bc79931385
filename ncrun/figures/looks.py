"""How lines are told apart, in grey too: beside its hue a line has a marker, in a few places."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D

# In the order of the palette's colours; the diamond is taken, by what marks a time.
MARKERS = ("o", "s", "^", "v", "P", "X", "<", ">", "p", "h", "*", "8")
# Of a line: so many markers, of this size.
MARKS, SIZE = 4, 3.0
# From one marker to the next the first place is shifted by this part of the way to the second (the golden ratio spreads
# any number of them evenly), so that the markers of lines that coincide are all seen.
SHIFT = 0.618
# Numbers beside a colour bar of classes.
SHOWN = 4
# From dark to light.
ORDERED = "viridis"


def look(place: int) -> dict[str, Any]:
    """Colour and marker of a place in the palette."""
    return {"color": f"C{place % len(_palette())}", "marker": MARKERS[place % len(MARKERS)]}


def ordered_look(place: int, number: int) -> dict[str, Any]:
    """Of so many values in an order: of the palette while it lasts, else from dark to light. Colours as they are now,
    whatever style the figure is shown in."""
    palette = _palette()
    return look(place) | {"color": palette[place] if number <= len(palette) else mpl.colormaps[ORDERED](place / number)}


def _palette() -> list[str]:
    return list(mpl.rcParams["axes.prop_cycle"].by_key()["color"])


def marked(line: Line2D) -> Line2D:
    """The same line with its marker on few places, evenly from left to right as the axis is now scaled."""
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
    """Of each class: of the palette while it lasts, else from dark, the largest class, to light."""
    K = len(counts)
    if len(_palette()) >= K:
        return [look(k) for k in range(K)]
    places = np.argsort(np.argsort(-np.array(counts, dtype=float), kind="stable"), kind="stable")
    return [ordered_look(int(place), K) for place in places]


def class_key(ax: Axes, counts: Sequence[float], sized: bool, **bar: Any) -> list[Line2D]:
    """Which look is which class: entries for a legend while the palette lasts; else none, and a colour bar beside the
    panel. sized: whether the classes' sizes are known. bar: options of the colour bar."""
    K, found = len(counts), class_looks(counts)
    if len(_palette()) >= K:
        names = [f"class {k}" + (f" ({count:g})" if sized else "") for k, count in enumerate(counts)]
        return [Line2D([], [], markersize=SIZE, label=name, **each) for name, each in zip(names, found, strict=True)]
    order = np.argsort(-np.array(counts, dtype=float), kind="stable")
    drawn = ScalarMappable(BoundaryNorm(np.arange(K + 1) - 0.5, K), ListedColormap([found[k]["color"] for k in order]))
    figure = ax.get_figure()
    assert figure is not None
    by_size = sized and len(set(counts)) > 1
    colours = figure.colorbar(drawn, ax=ax, label="class size" if by_size else "class", **bar)
    shown = np.unique(np.linspace(0, K - 1, SHOWN).astype(int))
    colours.set_ticks(
        shown.tolist(), labels=[f"{counts[order[place]]:g}" if by_size else str(place) for place in shown]
    )
    colours.minorticks_off()
    return []
