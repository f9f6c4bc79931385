"""Numbers of recorded runs in words and tables, for results/README.md: nothing here is typed, all is read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ncrun.records.groups import NOT_COMPARED, settings_of
from ncrun.records.read import Record, find_records
from ncrun.records.summary import distance

NONE = "-"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Runs:
    """All finished runs below results/."""

    records: tuple[Record, ...]

    @staticmethod
    def below(root: Path) -> "Runs":
        return Runs(tuple(find_records(root)))

    def of(self, experiment: str | None, scale: str | None = None, **where: Any) -> list[Record]:
        """Of an experiment at a scale, those whose configuration has these values, dots being written as __."""
        wanted = {key.replace("__", "."): value for key, value in where.items()}
        found = [
            record
            for record in self.records
            if (record.manifest["experiment"], record.manifest["scale"]) == (experiment, scale)
            and all(value_of(record, key) == value for key, value in wanted.items())
        ]
        if not found:
            raise ValueError(f"no record of {experiment} at scale {scale} with {wanted}")
        return found


def value_of(record: Record, key: str) -> Any:
    """Of the configuration, by its dotted key; None where it has no such key."""
    found: Any = record.config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def row_at(record: Record, step: int | None = None) -> Row:
    """The last measured row; or the first at this step or later."""
    rows: list[dict[str, Any]] = record.metrics.astype(object).where(record.metrics.notna(), None).to_dict("records")
    return rows[-1] if step is None else next(row for row in rows if row["step"] >= step)


def last(key: str) -> Callable[[Record], float | None]:
    """A column of the last row."""
    return lambda record: row_at(record).get(key)


def to_prediction(record: Record) -> float | None:
    return distance(dict(row_at(record)))


def to_balanced(record: Record) -> float | None:
    return distance(dict(row_at(record)), "balanced.")


def nearer(record: Record) -> float:
    """How many times nearer to the prediction than to the balanced one."""
    here, there = to_prediction(record), to_balanced(record)
    assert here is not None
    assert there is not None
    return there / here


def by_setting(records: Iterable[Record], *keys: str) -> list[list[Record]]:
    """Runs of one setting together: they differ in their seeds alone. In the order of their values of `keys`."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        setting = sorted(item for item in settings_of(record).items() if item[0] not in NOT_COMPARED)
        groups.setdefault(repr(setting), []).append(record)
    return sorted(groups.values(), key=lambda group: [value_of(group[0], key) for key in keys])


def seconds(record: Record) -> float:
    return float(record.manifest.get("wall_seconds", record.metrics["seconds"].iloc[-1]))


# --- words


def number(value: float | None) -> str:
    """Two significant digits."""
    if value is None:
        return NONE
    if value == 0:
        return "0"
    text = f"{value:.1e}"
    if 1e-2 <= abs(float(text)) < 1e4:
        decimals = max(1 - int(text.split("e")[1]), 0)
        return f"{float(text):.{decimals}f}"
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{number(100 * value)} %"


def span(values: Iterable[float | None], word: Callable[[float | None], str] = number) -> str:
    """The least and the largest, once where they read alike."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return NONE
    low, high = word(known[0]), word(known[-1])
    if low == high:
        return low
    return f"{low.removesuffix(' %')} to {high}" if high.endswith(" %") else f"{low} to {high}"


def over(
    records: Sequence[Record], of: Callable[[Record], float | None], word: Callable[[float | None], str] = number
) -> str:
    """The span of a number over runs."""
    return span([of(record) for record in records], word)


def times(records: Sequence[Record]) -> str:
    """The wall times in words."""
    low, high = (f(map(seconds, records)) for f in (min, max))
    if high >= 120:
        return span([low / 60, high / 60]) + " minutes"
    return span([low, high]) + " s"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def together(counts: Sequence[int]) -> str:
    """Class sizes, equal neighbours once: "2 x 20, 2 x 40, 100"."""
    parts = [(len(list(group)), size) for size, group in groupby(counts)]
    return ", ".join(f"{number} x {size}" if number > 1 else str(size) for number, size in parts)


def counts_of(record: Record) -> list[int]:
    """Of each class; of targets, which have none, of all."""
    return list(record.manifest["class_counts"] or [record.manifest["num_samples"]])


def setting(records: Sequence[Record]) -> str:
    """What the runs have in common, from their configurations: data, network, descent, decay of the weights and of the
    features, seeds, wall time."""

    def common(key: str) -> str:
        found = [value_of(record, key) for record in records]
        values = [value for i, value in enumerate(found) if value is not None and value not in found[:i]]
        ordered = sorted(values) if all(isinstance(value, float | int) for value in values) else values
        return " or ".join(map(str, ordered)) if len(values) <= 3 else f"{ordered[0]} to {ordered[-1]}"

    def group(name: str) -> str:
        keys = sorted({key for record in records for key in value_of(record, name)} - {"name"})
        said = [f"{key} {common(f'{name}.{key}')}" for key in keys if common(f"{name}.{key}")]
        return f"{common(f'{name}.name')} ({', '.join(said)})"

    counts = list(dict.fromkeys(together(counts_of(record)) for record in records))
    sizes = " or ".join(counts) + " samples" if len(counts) <= 2 else f"{len(counts)} sets of class counts"
    data = f"{common('dataset.name')}, {sizes}" if value_of(records[0], "dataset") else sizes
    every = [len(group) for group in by_setting(records)]
    fewest, most_seeds = min(every), max(every)
    seeds = f"{fewest} to {most_seeds} seeds" if fewest < most_seeds else f"{fewest} seed{'s' if fewest > 1 else ''}"
    return "; ".join(
        [
            data,
            group("model"),
            group("optimizer"),
            f"{common('epochs')} epochs, batch {common('batch_size')}",
            *([f"BatchNorm fixed from {share} of them on"] if (share := common("freeze_norm")) else []),
            *([f"then up to {most} iterations of L-BFGS"] if (most := common("finish_iterations")) else []),
            f"decay {common('decay.weight')}" + (f" and {common('decay.feature')}" if common("decay.feature") else ""),
            seeds,
            f"{times(records)} a run",
        ]
    )
