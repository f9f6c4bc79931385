"""Fits words and ticks to their panels: words that are too long are broken into lines, and an axis gets only as many
ticks as it has room for."""

import math
import re
from functools import cache
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import AutoLocator, LogLocator, NullLocator
from matplotlib.transforms import Bbox

# Unbreakable units: a word, or a formula with adjacent characters and a sign before it.
WORD = re.compile(r"(?:[−+×/=<>] )*(?:\$[^$]*\$|[^\s$])+")
# In inches, by which a title may exceed its panel in total, if its neighbour's tick labels are lower.
OVERHANG = 0.2
# In inches, because panels move a little when words are broken.
EDGE = 0.06
# Height of a number beside a logarithmic axis, in inches.
TICK_HEIGHT = 0.13
# Length in inches from which a decade has room for its minor ticks: the last two are then a point apart.
DECADE = 0.35
# The most ticks of an axis with round numbers, as in matplotlib.
MOST_TICKS = 9


def extent(artist: Artist) -> Bbox:
    """The box of a text in pixels of the figure, before it is drawn."""
    figure = artist.get_figure(root=True)
    assert figure is not None
    return artist.get_window_extent(_measuring(figure.dpi))


@cache
def _measuring(dpi: float) -> RendererAgg:
    """Matplotlib keeps the extents of words by renderer: with one renderer every word is measured once."""
    return RendererAgg(1, 1, dpi)  # type: ignore[no-untyped-call]


def fit(figure: Figure) -> None:
    """Breaks titles and axis labels into lines that fit their panel as it is laid out. The figure grows by the added
    lines, so that panels keep their height. Call it once, when the drawing is complete."""
    _drop_minor_ticks(figure)
    _place(figure)
    _keep_ticks(figure)
    # The most lines needed, by row of the page and kind of words.
    added: dict[tuple[int, str], float] = {}
    for ax in figure.axes:
        box, place = extent(ax), ax.get_subplotspec()
        middle = (box.x0 + box.x1) / 2
        edge = min(middle, figure.bbox.width - middle) - EDGE * figure.dpi
        across = min(box.width + OVERHANG * figure.dpi, 2 * edge)
        for kind, text in (("title", ax.title), ("label", ax.xaxis.label)):
            before = extent(text).height
            _break(text, across, "width")
            if place is not None:
                key = place.rowspan.start, kind
                added[key] = max(added.get(key, 0.0), extent(text).height - before)
        _break(ax.yaxis.label, box.height + EDGE * figure.dpi, "height")
    figure.set_figheight(figure.get_figheight() + sum(added.values()) / figure.dpi)


def lay_out(figure: Figure) -> None:
    """Fixes the layout at the resolution of a PNG. Otherwise each saved format would compute it again, which takes
    longer than drawing."""
    dpi, figure.dpi = figure.dpi, mpl.rcParams["savefig.dpi"]
    _place(figure)
    figure.dpi = dpi
    figure.set_layout_engine(None)  # "none" leaves an engine that does nothing, for which each file is drawn twice


def _place(figure: Figure) -> None:
    """Moves panels to their places in the layout, without drawing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    for ax in figure.axes:  # a fixed aspect is applied within the place, as in drawing
        place: Any = ax.get_axes_locator()
        ax.apply_aspect(place(ax, None) if place else None)


def _drop_minor_ticks(figure: Figure) -> None:
    """Of logarithmic axes with short decades, where they would merge. Making them takes a tenth of all drawing time."""
    for ax in figure.axes:
        place = ax.get_position()
        for axis, share, whole in (
            (ax.xaxis, place.width, figure.get_figwidth()),
            (ax.yaxis, place.height, figure.get_figheight()),
        ):
            low, high = sorted(axis.get_view_interval())
            if axis.get_scale() == "log" and low > 0 and share * whole < DECADE * math.log10(high / low):
                axis.set_minor_locator(NullLocator())


def _keep_ticks(figure: Figure) -> None:
    """Fixes the number of ticks. Matplotlib chooses round numbers for every length of an axis. If the last number
    exceeds the panel only at the longer of two lengths, the layout would alternate between the two and cut a number
    off."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            locator = axis.get_major_locator()
            if isinstance(locator, AutoLocator):
                locator.set_params(nbins=max(1, min(axis.get_tick_space(), MOST_TICKS)))
        locator = ax.yaxis.get_major_locator()
        if isinstance(locator, LogLocator) and isinstance(locator.numticks, int):  # by default it is a string
            most = int(extent(ax).height / figure.dpi / TICK_HEIGHT)
            locator.set_params(numticks=max(2, min(locator.numticks, most)))


def _break(text: Text, room: float, along: str) -> None:
    """Breaks a text into lines. along: the side of the text's box in the direction of the words."""

    def fits(words: str) -> bool:
        text.set_text(words)
        return bool(getattr(extent(text), along) <= room)

    whole = text.get_text()
    if not whole or fits(whole):
        return
    lines: list[str] = []
    for paragraph in whole.splitlines():
        lines.append("")
        for word in WORD.findall(paragraph):
            longer = f"{lines[-1]} {word}".lstrip()
            if lines[-1] and not fits(longer):
                lines.append(word)
            else:
                lines[-1] = longer
    text.set_text("\n".join(lines))
