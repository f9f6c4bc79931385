"""Measures a network that was trained elsewhere, beside the prediction for exactly that network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ncrun.arrays import any_negative, check_size, class_labels, floats
from ncrun.errors import UserError
from ncrun.losses import LOSSES, Options, described
from ncrun.metrics.rows import training_metrics, transfer_metrics
from ncrun.notebook import face
from ncrun.posed import Posed, classifier, pose
from ncrun.records.summary import describe
from ncrun.theory import Problem
from ncrun.theory.report import as_json, nearest_threshold

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

    from ncrun.posed import Layers


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
        one."""
        import pandas as pd

        columns: dict[str, Any] = {"count": [round(count) for count in self.problem.counts]}
        for name, (measured, expected) in self._class_wise().items():
            columns[name] = measured
            if expected is not None:
                columns[f"predicted {name}"] = expected
        return pd.DataFrame(columns).rename_axis("class")

    def __repr__(self) -> str:
        return f"<ncrun.Measurement: {self.problem.num_classes} classes; {self.summary}>"

    def __str__(self) -> str:
        """The text that `ncrun measure` prints."""
        return "\n".join([*self._lines(), "", *self._by_class(), "", *self._numbers()])

    def _repr_html_(self) -> str:
        import pandas as pd

        numbers = pd.DataFrame({key: [value] for key, value in self._single().items() if "." not in key})
        return face("Measurement", self._lines(), self.table(), numbers.T.rename(columns={0: "measured"}))

    def _lines(self) -> list[str]:
        problem, theory = self.problem, self.theory
        sign = "features >= 0" if problem.feature_sign == "nonnegative" else "free features"
        head = "ReLU head" if problem.head == "relu" else "linear head"
        lines = [
            f"{problem.num_classes} classes, {sum(problem.counts):.0f} samples, {sign} of dimension"
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

    def _class_wise(self) -> dict[str, tuple[list[float | None], list[float | None] | None]]:
        """By name, the measured and the predicted numbers of each class; None if theory determines nothing."""
        found = {}
        for key, measured in self.metrics.items():
            if not key.startswith("class.") or measured is None:
                continue
            name = key.removeprefix("class.")
            expected = [entry.get(name) for entry in self.theory["classes"]]
            determined = any(value is not None for value in expected) and not self.theory["scale_free"]
            found[name] = measured, expected if determined else None
        return found

    def _by_class(self) -> list[str]:
        """A row for each class: measured numbers, and predicted ones in brackets."""
        columns = [[str(k) for k in range(self.problem.num_classes)], [f"{n:.0f}" for n in self.problem.counts]]
        header = ["class", "count"]
        for key, (measured, expected) in self._class_wise().items():
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


def measure(
    features: "ArrayLike | Tensor",
    labels: "ArrayLike | Tensor",
    weights: "Layers",
    bias: "ArrayLike | Tensor | None" = None,
    *,
    loss: str = "mse",
    label_smoothing: float = 0.0,
    class_weights: str | Sequence[float] | None = None,
    logit_adjustment: float = 0.0,
    decay_weight: float | Sequence[float] | None = None,
    decay_feature: float | None = None,
    decay_bias: float = 0.0,
    nonnegative_features: bool | None = None,
    test: "tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None" = None,
) -> Measurement:
    """Measures the collapse of a network that was trained elsewhere, and compares it with the predicted geometry.

    features: (N, d) of all training samples, in evaluation mode, float16 to float64; accumulated in float64.
    labels: (N,) integers 0..K-1; every class needs a sample.
    weights: the classifier, (K, d); or a linear head's layers [W_1, .., W_M], where W_1 reads the features and W_M has
        K rows; or an nn.Linear, an nn.Sequential of them (with an nn.ReLU between all of them or none), or the head of
        an ncrun network.
    bias: (K,) of the last layer; a module has its own.
    loss: the loss of the training: "mse", 1/(2N) ||logits - Y||^2, or "ce", the mean cross-entropy. label_smoothing,
    class_weights, logit_adjustment: the options of "ce", as `ncrun.predict` takes them; "balanced" uses the counts of
    the labels.
    decay_weight, decay_feature: lam_W (a number, or one for each layer) and lam_H of the objective
        data term + sum_m lam_W/2 ||W_m||^2 + lam_H/2 ||H||^2.
        With both, the prediction is exact for these counts, and loss, gap and ledger are measured. Without
        decay_feature (plain weight decay) it is the limit at vanishing decay up to scale, and these are null.
        decay_bias: lam_b of a term lam_b/2 ||b||^2, together with decay_feature.
    nonnegative_features: whether the features come out of a ReLU. The prediction depends on it. It must be given if no
        feature is negative; if one is, it is False.
    test: features and labels of a test split.

    Raises UserError, in one line, for arrays of wrong shape or type, values that are not finite, labels other than
    0..K-1, a class without a sample, and a feature sign that is missing or false.
    Definitions: docs/reference/metrics.md.
    """
    LOSSES[loss]  # raises UserError with the choices
    network = classifier(weights, bias)
    K = network.num_classes
    points = floats("features", features, 2)
    own = class_labels("labels", labels, len(points), K)
    check_size("features", points)
    network.check_width(points.shape[1])
    negative = any_negative(points)
    counts = torch.bincount(own, minlength=K)
    options = Options(label_smoothing, class_weights, logit_adjustment)
    posed = pose(
        network, counts, negative, loss, options, decay_weight, decay_feature, nonnegative_features, decay_bias
    )
    try:
        row, means = training_metrics(points, own, posed.head, posed.objective, posed.target, posed.baseline)
    except FloatingPointError as error:
        raise UserError(f"features or classifier: are too large to measure ({error})") from error
    if test is not None:
        test_points = floats("test_features", test[0], 2)
        if test_points.shape[1] != points.shape[1]:
            raise UserError(
                f"test_features: expected dimension {points.shape[1]}, as features has, found {test_points.shape[1]}"
            )
        check_size("test_features", test_points)
        test_labels = class_labels("test_labels", test[1], len(test_points), K)
        try:
            row |= transfer_metrics(test_points, test_labels, posed.head, means, posed.target)
        except FloatingPointError as error:
            raise UserError(f"test_features: are too large to measure ({error})") from error
    return finished(row, posed)


def finished(row: dict[str, Any], posed: Posed, absent: dict[str, str] | None = None) -> Measurement:
    """The measured numbers with their prediction. absent: by column, the reason why it is null, if a sum was not
    collected."""
    if posed.problem.feature_decay is None:  # the other parameters' decay, and so the objective, is not known
        row |= {"loss": None, "gap": None}
    if not posed.decays_known:
        row["balance"] = None
    theory = as_json(posed.target)
    summary = describe(row, theory)
    return Measurement(row, theory, posed.problem, summary, nearest_threshold(posed.target), absent or {})


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
