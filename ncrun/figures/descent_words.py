"""Words about the training: optimiser, learning rate with its schedule, batch, length, dtype and seeds."""

from collections.abc import Sequence

from ncrun.figures.phrases import any_of, each, seed_words
from ncrun.records.read import Record

OPTIMIZER_WORDS = {"sgd": "SGD", "adam": "Adam"}


def descent_words(records: Sequence[Record]) -> str:
    """The words of every optimiser among the runs, then the common words."""
    names = dict.fromkeys(record.config["optimizer"]["name"] for record in records)
    found = [_of_one([r for r in records if r.config["optimizer"]["name"] == name], name) for name in names]
    parts = (" or ".join(found), each(records, _dtype), seed_words(record.config["seed"] for record in records))
    return ", ".join(filter(None, parts))


def _of_one(records: Sequence[Record], name: str) -> str:
    """For runs with one optimiser."""
    if name == "lbfgs":
        return "L-BFGS until the gradient vanishes"
    full = all(record.config["batch_size"] == "full" for record in records)
    words = "gradient descent" if name == "sgd" and full else OPTIMIZER_WORDS.get(name, name)
    if "momentum" in records[0].config["optimizer"]:
        words += f", momentum {each(records, lambda r: format(r.config['optimizer'].get('momentum', 0), 'g'))}"
    length = any_of(dict.fromkeys(f"{record.config['epochs']:,}" for record in records))
    rate = each(records, lambda record: f"{record.config['optimizer']['lr']:g}{_schedule(record)}")
    if records[0].is_free:  # an iteration takes all samples
        return f"{length} iterations of {words}, learning rate {rate}"
    batch = each(records, _batch)
    return f"{length} epochs of {words}, learning rate {rate}, {batch}{_arriving(records)}"


def _batch(record: Record) -> str:
    size = record.config["batch_size"]
    return "full batch" if size == "full" else f"batch {size}"


def _arriving(records: Sequence[Record]) -> str:
    """Words about fixed BatchNorm and about the finish. (Old records have no key for either.)"""
    shares = dict.fromkeys(f"{share:.0%}" for r in records if (share := r.config.get("freeze_norm")))
    counts = dict.fromkeys(count for r in records if (count := r.config.get("finish_iterations")))
    words = f", BatchNorm fixed from {any_of(shares)} of them on" if shares else ""
    return f"{words}, then up to {any_of(counts)} iterations of L-BFGS" if counts else words


def _schedule(record: Record) -> str:
    """When the learning rate falls, and by which factor; "" if it is constant."""
    schedule = record.config.get("schedule")
    if schedule is None:
        return ""
    if schedule["step"] is not None:
        return f" times {schedule['gamma']:g} every {schedule['step']} epochs"
    if not schedule["drops"]:
        return ""
    *first, last = (f"{drop:.3g}" for drop in schedule["drops"])
    return f" times {schedule['gamma']:g} after {', '.join(first)}{' and ' if first else ''}{last} of the training"


def _dtype(record: Record) -> str:
    """The dtype of the parameters, and the precision of a network's matrix products if it differs."""
    precision = record.config.get("precision", "full")
    return str(record.config.get("dtype", "")) + ("" if precision == "full" else f", products in {precision}")
