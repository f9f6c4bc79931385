"""Measures a network that was trained elsewhere, beside the prediction for exactly that network."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ncrun.losses import described
from ncrun.notebook import face
from ncrun.posed import Posed
from ncrun.records.summary import describe
from ncrun.records.target_summary import describe_on_targets
from ncrun.theory import Problem
from ncrun.theory.report import as_json, nearest_threshold

if TYPE_CHECKING:
    import pandas as pd

# As many classes as a terminal can show, as in `ncrun theory`.
SHORT = {"weight_norm_sq": "|w|^2", "feature_norm_sq": "|h|^2", "train_accuracy": "train", "test_accuracy": "test"}


@dataclass(frozen=True, repr=False)
class Measurement:
    """The result of `measure`.

    metrics: the columns of metrics.jsonl that need no training; null if not determined. theory: the content of `ncrun
    theory --json`. problem: the problem posed to theory. summary: both in one line. threshold: the decay at which the
    next class is lost or comes back, in words; "" if it is not known. absent: for a meter, the reasons, by column, for
    null numbers that another pass or more data would give.
    """

    metrics: dict[str, Any]
    theory: dict[str, Any]
    problem: Problem
    summary: str
    threshold: str
    absent: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "summary": self.summary,
            "problem": asdict(self.problem),
            "metrics": self.metrics,
            "theory": self.theory,
        }

    def table(self) -> "pd.DataFrame":
        """A row for each class: its count, each metric by class, and as "predicted ..." its prediction, if there is
        one. With targets a row for each principal direction of the targets, with their deviation along it; empty if the
        directions are not determined."""
        import pandas as pd

        name, size, sizes = self._rows()
        columns: dict[str, Any] = {size: sizes}
        for key, (measured, expected) in self._row_wise().items():
            columns[key] = measured
            if expected is not None:
                columns[f"predicted {key}"] = expected
        return pd.DataFrame(columns).rename_axis(name)

    def __repr__(self) -> str:
        return f"<ncrun.Measurement: {self._outputs}; {self.summary}>"

    def __str__(self) -> str:
        """The text that `ncrun measure` prints."""
        return "\n".join([*self._lines(), "", *self._by_row(), "", *self._numbers()])

    def _repr_html_(self) -> str:
        import pandas as pd

        numbers = pd.DataFrame({key: [value] for key, value in self._single().items() if "." not in key})
        return face("Measurement", self._lines(), self.table(), numbers.T.rename(columns={0: "measured"}))

    @property
    def _outputs(self) -> str:
        targets = self.problem.targets
        return f"{self.problem.num_classes} classes" if targets is None else targets.words

    def _rows(self) -> tuple[str, str, list[Any]]:
        """What has a row in the table, what its size is called, and the sizes."""
        if self.problem.targets is None:
            return "class", "count", [round(count) for count in self.problem.counts]
        return "direction", "deviation", [entry["deviation"] for entry in self.theory["directions"] or ()]

    def _lines(self) -> list[str]:
        problem, theory = self.problem, self.theory
        sign = "features >= 0" if problem.feature_sign == "nonnegative" else "free features"
        head = "ReLU head" if problem.head == "relu" else "linear head"
        lines = [
            f"{self._outputs}, {problem.num_samples:.0f} samples, {sign} of dimension"
            f" {problem.widths[0]}, {head} of depth {problem.depth}, {described(problem)},"
            f" {'last-layer bias' if problem.bias else 'no bias'}",
            self.summary,
            f"prediction: {theory['claim']}{f' ({source})' if (source := theory['source']) else ''}",
        ]
        if theory["note"]:
            lines.append(f"note: {theory['note']}")
        if theory["objective"] is not None:
            lines.append(f"predicted objective: {theory['objective']:.8g}")
        if self.threshold:
            lines.append(f"threshold: {self.threshold}")
        reasons = [
            f"not known: {', '.join(key for key, why in self.absent.items() if why == reason)}: {reason}"
            for reason in dict.fromkeys(self.absent.values())
        ]
        return [*lines, *reasons]

    def _row_wise(self) -> dict[str, tuple[list[float | None], list[float | None] | None]]:
        """By name, the measured and the predicted numbers of each class or direction; None if theory determines
        nothing."""
        found = {}
        kind, entries = ("class", "classes") if self.problem.targets is None else ("direction", "directions")
        for key, measured in self.metrics.items():
            if not key.startswith(f"{kind}.") or measured is None:
                continue
            name = key.removeprefix(f"{kind}.")
            expected = [entry.get(name) for entry in self.theory[entries]]
            determined = any(value is not None for value in expected) and not self.theory["scale_free"]
            found[name] = measured, expected if determined else None
        return found

    def _by_row(self) -> list[str]:
        """A row for each class or direction: measured numbers, and predicted ones in brackets."""
        *header, sizes = self._rows()
        columns = [[str(k) for k in range(len(sizes))], [_short(size) for size in sizes]]
        for key, (measured, expected) in self._row_wise().items():
            name = SHORT.get(key, key)
            header.append(name if expected is None else f"{name} (predicted)")
            beside = [""] * len(measured) if expected is None else [f" ({_short(wanted)})" for wanted in expected]
            columns.append([_short(value) + more for value, more in zip(measured, beside, strict=True)])
        widths = [max(map(len, (name, *column))) for name, column in zip(header, columns, strict=True)]
        table = [header, *zip(*columns, strict=True)]
        return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]

    def _numbers(self) -> list[str]:
        """One line for each single number, without head.1, which repeats the top level."""
        shown = self._single()
        width = max(map(len, shown))
        return [f"{key:<{width}}  {_short(value)}" for key, value in shown.items()]

    def _single(self) -> dict[str, Any]:
        """Metrics that are not lists, without head.1, which repeats the top level of a linear head."""
        return {
            key: value
            for key, value in self.metrics.items()
            if not isinstance(value, list) and not (key.startswith("head.1.") and self.problem.head == "linear")
        }


def finished(row: dict[str, Any], posed: Posed, absent: dict[str, str] | None = None) -> Measurement:
    """The measured numbers with their prediction. absent: by column, the reason why it is null, if a sum was not
    collected."""
    if posed.problem.feature_decay is None:  # the other parameters' decay, and so the objective, is not known
        row |= {"loss": None, "gap": None}
    if not posed.decays_known:
        row["balance"] = None
    theory = as_json(posed.target)
    summary = describe(row, theory) if posed.problem.targets is None else describe_on_targets(row, theory)
    return Measurement(row, theory, posed.problem, summary, nearest_threshold(posed.target), absent or {})


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
