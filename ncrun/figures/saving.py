"""Writes figures to files, with their captions beside them."""

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ncrun.errors import UserError
from ncrun.figures import fitting, panels
from ncrun.figures.page import Page
from ncrun.records.files import write_aside

# Characters that LaTeX reads as commands, or that its fonts lack.
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
    """Writes a file in each format of the page, and the caption as NAME.caption.tex. path: without a suffix. Returns
    the files.

    A PNG, which is often shown alone, contains at least scale and data in a line below the panels, so that scales are
    not confused. The other formats are for a paper, which has the caption; their metadata contain it, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fitting.fit(figure)
    words = panels.caption_of(figure)
    written = {each: path.with_name(f"{path.name}.{each}") for each in page.formats}
    if "pgf" in written:
        _as_pgf(figure, written["pgf"])
    # A user's own settings could lay out every file anew.
    with mpl.rc_context(
        {"svg.hashsalt": path.name, "figure.autolayout": False, "figure.constrained_layout.use": False}
    ):
        fitting.lay_out(figure)
        for kind, file in written.items():
            if kind == "pgf":
                continue
            below = (words if page.caption else panels.short_caption_of(figure)) if kind == "png" else ""
            with words_below(figure, below) as area:
                figure.savefig(file, bbox_inches=area, metadata=_properties(kind, words))
    if words:
        text = as_latex(words) + "\n"
        write_aside(path.with_name(path.name + ".caption.tex"), lambda file: file.write(text.encode()))
    if pyplot := sys.modules.get("matplotlib.pyplot"):  # a user's own drawing may have used it
        pyplot.close(figure)
    return list(written.values())


def _as_pgf(figure: Figure, file: Path) -> None:
    """Writes a PGF, in which LaTeX measures the words and so decides the layout. Raises UserError if LaTeX fails."""
    from matplotlib.backends.backend_pgf import LatexError

    try:
        figure.savefig(file)
    except LatexError as error:
        raise UserError(f"{file}: LaTeX cannot typeset it: {str(error).splitlines()[0]}") from error


def _properties(kind: str, words: str) -> dict[str, str | None]:
    """The metadata of a file. They have no date, so that the same records give the same bytes."""
    own: dict[str, dict[str, str | None]] = {
        "png": {"Description": words},
        "pdf": {"CreationDate": None, "Subject": words},
        "svg": {"Date": None, "Description": words},
    }
    return own[kind]


def as_latex(text: str) -> str:
    """Plain text for \\input."""
    return text.translate(LATEX)


@contextmanager
def words_below(figure: Figure, words: str) -> Iterator[Bbox | None]:
    """Writes words below the panels of a laid-out figure, without moving them. Yields the area of both in inches, for
    savefig's bbox_inches; without words None, for the figure's own area."""
    if not words:
        yield None
        return
    below = figure.text(0.01, 0, words, size=mpl.rcParams["legend.fontsize"], color="0.3", in_layout=False)
    room = 0.95 * figure.bbox.width  # in the file, letters are up to a few percent wider than here
    letters = int(room * len(words) / fitting.extent(below).width)
    while letters:  # some lines have wider letters than the mean
        below.set_text("\n".join(textwrap.wrap(words, letters, break_on_hyphens=False)))
        if fitting.extent(below).width <= room:
            break
        letters -= 1
    width, height = figure.get_size_inches()
    added = fitting.extent(below).height / figure.dpi + GAP
    below.set_y((0.01 * (height + added) - added) / height)
    yield Bbox.from_extents(0, -added, width, height)
    below.remove()
