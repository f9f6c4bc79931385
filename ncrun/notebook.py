"""The view of a result in a notebook: a few lines of text, and tables below."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def face(title: str, lines: Sequence[str], *tables: "pd.DataFrame") -> str:
    """HTML. title: in bold, before the first line; lines: plain text."""
    words = "".join(f"<br>{escape(line)}" for line in lines)
    shown = "".join(table.to_html(float_format="{:.4g}".format, na_rep="-") for table in tables)
    return f"<div><p><b>{escape(title)}</b>{words}</p>{shown}</div>"
