"""The page: one file with its data, its style, its script and the drawing library."""

import base64
import hashlib
import time
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import colormaps
from matplotlib.colors import to_hex

from ncrun import __version__
from ncrun.errors import UserError, printable
from ncrun.figures.heat_map import COLOURS as MATRIX_COLOURS
from ncrun.metrics import words_of
from ncrun.report.content import content_of
from ncrun.report.curves import numbers_of, palette
from ncrun.report.gathered import Shown, records_of
from ncrun.report.overview import overview_of
from ncrun.report.packed import compact, packed, shares

# In their order on the page.
SCRIPTS = ("unpack.js", "plots.js", "panels.js", "table.js", "run.js", "main.js")
SECONDS_BETWEEN_QUESTIONS = 2.0
MISSING = "ncrun report needs plotly, which is not installed: pip install 'plotly>=6'"


@cache
def library() -> str:
    """plotly.js from the Python package. Raises UserError, with the command, if it is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UserError(MISSING) from error
    return str(get_plotlyjs())


def page(runs: Sequence[Shown], title: str) -> str:
    """HTML that needs no network. Raises UserError if plotly is not installed."""
    overview, records = overview_of(runs), records_of(runs)
    numbers = shares([numbers_of(record) for _, record in records])
    contents = [
        packed(compact(content_of(record, glance, row["name"], most)))
        for (glance, record), row, most in zip(records, overview["rows"], numbers, strict=True)
    ]
    return _rendered(about(runs, title) | {"live": False}, overview, contents)


def live_page(runs: Sequence[Shown], title: str) -> str:
    """The live page, which requests the runs from its server every few seconds."""
    content = about(runs, title) | {"live": True, "seconds": SECONDS_BETWEEN_QUESTIONS}
    return _rendered(content, overview_of(runs), [])


def about(runs: Sequence[Shown], title: str) -> dict[str, Any]:
    """The page's data besides runs: its title, colours, and the meanings of columns."""
    columns = dict.fromkeys(column for _, record in records_of(runs) for column in record.metrics)
    return {
        "title": printable(title),
        "made": f"ncrun {__version__}, {time.strftime('%Y-%m-%d %H:%M')}",
        "palette": palette(),
        "diverging": _diverging(),
        "words": {column: words for column in columns if (words := words_of(column))},
    }


def _diverging() -> list[str]:
    """Colours of a matrix, evenly from the most negative to the most positive number."""
    return [to_hex(colormaps[MATRIX_COLOURS](share)) for share in np.linspace(0, 1, 9)]


def _rendered(about: dict[str, Any], overview: dict[str, Any], contents: list[str]) -> str:
    script = "\n".join(_own(name) for name in SCRIPTS)
    # The page runs only these two scripts, and sends no requests except, in live mode, to its own server.
    hashes = " ".join(f"'sha256-{_digest(each)}'" for each in (script, library()))
    environment = Environment(loader=PackageLoader("ncrun.report"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html").render(
        title=about["title"],
        hashes=hashes,
        asked="'self'" if about["live"] else "'none'",
        style=_own("page.css"),
        script=script,
        library=packed(library()),
        content=about | overview,
        runs=contents,
    )


def _own(name: str) -> str:
    return files("ncrun.report").joinpath("static", name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
