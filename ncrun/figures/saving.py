"""Pictures in files, with their captions beside them."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.backends.backend_pgf import LatexError
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ncrun.errors import UserError
from ncrun.figures import fitting, panels
from ncrun.figures.page import Page
from ncrun.records.files import write_aside

# What LaTeX reads as a command, and characters that its fonts lack.
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{each: "\\" + each for each in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "−": "$-$",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
        "×": r"$\times$",
        "λ": r"$\lambda$",
    }
)

PAGE = Page()
# In inches, between the panels and the words below them.
GAP = 0.06


def save(figure: Figure, path: Path, page: Page = PAGE) -> list[Path]:
    """The formats of the page beside each other, and the caption as NAME.caption.tex; path without a suffix. Returns
    the pictures.

    A PNG, which is looked at and sent around by itself, says at least scale and data in a line below the panels, so
    that nobody mistakes one scale for another. The others are for a paper, which has the caption; in their properties
    they hold it, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fitting.fit(figure)
    words = panels.caption_of(figure)
    written = [path.with_name(f"{path.name}.{each}") for each in page.formats]
    for file, each in zip(written, page.formats, strict=True):
        below = (words if page.caption else panels.short_caption_of(figure)) if each == "png" else ""
        with words_below(figure, below), plt.rc_context({"svg.hashsalt": path.name}):
            try:
                figure.savefig(file, **_properties(each, words))
            except LatexError as error:
                raise UserError(f"{file}: LaTeX does not set it: {str(error).splitlines()[0]}") from error
    if words:
        text = as_latex(words) + "\n"
        write_aside(path.with_name(path.name + ".caption.tex"), lambda file: file.write(text.encode()))
    plt.close(figure)
    return written


def _properties(kind: str, words: str) -> dict[str, Any]:
    """Options of savefig for a file of this kind. Without a date, redrawing the same records gives the same bytes."""
    if kind == "pgf":  # has no place for them
        return {}
    own: dict[str, dict[str, str | None]] = {
        "png": {"Description": words},
        "pdf": {"CreationDate": None, "Subject": words},
        "svg": {"Date": None, "Description": words},
    }
    return {"metadata": own[kind]}


def as_latex(text: str) -> str:
    """Plain words for \\input."""
    return text.translate(LATEX)


@contextmanager
def words_below(figure: Figure, words: str) -> Iterator[None]:
    """A figure with words below its panels, for which it grows; afterwards as it was."""
    if not words:
        yield
        return
    below = figure.text(0.01, 0.01, words, size=plt.rcParams["legend.fontsize"], color="0.3", in_layout=False)
    room = 0.95 * figure.bbox.width  # at the resolution of the file, letters are wider than here by up to a few percent
    letters = int(room * len(words) / fitting.extent(below).width)
    while letters:  # some letters are wider than the mean of all
        below.set_text("\n".join(textwrap.wrap(words, letters, break_on_hyphens=False)))
        if fitting.extent(below).width <= room:
            break
        letters -= 1
    height, added = figure.get_figheight(), fitting.extent(below).height / figure.dpi + GAP
    figure.set_figheight(height + added)
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)
    share = added / (height + added)
    layout.set(rect=(0, share, 1, 1 - share))
    yield
    below.remove()
    layout.set(rect=(0, 0, 1, 1))
    figure.set_figheight(height)
