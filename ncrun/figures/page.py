"""The page of figures: its width, its type, and the formats of the files."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from matplotlib.font_manager import font_scalings
from tueplots import figsizes, fonts, fontsizes

from ncrun.errors import UserError, nearest

FORMATS = ("png", "pdf", "svg", "pgf")
WIDTHS = ("column", "text")
TYPES = ("sans", "serif")
# The options of a page and their choices; none for numbers and lists.
CHOICES: dict[str, tuple[str, ...]] = {
    "width": WIDTHS,
    "venue": (),
    "type": TYPES,
    "format": FORMATS,
    "caption": ("true", "false"),
}
# In inches: width of a column and of the text, without a venue.
COLUMN, TEXT = 3.25, 5.5
NARROWEST, WIDEST = 2.0, 20.0
# In points: smaller type is not legible in print.
SMALLEST_TYPE = 7.0
# Times, or similar fonts; the last two come with matplotlib.
SERIF: dict[str, Any] = {
    "font.family": "serif",
    "font.serif": ["Times New Roman", "STIXGeneral", "DejaVu Serif"],
    "mathtext.fontset": "stix",
}
SANS: dict[str, Any] = {"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans"}
# tueplots calls the sizes of a venue NAME, or with two columns NAME_half and NAME_full.
VENUE = re.compile(r"([a-z]+\d{4})(_half|_full)?")


@dataclass(frozen=True)
class Page:
    """rc: matplotlib's parameters in addition to the project's style. formats: suffixes of the files.
    caption: whether a PNG contains the whole caption below the panels, or only scale and data."""

    rc: Mapping[str, Any] = field(default_factory=dict)
    formats: tuple[str, ...] = ("png", "pdf")
    caption: bool = False


def page_of(said: Mapping[str, str], prefix: str = "") -> Page:
    """said: the user's options, by the keys of CHOICES. prefix: of an option as they gave it.

    Raises UserError for an unknown choice, and for pgf without LaTeX.
    """

    def refused(key: str, words: str) -> UserError:
        return UserError(f"{prefix}{key}={said[key]}: {words}")

    for key in ("type", "caption"):
        if key in said and said[key] not in CHOICES[key]:
            raise refused(key, f"must be {' or '.join(CHOICES[key])}{nearest(said[key], CHOICES[key])}")
    venue = None
    if "venue" in said:
        venue = exact_venue(said["venue"])
        if venue is None:
            words = f"not one of {', '.join(venues())}, nor one with a year, such as neurips2023"
            raise refused("venue", words + nearest(said["venue"], venues()))
    width = _inches(said.get("width", "text"), venue)
    if width is None:
        raise refused("width", f"must be column, text, or inches from {NARROWEST:g} to {WIDEST:g}")
    formats = tuple(dict.fromkeys(said.get("format", "png,pdf").split(",")))
    for each in formats:
        if each not in FORMATS:
            raise refused("format", f"{each or 'nothing'} is not one of {', '.join(FORMATS)}{nearest(each, FORMATS)}")
    rc: dict[str, Any] = {"figure.figsize": (width, width / 1.6)}
    if venue:
        rc |= {name: max(size, SMALLEST_TYPE) for name, size in _of(fontsizes, venue).items()}
        rc["font.size"] = max(rc["font.size"], SMALLEST_TYPE / font_scalings["small"])
    if (said.get("type") or ("serif" if venue else "sans")) == "serif":
        rc |= SERIF | ({"font.serif": _serif(venue)} if venue else {})
    else:
        rc |= SANS
    if "pgf" in formats:
        rc["pgf.texsystem"] = _tex_system(refused)
    return Page(rc, formats, said.get("caption") == "true")


def venues() -> list[str]:
    """Names of conferences and journals, without their years."""
    return sorted({re.sub(r"\d+", "", each) for each in _venues()})


def exact_venue(name: str) -> str | None:
    """The venue with its year, the latest one by default; None if there is none of this name."""
    known = _venues()
    return name if name in known else max((each for each in known if re.sub(r"\d+", "", each) == name), default=None)


def _venues() -> set[str]:
    found = (VENUE.fullmatch(each) for each in dir(figsizes))
    return {match[1] for match in found if match and hasattr(fontsizes, match[1])}


def _of(module: ModuleType, name: str) -> dict[str, Any]:
    found: dict[str, Any] = getattr(module, name)()
    return found


def _inches(text: str, venue: str | None) -> float | None:
    """None for an invalid width. For a venue without columns, a column is the text."""
    if text in WIDTHS:
        if venue is None:
            return COLUMN if text == "column" else TEXT
        sizes = [f"{venue}{ending}" for ending in (("_half", "") if text == "column" else ("_full", ""))]
        return float(_of(figsizes, next(each for each in sizes if hasattr(figsizes, each)))["figure.figsize"][0])
    try:
        inches = float(text.removesuffix("in"))
    except ValueError:
        return None
    return inches if NARROWEST <= inches <= WIDEST else None


def _serif(venue: str) -> list[str]:
    """The venue's fonts, if they are installed, before those of matplotlib."""
    own = _of(fonts, venue)["font.serif"] if hasattr(fonts, venue) else []
    return [*own, *(each for each in SERIF["font.serif"] if each not in own)]


def _tex_system(refused: Any) -> str:
    """matplotlib uses it to measure words in the paper's type."""
    for each in ("xelatex", "pdflatex", "lualatex"):
        if shutil.which(each):
            return each
    raise refused("format", "pgf needs xelatex, pdflatex or lualatex, and none is installed; pdf needs none")
