"""Names the regions of a diagram by hatches and words, which work in grey."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.int64]
# Colour of hatches, light enough for dots and words on them.
FILLED: dict[str, Any] = {"edgecolor": "0.78", "linewidth": 0}
# In inches: in a narrower panel regions have no room for their names.
NARROWEST = 2.4
# The grid of places at which a panel's regions are evaluated.
PLACES = 40
WORDS: dict[str, Any] = {"ha": "center", "va": "center", "color": "0.1", "zorder": 5}
# A background of the words, so that no hatch crosses the letters.
BEHIND: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.3}
# Shares of a panel's width: the size of a dot, and the step between tried places.
DOT, STEPS = 0.02, 30


def named(ax: Axes, region: Places, names: Sequence[str], dots: tuple[Array, Array] | None = None) -> None:
    """Writes each region's name into it, in one line or one word per line, as far as possible from dots and boundaries;
    not at all if it does not fit. The figure must be laid out (draw_without_rendering).

    region: (rows, columns) of places in names, evenly over the panel from its lower left corner. dots: two (n,), places
    in data coordinates to keep free.
    """
    marks = np.empty((0, 2)) if dots is None else _shares(ax, np.transpose(dots))
    for place, name in enumerate(names):
        outside = np.argwhere(region != place)[:, ::-1]
        borders = (outside + 0.5) / region.shape[::-1]
        for spelled in dict.fromkeys((name, name.replace(" ", "\n"))):
            where = _roomiest(_size(ax, spelled), np.vstack([marks, borders]))
            if where is not None:
                ax.text(float(where[0]), float(where[1]), spelled, transform=ax.transAxes, bbox=BEHIND, **WORDS)
                break


def _roomiest(size: Array, taken: Array) -> Array | None:
    """The centre of a box of this size in the unit square that is farthest from the points (n, 2); None if every box
    contains one."""
    best, room = None, 0.0
    steps = [np.arange(extent / 2, 1 - extent / 2, 1 / STEPS) for extent in size]
    for place in np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2):
        apart = np.maximum(np.abs(taken - place) - size / 2, 0)
        edges = np.minimum(place, 1 - place) - size / 2 + DOT
        found = min(np.sqrt((apart**2).sum(axis=1).min(initial=1.0)), edges.min())
        if found > room:
            best, room = place, found
    return best


def _shares(ax: Axes, dots: Array) -> Array:
    """(n, 2): data coordinates as shares of the panel."""
    found: Array = ax.transAxes.inverted().transform(ax.transData.transform(dots))
    return found


def _size(ax: Axes, name: str) -> Array:
    """Width and height of words, with room for a dot, as shares of the panel."""
    text = ax.text(0.5, 0.5, name, transform=ax.transAxes, bbox=BEHIND, **WORDS)
    box = text.get_window_extent()
    text.remove()
    panel = ax.get_window_extent()
    return np.array([box.width / panel.width, box.height / panel.height]) + DOT
