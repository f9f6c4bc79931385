"""What is measured of a network that was trained elsewhere, beside the prediction for exactly that one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ncrun.errors import UserError
from ncrun.losses import LOSSES, words_of
from ncrun.metrics.rows import training_metrics, transfer_metrics
from ncrun.metrics.scan import Head
from ncrun.objective import Objective
from ncrun.records.summary import describe
from ncrun.theory import Problem, predict
from ncrun.theory.report import as_json, nearest_threshold

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SMALLEST = 1e-140  # its square is far from the smallest number that float64 holds with all digits


@dataclass(frozen=True)
class Measurement:
    """What `measure` found.

    metrics: the columns of metrics.jsonl that need no training, null where not determined. theory: what
    `ncrun theory --json` prints. problem: what was posed to theory. summary: both in one line of words.
    """

    metrics: dict[str, Any]
    theory: dict[str, Any]
    problem: Problem
    summary: str
    threshold: str

    def as_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "summary": self.summary,
            "problem": asdict(self.problem),
            "metrics": self.metrics,
            "theory": self.theory,
        }

    def as_table(self) -> str:
        """The same for people."""
        problem, theory = self.problem, self.theory
        sign = "features >= 0" if problem.feature_sign == "nonnegative" else "free features"
        lines = [
            f"{problem.num_classes} classes, {sum(problem.counts):.0f} samples, {sign} of dimension"
            f" {problem.widths[0]}, linear head of depth {problem.depth}, {words_of(problem.loss)},"
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
        return "\n".join([*lines, "", *self._by_class(), "", *self._numbers()])

    def _by_class(self) -> list[str]:
        """A row for each class: what is measured, and in brackets what is predicted."""
        names = [key for key in self.metrics if key.startswith("class.") and self.metrics[key] is not None]
        columns = [[str(k) for k in range(self.problem.num_classes)], [f"{n:.0f}" for n in self.problem.counts]]
        header = ["class", "count"]
        for key in names:
            name = key.removeprefix("class.")
            expected = [entry.get(name) for entry in self.theory["classes"]]
            determined = any(value is not None for value in expected) and not self.theory["scale_free"]
            header.append(f"{name} (predicted)" if determined else name)
            columns.append(
                [
                    f"{_short(value)} ({_short(wanted)})" if determined else _short(value)
                    for value, wanted in zip(self.metrics[key], expected, strict=True)
                ]
            )
        widths = [max(map(len, (name, *column))) for name, column in zip(header, columns, strict=True)]
        table = [header, *zip(*columns, strict=True)]
        return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]

    def _numbers(self) -> list[str]:
        """One line for each single number; head.1 repeats the top level."""
        shown = {
            key: value
            for key, value in self.metrics.items()
            if not isinstance(value, list) and not key.startswith("head.1.")
        }
        width = max(map(len, shown))
        return [f"{key:<{width}}  {_short(value)}" for key, value in shown.items()]


def measure(
    features: "ArrayLike | Tensor",
    labels: "ArrayLike | Tensor",
    weights: "ArrayLike | Tensor | Sequence[ArrayLike | Tensor]",
    bias: "ArrayLike | Tensor | None" = None,
    *,
    loss: str = "mse",
    decay_weight: float | Sequence[float] | None = None,
    decay_feature: float | None = None,
    nonnegative_features: bool | None = None,
    test: "tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None" = None,
) -> Measurement:
    """Measure the collapse of a network that was trained elsewhere, beside the geometry predicted for it.

    features: (N, d) of all training samples, in evaluation mode, float16 to float64; accumulated in float64.
    labels: (N,) integers 0..K-1, every class with a sample.
    weights: the classifier, (K, d), or a linear head's layers [W_1, .., W_M], W_1 reading the features, W_M of K rows.
    bias: (K,) of the last layer.
    loss: what the network was trained with: "mse", 1/(2N) ||logits - Y||^2, or "ce", the mean cross-entropy.
    decay_weight, decay_feature: lam_W (a number, or one for each layer) and lam_H of the objective
        data term + sum_m lam_W/2 ||W_m||^2 + lam_H/2 ||H||^2.
        With both the prediction is the exact one for these counts, and loss, gap and ledger are measured. Without
        decay_feature (plain weight decay) it is the shape at vanishing decay, and these are null.
    nonnegative_features: whether the features come out of a ReLU. The prediction depends on it, so it has to be said
        where no feature is negative; where one is, it is False.
    test: features and labels of a test split.

    Raises UserError, in one line, for arrays of wrong shape or type, values that are not finite, labels other than
    0..K-1, a class without a sample, and a sign of the features that is not said or not true.
    Source of the definitions: README, "A run's records".
    """
    LOSSES[loss]  # raises UserError with the choices
    given = list(weights) if isinstance(weights, list | tuple) and np.ndim(weights[0]) == 2 else [weights]
    names = ["classifier"] if len(given) == 1 else [f"classifier_{m + 1}" for m in range(len(given))]
    layers = [_floats(name, layer, 2) for name, layer in zip(names, given, strict=True)]
    K = len(layers[-1])
    if K == 1:
        raise UserError(f"{names[-1]}: has one row; collapse is a matter of two classes or more")
    points = _floats("features", features, 2)
    own = _labels("labels", labels, len(points), K)
    for name, values in [("features", points), *zip(names, layers, strict=True)]:
        _check_size(name, values)
    width, below = points.shape[1], "features"
    for name, layer in zip(names, layers, strict=True):
        if layer.shape[1] != width:
            raise UserError(f"{name}: reads {layer.shape[1]} numbers, and {below} has {width} (shape {_shape(layer)})")
        width, below = layer.shape[0], name
    offset = torch.zeros(K, dtype=torch.float64) if bias is None else _floats("bias", bias, 1).double()
    if len(offset) != K:
        raise UserError(f"bias: expected ({K},), one for each class, found {_shape(offset)}")
    decays = _decays(decay_weight, decay_feature, len(layers))
    problem = Problem(
        loss=loss,
        counts=tuple(torch.bincount(own, minlength=K).double().tolist()),
        widths=(points.shape[1], *(len(layer) for layer in layers[:-1])),
        bias=bias is not None,
        weight_decays=decays or (1.0,) * len(layers),  # the scale-free target does not depend on its size
        feature_decay=decay_feature,
        decay_mode="parameters" if decay_feature is None else "features",
        feature_sign="nonnegative" if _is_nonnegative(points, nonnegative_features) else "free",
    )
    target, baseline = predict(problem), predict(problem.balanced())
    head = Head([layer.double() for layer in layers], offset)
    objective = Objective.of(problem)
    try:
        row, means = training_metrics(points, own, head, objective, target, baseline)
    except FloatingPointError as error:
        raise UserError(f"features or classifier: are too large to measure ({error})") from error
    if decay_feature is None:  # the other parameters' decay is not known, nor the objective
        row |= {"loss": None, "gap": None}
    if decays is None:
        row["balance"] = None
    if test is not None:
        test_points = _floats("test_features", test[0], 2)
        if test_points.shape[1] != points.shape[1]:
            raise UserError(
                f"test_features: expected dimension {points.shape[1]}, as features has, found {test_points.shape[1]}"
            )
        _check_size("test_features", test_points)
        test_labels = _labels("test_labels", test[1], len(test_points), K)
        try:
            row |= transfer_metrics(test_points, test_labels, head, means, target)
        except FloatingPointError as error:
            raise UserError(f"test_features: are too large to measure ({error})") from error
    theory = as_json(target)
    return Measurement(row, theory, problem, describe(row, theory), nearest_threshold(target))


def _floats(name: str, values: Any, dimensions: int) -> Tensor:
    """A CPU tensor of the values' own precision, at least float32, which decides the rank of the class means."""
    array = _array(name, values)
    if array.ndim != dimensions or 0 in array.shape:
        kind = "a matrix with rows and columns" if dimensions == 2 else "a vector"
        raise UserError(f"{name}: expected {kind}, found shape {_shape(array)}")
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise UserError(f"{name}: expected float16, float32 or float64, found {array.dtype}")
    if not np.isfinite(array).all():
        raise UserError(f"{name}: {int((~np.isfinite(array)).sum())} of its values are not finite")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64 if array.dtype.itemsize == 8 else np.float32))


def _check_size(name: str, values: Tensor) -> None:
    """Values whose squares, of which everything is made, no float64 holds. All zero is a size like others."""
    largest = float(values.abs().max())
    if 0 < largest < SMALLEST:
        raise UserError(f"{name}: the largest number is {largest:.1g}, too small to measure: its square is lost")


def _labels(name: str, values: Any, number: int, num_classes: int) -> Tensor:
    array = _array(name, values)
    if array.shape != (number,):
        raise UserError(f"{name}: expected ({number},), one for each row of the features, found {_shape(array)}")
    if array.dtype.kind not in "iu":
        raise UserError(f"{name}: expected integers, found {array.dtype}")
    if array.min() < 0 or array.max() >= num_classes:
        raise UserError(
            f"{name}: go from {array.min()} to {array.max()}; expected 0 to {num_classes - 1}, one for each of the"
            f" classifier's {num_classes} rows"
        )
    empty = np.flatnonzero(np.bincount(array.astype(np.int64), minlength=num_classes) == 0)
    if len(empty):
        raise UserError(f"{name}: class {empty[0]} has no sample; every class 0 to {num_classes - 1} needs one")
    return torch.from_numpy(array.astype(np.int64))


def _array(name: str, values: Any) -> Any:
    if isinstance(values, Tensor):
        kept = values.float() if values.dtype is torch.bfloat16 else values  # numpy knows no bfloat16
        return kept.detach().cpu().numpy()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise UserError(f"{name}: is not an array ({error})") from error


def _shape(array: Any) -> str:
    return str(tuple(array.shape)).replace(" ", "")


def _decays(weight: float | Sequence[float] | None, feature: float | None, depth: int) -> tuple[float, ...] | None:
    """One weight decay for each layer; None if none is given."""
    if feature is not None and weight is None:
        raise UserError(f"decay_feature={feature:g}: needs decay_weight beside it")
    if weight is None:
        return None
    numbers = (float(weight),) * depth if np.isscalar(weight) else tuple(map(float, weight))  # type: ignore[arg-type]
    if len(numbers) != depth:
        raise UserError(
            f"decay_weight: expected a number, or {depth} of them, one for each layer; found {len(numbers)}"
        )
    if feature is None and len(set(numbers)) > 1:
        raise UserError("decay_weight: differs between layers; without decay_feature, plain weight decay is one number")
    for name, decay in [*(("decay_weight", number) for number in numbers), ("decay_feature", feature)]:
        if decay is not None and not (np.isfinite(decay) and decay >= 0):
            raise UserError(f"{name}={decay:g}: must be finite and not negative")
    return numbers


def _is_nonnegative(features: Tensor, said: bool | None) -> bool:
    negative = bool((features < 0).any())
    if said is None and not negative:
        raise UserError(
            "features: none is negative, and the prediction depends on why: say --relu-features"
            " (nonnegative_features=True) if a ReLU makes them, or --free-features (=False) if they could be negative"
        )
    if said and negative:
        raise UserError("--relu-features (nonnegative_features=True): features holds negative values")
    return bool(said)


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
