"""`ncrun.predict`: what theory says of a problem that is stated in arguments. Needs no torch."""

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
    """A `Prediction` that can be looked at. `print` shows what `ncrun theory` prints.

    claim: the grade: proven, certified, refuted, open, transferred or none. Beside the fields of a Prediction:
    weight_gram, feature_gram: (K, K); margins() and collapsed(): of each class; threshold: in words; table(), plot().
    Arrays are read-only.
    """

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """What the theorems say of a problem."""
        found = predict_problem(problem)
        return cls(**{field.name: _read_only(getattr(found, field.name)) for field in fields(found)})

    @property
    def weight_gram(self) -> Array | None:
        """(K, K), of targets (q, q): W W^T of the head's product W = W_M..W_1; of a ReLU head, of its last layer. None
        where nothing, or no single matrix, is predicted. With claim "transferred" only its direction means
        something."""
        if self.directions is not None:
            return self.directions.weight_gram(0)
        return self.layers[0].weight_gram if self.layers and self.tie is None else None

    @property
    def feature_gram(self) -> Array | None:
        """(K, K): Gram matrix of the class means that W reads, not centred; as for weight_gram."""
        return self.layers[0].feature_gram if self.layers and self.tie is None else None

    @property
    def threshold(self) -> str:
        """The decay at which the next class is lost or comes back, in words; "" where that is not known. In numbers, as
        factors on all decays: decay_to_collapse and decay_to_vanish, (K,)."""
        return nearest_threshold(self)

    def as_json(self) -> dict[str, Any]:
        """Plain containers: what `ncrun theory --json` prints and theory.json holds."""
        return as_json(self)

    def remedies(self) -> Remedies | None:
        """The class weights, or the logit adjustment, that give every class the same margin, and where the rarest class
        is lost. Takes seconds. None except for cross-entropy, one linear layer, decayed features and unequal counts."""
        return remedies(self.problem)

    def table(self) -> "pd.DataFrame":
        """A row for each class, its columns the entries of `classes` in theory.json; None where not determined. Of
        targets a row for each principal direction, as in `directions` there."""
        import pandas as pd

        if self.problem.targets is not None:
            return pd.DataFrame(as_json(self)["directions"] or []).rename_axis("direction")
        return pd.DataFrame(as_json(self)["classes"]).rename_axis("class")

    def plot(self) -> "Figure":
        """The predicted matrices and margins. The figure is not shown by pyplot: a notebook shows what is returned,
        elsewhere use its savefig. Raises UserError where nothing is predicted."""
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
    targets: in place of counts, of "mse": the training samples' targets, (N,) or (N, q): regression, several labels at
        once, soft labels. `directions` of what is returned then has the optimum; what is by class is empty.
    loss: "mse", "ce", or the key of a registered loss; one that no theorem covers is predicted "none".
    label_smoothing: of "ce", the share of each target that is spread evenly over all classes, in [0, 1).
    class_weights: of "ce", what a sample of each class weighs, or "balanced", N / (K n_k); the sum stays divided by N.
    logit_adjustment: of "ce", tau: tau log(n_k / N) is added to the logits in training (Menon et al. 2021: 1).
    depth: M, the layers of the head. bias: whether its last layer has one.
    feature_sign: "free", or "nonnegative" where the head reads the output of a ReLU. The prediction depends on it.
    decay_weight: lam_W, a number, or M of them from the layer that reads the features on. decay_feature: lam_H. Without
        decay_feature (plain weight decay) the shape at vanishing decay is predicted, where theory has one.
    decay_bias: lam_b, beside decay_feature; 0: the bias is not decayed.
    widths: the features' dimension d, then the head's M-1 hidden widths, or one number for all; left out: 64, or K
        where that is more, so that no layer of a linear head is a bottleneck.
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
    """The same, with arrays that cannot be written to."""
    if isinstance(value, np.ndarray):
        view = value.view()
        view.flags.writeable = False
        return view
    if isinstance(value, tuple):
        return tuple(map(_read_only, value))
    if is_dataclass(value) and not isinstance(value, type | Problem):
        return replace(value, **{field.name: _read_only(getattr(value, field.name)) for field in fields(value)})
    return value
