"""`ncrun.predict`: the prediction for a problem given by arguments. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ncrun.losses import Options, described
from ncrun.notebook import face
from ncrun.problem import Problem
from ncrun.stated import stated
from ncrun.theory import Prediction
from ncrun.theory import predict as predict_problem
from ncrun.theory.prediction import CLAIMS, Array
from ncrun.theory.remedies import Remedies, remedies
from ncrun.theory.report import as_json, as_table, nearest_threshold

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike


@dataclass(frozen=True, repr=False, eq=False)
class Forecast(Prediction):
    """A `Prediction` with methods for display. `print` shows what `ncrun theory` prints.

    claim: the grade: proven, certified, refuted, open, transferred or none. Besides the fields of a Prediction:
    weight_gram, feature_gram: (K, K); margins() and collapsed(): for each class; threshold: in words; table(), plot().
    Arrays are read-only.
    """

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """The theorems' prediction for a problem."""
        found = predict_problem(problem)
        return cls(**{field.name: _read_only(getattr(found, field.name)) for field in fields(found)})

    @property
    def weight_gram(self) -> Array | None:
        """(K, K), with targets (q, q): W W^T for the head's product W = W_M..W_1, or the last layer of a ReLU head.
        None if no matrix, or not a single one, is predicted. With claim "transferred" only the matrix up to a factor is
        meaningful."""
        if self.directions is not None:
            return self.directions.weight_gram(0)
        return self.layers[0].weight_gram if self.layers and self.tie is None else None

    @property
    def feature_gram(self) -> Array | None:
        """(K, K): Gram matrix of the class means that W reads, not centred; None as for weight_gram."""
        return self.layers[0].feature_gram if self.layers and self.tie is None else None

    @property
    def threshold(self) -> str:
        """The decay at which the next class is lost or comes back, in words; "" if it is not known. decay_to_collapse
        and decay_to_vanish, (K,), hold it in numbers, as factors on all decays."""
        return nearest_threshold(self)

    def as_json(self) -> dict[str, Any]:
        """Plain containers, the content of theory.json and of `ncrun theory --json`."""
        return as_json(self)

    def remedies(self) -> Remedies | None:
        """The class weights, or the logit adjustment, that give every class the same margin, and the count below which
        the rarest class is lost. Takes seconds. None except for cross-entropy, one linear layer, decayed features and
        unequal counts."""
        return remedies(self.problem)

    def table(self) -> "pd.DataFrame":
        """A row for each class, its columns the entries of `classes` in theory.json; None if not determined. With
        targets, a row for each principal direction, as in `directions` there."""
        import pandas as pd

        if self.problem.targets is not None:
            return pd.DataFrame(as_json(self)["directions"] or []).rename_axis("direction")
        return pd.DataFrame(as_json(self)["classes"]).rename_axis("class")

    def plot(self) -> "Figure":
        """Draws the predicted matrices and margins. pyplot does not show the figure: a notebook shows the returned one,
        elsewhere use its savefig. Raises UserError if nothing is predicted."""
        from ncrun.figures.panels import detached
        from ncrun.figures.predicted import predicted

        return detached(predicted, self)

    def __repr__(self) -> str:
        problem = self.problem
        outputs = f"{problem.num_classes} classes" if problem.targets is None else f"{problem.num_outputs} targets"
        value = "" if self.objective is None else f", objective {self.objective:.6g}"
        return f"<ncrun.Prediction {self.claim}: {outputs}, {described(problem)}{value}>"

    def __str__(self) -> str:
        return as_table(self)

    def _repr_html_(self) -> str:
        lines = [CLAIMS[self.claim], self.source, self.note]
        if self.objective is not None:
            lines.append(f"objective {self.objective:.8g}")
        if self.best_known is not None:
            lines.append(f"lower value known: {self.best_known.objective:.8g} ({self.best_known.name})")
        return face(f"{self.claim}: ", [line for line in (*lines, self.threshold) if line], self.table())


def predict(
    counts: "ArrayLike | None" = None,
    loss: str = "mse",
    *,
    targets: "ArrayLike | None" = None,
    label_smoothing: float = 0.0,
    class_weights: str | Sequence[float] | None = None,
    logit_adjustment: float = 0.0,
    depth: int = 1,
    bias: bool = False,
    feature_sign: str = "free",
    decay_weight: float | Sequence[float] | None = None,
    decay_feature: float | None = None,
    decay_bias: float = 0.0,
    widths: int | Sequence[int] | None = None,
    head: str = "linear",
) -> Forecast:
    """The geometry that theory predicts for the problem of minimising

        data term + sum_m lam_W_m/2 ||W_m||^2 + lam_H/2 ||H||^2 + lam_b/2 ||b||^2,
        data term = 1/(2N) ||logits - Y||^2  or  1/N sum CE.

    counts: training samples of each class, (K,), K >= 2; fractions are allowed.
    targets: for "mse", instead of counts: the training samples' targets, (N,) or (N, q), for regression, several labels
        at once or soft labels. `directions` of the result then holds the optimum; entries by class are empty.
    loss: "mse", "ce", or the key of a registered loss; the claim is "none" if no theorem covers it.
    label_smoothing: for "ce": the share of each label that is spread evenly over all classes, in [0, 1).
    class_weights: for "ce": the weight of a sample of each class, or "balanced", N / (K n_k); the sum is divided by N.
    logit_adjustment: for "ce": tau; training adds tau log(n_k / N) to the logits (Menon et al. 2021: 1).
    depth: M, the layers of the head. bias: whether its last layer has one.
    feature_sign: "free", or "nonnegative" if the head reads the output of a ReLU. The prediction depends on it.
    decay_weight: lam_W, a number, or M numbers, the first for the layer that reads the features. decay_feature: lam_H.
    Without decay_feature (plain weight decay) the limit at vanishing decay is predicted up to scale, if theory has one.
    decay_bias: lam_b, together with decay_feature; 0: the bias is not decayed.
    widths: the features' dimension d, then the head's M-1 hidden widths, or one number for all; default: 64, or K if
        that is more, so that no layer of a linear head is a bottleneck.
    head: "linear", or "relu" with a ReLU between its layers (Sukenik et al. 2023).

    Raises UserError, a ValueError, that names the argument and what it may be. The source of each prediction is its
    `source`.
    """
    options = Options(label_smoothing, class_weights, logit_adjustment)
    return Forecast.of(
        stated(
            counts,
            loss,
            depth,
            bias,
            feature_sign,
            decay_weight,
            decay_feature,
            widths,
            head,
            options,
            targets=targets,
            decay_bias=decay_bias,
        )
    )


def _read_only(value: Any) -> Any:
    """The same, with read-only arrays."""
    if isinstance(value, np.ndarray):
        view = value.view()
        view.flags.writeable = False
        return view
    if isinstance(value, tuple):
        return tuple(map(_read_only, value))
    if is_dataclass(value) and not isinstance(value, type | Problem):
        return replace(value, **{field.name: _read_only(getattr(value, field.name)) for field in fields(value)})
    return value
