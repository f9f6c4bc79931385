"""Makes a page's data small: numbers of five digits, a limited number of rows, compressed."""

import base64
import gzip
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

# Significant digits: more than a screen can show.
DIGITS = 5
# Bytes of all runs' numbers (the library's 2 MB are extra), and bytes per number, measured on the records in results/.
BUDGET = 6_500_000
BYTES_PER_NUMBER = 3.2
# Most and fewest numbers of a run, for any number of runs.
MOST_ROWS, FEWEST_ROWS = 400, 24


def shares(wanted: Sequence[int]) -> list[int]:
    """How many numbers each run may have: as many as it needs, or the same limit for all that need more."""
    left, found = BUDGET / BYTES_PER_NUMBER, [0] * len(wanted)
    by_size = sorted(range(len(wanted)), key=lambda n: wanted[n])
    for place, n in enumerate(by_size):
        found[n] = min(wanted[n], int(left / (len(wanted) - place)))
        left -= found[n]
    return found


def rounded(value: Any) -> Any:
    """Rounds to DIGITS digits, with None for numbers that are not finite; also in lists and arrays. Integers stay."""
    if isinstance(value, list | tuple | np.ndarray):
        return [rounded(each) for each in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    short = float(f"{number:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def thinned(frame: "pd.DataFrame", most: int) -> "pd.DataFrame":
    """At most this many of the rows, including the first and the last: half of them evenly spaced, half log-spaced,
    because pages show both scales."""
    if len(frame) <= most:
        return frame
    return frame.iloc[_places(len(frame), most)]


def _places(rows: int, most: int) -> NDArray[np.int64]:
    even = np.linspace(0, rows - 1, most // 2)
    logarithmic = np.geomspace(1, rows, most - most // 2) - 1
    return np.unique(np.concatenate([even, logarithmic]).round().astype(np.int64))


def packed(text: str) -> str:
    """Compressed (gzip, RFC 1952) and in characters that need no escape in a page. The same text gives the same
    bytes."""
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode("ascii")


def compact(content: Any) -> str:
    """JSON without spaces. Raises ValueError for a number that JSON cannot hold."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
