"""Checks of the records for a drawing. If they lack something, one line says so, and other drawings are still made."""

from collections.abc import Sequence

from ncrun.errors import UserError
from ncrun.records.read import Record


def metrics(records: Sequence[Record], *names: str, why: str = "") -> None:
    """Raises UserError for a run without one of these metrics, or with only nulls in it. why: which runs have it."""
    for record in records:
        for name in names:
            if name not in record.metrics or record.metrics[name].isna().all():
                raise UserError(f"{record.path}: has no {name}, which this drawing needs{why and f': {why}'}")


def columns(record: Record, *names: str) -> None:
    """Raises UserError if the run has no such column; null is a value, too."""
    for name in names:
        if name not in record.metrics:
            raise UserError(f"{record.path}: has no {name}, which this drawing needs")


def momenta(records: Sequence[Record]) -> None:
    """Raises UserError for a run whose optimiser has no momentum."""
    for record in records:
        if "momentum" not in record.config["optimizer"]:
            raise UserError(f"{record.path}: has no optimizer.momentum, which this drawing needs")


def verdicts(records: Sequence[Record]) -> None:
    """Raises UserError for a run without a verdict: one with a data set, or of free features that have not
    converged."""
    for record in records:
        if not record.manifest.get("verdict"):
            raise UserError(f"{record.path}: has no verdict, which this drawing needs")
