"""What a drawing needs of the records; where they lack it, the drawing is left out in one line and others are drawn."""

from collections.abc import Sequence

from ncrun.errors import UserError
from ncrun.records.read import Record


def metrics(records: Sequence[Record], *names: str, why: str = "") -> None:
    """Raises UserError for a run that has not measured one of these metrics, or has null in it throughout. why: in what
    settings there is one."""
    for record in records:
        for name in names:
            if name not in record.metrics or record.metrics[name].isna().all():
                raise UserError(f"{record.path}: has no {name}, which is drawn here{why and f': {why}'}")


def columns(record: Record, *names: str) -> None:
    """Raises UserError if the run does not measure one of these; null is a value, too."""
    for name in names:
        if name not in record.metrics:
            raise UserError(f"{record.path}: has no {name}, which is drawn here")


def momenta(records: Sequence[Record]) -> None:
    """Raises UserError for a run whose optimiser knows no momentum."""
    for record in records:
        if "momentum" not in record.config["optimizer"]:
            raise UserError(f"{record.path}: has no optimizer.momentum, by which curves are drawn here")


def verdicts(records: Sequence[Record]) -> None:
    """Raises UserError for a run that nobody judged: one with data, or of free features that are not settled."""
    for record in records:
        if not record.manifest.get("verdict"):
            raise UserError(f"{record.path}: has no verdict, by which runs are drawn here")
