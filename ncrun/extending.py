"""`ncrun.register(entry)`: adds an entry of a user's own file to ncrun."""

from typing import Any, TypeVar

from ncrun.data import SOURCES, Source
from ncrun.errors import UserError
from ncrun.figures import DRAWINGS, Drawing
from ncrun.loggers import LOGGERS, Logger
from ncrun.losses import LOSSES, Loss
from ncrun.metrics import METRICS, Metric
from ncrun.models import MODELS, ModelSpec
from ncrun.registry import Registry
from ncrun.theory import THEOREMS, Theorem

KINDS: tuple[tuple[type[Any], Registry[Any]], ...] = (
    (Loss, LOSSES),
    (ModelSpec, MODELS),
    (Source, SOURCES),
    (Metric, METRICS),
    (Theorem, THEOREMS),
    (Drawing, DRAWINGS),
    (Logger, LOGGERS),
)

T = TypeVar("T")


def register(entry: T) -> T:
    """Adds a loss, a model or a data set (an instance of its class with the defaults), a metric, a theorem, a drawing
    or a logger. Users then choose it by its key, like the built-in ones. Returns the entry.

    Raises UserError if its key is taken, or for any other object.
    """
    for kind, registry in KINDS:
        if isinstance(entry, kind):
            registry.add(entry)
            return entry
    names = ", ".join(kind.__name__ for kind, _ in KINDS)
    raise UserError(f"register: {entry!r} is none of {names}")


def forget_added() -> None:
    """Removes everything that is not built in; for tests, which share a process."""
    for _, registry in KINDS:
        registry.forget_added()
