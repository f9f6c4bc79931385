"""What a user's own file adds to ncrun, by one word: ncrun.register(entry)."""

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
    """Add a loss, a model (an instance of its spec, with the defaults), a data set (likewise), a metric, a theorem, a
    drawing or a logger. From then on users choose it by its key, like what is built in. Returns the entry.

    Raises UserError if its key is taken, or if it is none of these.
    """
    for kind, registry in KINDS:
        if isinstance(entry, kind):
            registry.add(entry)
            return entry
    names = ", ".join(kind.__name__ for kind, _ in KINDS)
    raise UserError(f"register: {entry!r} is none of {names}")


def forget_added() -> None:
    """Only what is built in is left; for tests, whose processes live on."""
    for _, registry in KINDS:
        registry.forget_added()
