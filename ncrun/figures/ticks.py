"""The numbers along an axis are all plain, or all powers of ten."""

from collections.abc import Iterable

import numpy as np
from matplotlib.ticker import FuncFormatter

# Between these limits a plain number is readable.
PLAIN = 1e-3, 1e4


def one_kind(shown: Iterable[float]) -> FuncFormatter:
    """A formatter for an axis with these numbers or ends; zero is always plain."""
    sizes = np.abs([value for value in shown if value])
    plain = len(sizes) == 0 or (PLAIN[0] <= sizes.min() and sizes.max() <= PLAIN[1])
    return FuncFormatter(lambda value, _: f"{value:g}" if plain or not value else power(value))


def power(value: float) -> str:
    """10^4 or 2 x 10^4, to three digits."""
    factor, _, exponent = f"{value:.2e}".partition("e")
    number = f"{float(factor):g}"
    tens = f"10^{{{int(exponent)}}}"
    return f"${tens}$" if number == "1" else f"${number} \\times {tens}$"
