"""Checks of single values. Each raises UserError with the key, the value and the choices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ncrun.errors import UserError, nearest


def choice(key: str, value: Any, choices: Sequence[str]) -> None:
    """The value must be one of some words."""
    if value not in choices:
        hint = nearest(str(value), choices)
        raise UserError(f"{key}={value}: not one of {', '.join(choices)}{hint}")


@dataclass(frozen=True)
class Bounds:
    """least <= value <= most. besides: further allowed values in words, put first, such as "0, or "."""

    least: float
    most: float
    besides: str = ""

    def words(self, kind: str = "") -> str:
        """kind: such as "whole numbers "."""
        return f"{self.besides}{kind}from {_short(self.least)} to {_short(self.most)}"

    def check(self, key: str, value: float) -> None:
        """Raises UserError for a number out of bounds or not a number."""
        if not (self.least <= value <= self.most or (value == 0 and self.besides.startswith("0,"))):
            raise UserError(f"{key}={_short(value)}: must be {self.words()}")


# For decays. Products of a thousand of them may leave the range of floats; see ncrun.theory.products.
DECAYS = Bounds(1e-30, 1e30, "0, or ")
LAYERS = Bounds(1, 1000)
WIDTH = Bounds(1, 10**6)


def _short(value: float) -> str:
    """A number in few characters, even if it has a thousand digits."""
    if not isinstance(value, int):
        return f"{value:g}"
    if abs(value) < 10**6:
        return str(value)
    digits = math.floor(math.log10(abs(value)))
    if value == 10**digits:
        return f"10^{digits}"
    if value == 2**63 - 1:
        return "2^63-1"
    return str(value) if digits < 30 else f"{'-' if value < 0 else ''}10^{digits}.."
