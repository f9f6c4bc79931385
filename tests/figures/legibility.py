"""What a reader of a printed figure would stumble over: words that are too small, cut off, or on one another."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from ncrun.figures.fitting import fit

SMALLEST_TYPE = 7.0
# In points. A box of words is larger than their ink, by about this much on every side.
INK = 0.9


def has_type_3(figure: Figure) -> bool:
    """Whether a PDF of it embeds fonts that journals refuse."""
    buffer = io.BytesIO()
    with plt.rc_context({"pdf.compression": 0}):
        figure.savefig(buffer, format="pdf")
    assert b"/FontFile2" in buffer.getvalue()  # that fonts are seen at all
    return b"/Type3" in buffer.getvalue()


def flaws(figure: Figure) -> list[str]:
    """In words, none if a paper can print it. Superscripts count as what they belong to. The figure is closed."""
    figure.set_dpi(72)  # a dot is a point
    fit(figure)
    with words_of_drawing() as boxes:
        figure.draw_without_rendering()
    canvas, found = Bbox.from_bounds(0, 0, *figure.bbox.size), []
    found += [f"{_name(text)}: {text.get_fontsize():.3g} pt" for text in boxes if text.get_fontsize() < SMALLEST_TYPE]
    found += [f"{_name(text)}: is cut off" for text, box in boxes.items() if not _inside(box, canvas.padded(INK))]
    pairs = combinations(boxes.items(), 2)
    found += [f"{_name(one)} is on {_name(two)}" for (one, box), (two, other) in pairs if _overlap(box, other)]
    plt.close(figure)
    return found


@contextmanager
def words_of_drawing() -> Iterator[dict[Text, Bbox]]:
    """Where words are drawn by the last drawing meanwhile. Labels of ticks outside of an axis are not drawn."""
    found: dict[Text, Bbox] = {}
    draw_figure, draw_text = Figure.draw, Text.draw

    def begun(self: Figure, renderer: Any) -> None:
        found.clear()
        draw_figure(self, renderer)

    def noted(self: Text, renderer: Any, *more: Any, **options: Any) -> None:
        draw_text(self, renderer, *more, **options)
        if self.get_visible() and self.get_text().strip():
            found[self] = Text.get_window_extent(self, renderer)  # of an annotation without its arrow

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "draw", begun)
        patch.setattr(Text, "draw", noted)
        yield found


def _name(text: Text) -> str:
    return repr(text.get_text())


def _inside(box: Bbox, canvas: Bbox) -> bool:
    return bool(box.x0 >= canvas.x0 and box.y0 >= canvas.y0 and box.x1 <= canvas.x1 and box.y1 <= canvas.y1)


def _overlap(one: Bbox, other: Bbox) -> bool:
    shared = Bbox.intersection(one, other)
    return shared is not None and shared.width > 2 * INK and shared.height > 2 * INK
