"""The metrics of features, labels and a head: every column of metrics.jsonl is an entry of METRICS.

The files of the entries do not import torch, so figures and tables can name the columns at once. The other files need
it: the single pass over the samples (scan), the scatter algebra, and the rows made from both (rows). A user's own file
adds a metric by METRICS.add(...).
"""

import re

from ncrun.metrics.classes import CLASSES
from ncrun.metrics.clock import CLOCKS, FREE_FEATURES
from ncrun.metrics.collapse import AGAINST_BALANCED, COLLAPSE
from ncrun.metrics.cosines import COSINES
from ncrun.metrics.decisions import DECISIONS
from ncrun.metrics.frames import DEEP_COLLAPSE, FRAMES, RANK
from ncrun.metrics.metric import Metric
from ncrun.metrics.nc1_bound import NC1_BOUNDS
from ncrun.metrics.optimum import BALANCE, OPTIMUM
from ncrun.metrics.regression import REGRESSION
from ncrun.registry import Registry

__all__ = ["METRICS", "Metric", "at_level", "heading_of", "words_of"]

# In the order of the columns in a row.
METRICS: Registry[Metric] = Registry(
    "metric",
    (
        *CLOCKS,
        *OPTIMUM,
        *COLLAPSE,
        RANK,
        *FRAMES,
        *COSINES,
        *CLASSES,
        *AGAINST_BALANCED,
        *DECISIONS,
        BALANCE,
        *NC1_BOUNDS,
        *DEEP_COLLAPSE,
        *REGRESSION,
        *FREE_FEATURES,
    ),
)


def at_level(level: str) -> list[Metric]:
    """The metrics of a level, one of metric.LEVELS."""
    return [metric for metric in METRICS if metric.function is not None and level in metric.levels]


def words_of(column: str) -> str:
    """A column of metrics.jsonl in words; "" if no registered metric explains it, such as a user's own metric that is
    not imported."""
    metric, where = _found(column)
    return "" if metric is None else f"{metric.name}{where}"


def heading_of(column: str) -> tuple[str, str]:
    """The title of a column's panel (its sign, or its words if it has none), and the label of the ordinate, "" if the
    title says the same. For a column that no metric explains, its name."""
    metric, where = _found(column)
    if metric is None:
        return column, ""
    if metric.sign:
        return f"{metric.sign}{where}", metric.axis or metric.words
    return f"{metric.words}{where}", metric.axis


def _found(column: str) -> tuple[Metric | None, str]:
    """The metric of a column, and the words for its level."""
    if column in METRICS:
        return METRICS[column], ""
    place = re.fullmatch(r"(head\.\d+|tap\..+|test)\.([^.]+)", column)
    if place is None or place[2] not in METRICS:
        return None, ""
    level, _, name = place[1].partition(".")
    where = {"head": f", head layer {name}", "tap": f", tap {name}", "test": ", test split"}[level]
    return METRICS[place[2]], where
