"""The one expansion of a grid: what is typed after -m, and the experiment's own, into jobs."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from ncrun.config.compose import parse
from ncrun.config.experiments import last_values, recipe


def expand(typed: Sequence[str]) -> list[list[str]]:
    """The overrides of each job, in the order of the keys, what is typed winning over the experiment's grid.

    Where several experiments or scales are typed, each has its own grid. Raises UserError.
    """
    choices = [each for each in typed if each.lstrip("+").split("=", 1)[0] in ("experiment", "scale")]
    rest = [each for each in typed if each not in choices]
    jobs = []
    for combination in _product(choices):
        one = last_values(combination, ("experiment", "scale"))
        grid: dict[str, object] = {}
        if one.get("experiment") not in (None, "null"):
            found = recipe(one["experiment"])
            grid = found.grid_at(found.scale(one.get("scale", "paper")))
        jobs += [
            [*combination, *job] for job in _product([*(f"{key}={values}" for key, values in grid.items()), *rest])
        ]
    return jobs


def _product(overrides: Sequence[str]) -> list[list[str]]:
    """Hydra's own product of lists of values; the later of two overrides of one key wins."""
    (jobs,) = BasicSweeper.split_arguments(parse(overrides), None)
    return jobs
