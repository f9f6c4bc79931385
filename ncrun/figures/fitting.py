"""Words that are too long for their panel are broken into lines."""

import re

from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

# What is not broken: a word, or a formula with what adheres to it, and a sign before it.
WORD = re.compile(r"(?:[−+×/=<>] )*(?:\$[^$]*\$|[^\s$])+")
# In inches, by which a title may stand out on both sides together, where tick labels of its neighbour are lower.
OVERHANG = 0.2
# In inches, for panels move a little when words are broken.
EDGE = 0.06


def extent(artist: Artist) -> Bbox:
    """The box of what is drawn, in dots of the figure, before it is drawn."""
    figure = artist.get_figure(root=True)
    assert figure is not None
    return artist.get_window_extent(RendererAgg(1, 1, figure.dpi))  # type: ignore[no-untyped-call]


def fit(figure: Figure) -> None:
    """Break titles and labels of axes where their panel, as it is laid out, ends. Drawings are fitted once, when all
    is said."""
    figure.draw_without_rendering()
    for ax in figure.axes:
        box = extent(ax)
        middle = (box.x0 + box.x1) / 2
        edge = min(middle, figure.bbox.width - middle) - EDGE * figure.dpi
        across = min(box.width + OVERHANG * figure.dpi, 2 * edge)
        for text, room, along in ((ax.title, across, "width"), (ax.xaxis.label, across, "width")):
            _break(text, room, along)
        _break(ax.yaxis.label, box.height + EDGE * figure.dpi, "height")


def _break(text: Text, room: float, along: str) -> None:
    """along: the side of the text's box that words run along."""

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
