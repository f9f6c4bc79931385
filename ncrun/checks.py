"""What a single value must be: each check raises UserError naming the key, the value and what it may be."""

import math
from collections.abc import Sequence
from typing import Any

from ncrun.errors import UserError, nearest


def choice(key: str, value: Any, choices: Sequence[str]) -> None:
    """One of some words."""
    if value not in choices:
        hint = nearest(str(value), choices)
        raise UserError(f"{key}={value}: not one of {', '.join(choices)}{hint}")


def at_least(key: str, value: float, least: float) -> None:
    """A finite number, not below the least."""
    if not (math.isfinite(value) and value >= least):
        raise UserError(f"{key}={value}: must be a number of at least {least:g}")


def positive(key: str, value: float) -> None:
    """A finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{key}={value}: must be a number above 0")
