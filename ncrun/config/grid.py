"""Expands a grid (the one after -m and the experiment's own) into jobs."""

import math
from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

from ncrun.config.compose import parse
from ncrun.config.experiments import last_values, recipe
from ncrun.errors import UserError

# Every job is checked before the first one starts, about ten per second.
MOST_JOBS = 5000


def expand(typed: Sequence[str]) -> list[list[str]]:
    """The overrides of each job, in the order of the keys. The command line wins over the experiment's grid.

    If several experiments or scales are given, each has its own grid. Raises UserError.
    """
    choices = [each for each in typed if each.lstrip("+").split("=", 1)[0] in ("experiment", "scale")]
    rest = [each for each in typed if each not in choices]
    jobs = []
    for combination in _product(choices):
        one = last_values(combination, ("experiment", "scale"))
        grids: list[list[str]] = [[]]
        if one.get("experiment") not in (None, "null"):
            found = recipe(one["experiment"])
            grids = found.grids_at(found.scale(one.get("scale", "paper")))
        jobs += [[*combination, *job] for grid in grids for job in _product([*grid, *rest])]
    return jobs


def _product(overrides: Sequence[str]) -> list[list[str]]:
    """Hydra's product of lists of values; the later of two overrides of one key wins.

    Raises UserError for an empty or far too large product, before it is made.
    """
    parsed = parse(overrides)
    numbers: dict[str, float] = {}
    for each in parsed:
        key = each.get_key_element()
        numbers[key] = _number_of_values(each)
        total = math.prod(numbers.values())
        if total > MOST_JOBS:
            raise UserError(f"{key}: {numbers[key]:g} values make {total:g} jobs of this sweep; at most {MOST_JOBS}")
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    return jobs


def _number_of_values(override: Override) -> float:
    """The number of values of a list or range, without making it; 1 for what Hydra expands itself. Raises UserError if
    it is 0."""
    swept = override.value()
    if isinstance(swept, ChoiceSweep):
        return len(swept.list)
    if not isinstance(swept, RangeSweep):
        return 1
    try:
        start, stop, step = (float(each or 0) for each in (swept.start, swept.stop, swept.step))
        number = (stop - start) / step
    except OverflowError:
        return math.inf
    except ZeroDivisionError:
        number = 0
    if number <= 0:
        raise UserError(f"{override.input_line}: holds no value")
    return math.ceil(number) if math.isfinite(number) else math.inf
