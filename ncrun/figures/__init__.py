"""Drawings by name: each uses only records and theory, without torch and configuration.

Listing drawings is instant; only drawing imports matplotlib.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ncrun.errors import UserError
from ncrun.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from ncrun.records.read import Record


@dataclass(frozen=True)
class Drawing:
    """A kind of figure of finished runs.

    draw: raises UserError if the records lack something; the experiment's other drawings are still made. suffix: of its
    file's name if it is not the experiment's first drawing; None: the key. words: what it shows, for lists of drawings.
    on_targets: whether it needs runs on targets, which have no classes; None: any runs. options: further keyword
    arguments of draw and moving, with strings as values. moving: writes an animation into a file; None if there is
    none.
    """

    key: str
    draw: "Callable[..., Figure]"
    suffix: str | None = None
    words: str = ""
    on_targets: bool | None = False
    options: tuple[str, ...] = ()
    moving: "Callable[..., object] | None" = None

    def of(self, records: "Sequence[Record]", **options: str) -> "Figure":
        """The figure of these runs, in the common order. Raises UserError as draw does."""
        return self.draw(self._ordered(records), **options)

    def write_moving(self, records: "Sequence[Record]", path: "Path", **options: str) -> None:
        """Writes the animation of these runs. Raises UserError as moving does, and OSError."""
        if self.moving is None:
            raise UserError(f"has no animation; use out={path.with_suffix('.png').name}")
        self.moving(self._ordered(records), path, **options)

    def _ordered(self, records: "Sequence[Record]") -> "list[Record]":
        for record in records:
            if self.on_targets not in (None, record.on_targets):
                lacks = "targets" if self.on_targets else "classes"
                raise UserError(f"{record.path}: has no {lacks}, which this drawing needs")
        return sorted(records, key=lambda r: (r.config["head"]["bias"], r.config["head"]["depth"], r.config["seed"]))

    def file_name(self, stem: str, first: bool) -> str:
        """The file name without suffix: the stem for the experiment's first drawing, the stem and the drawing's suffix
        for others."""
        return stem if first else f"{stem}-{self.key if self.suffix is None else self.suffix}"


def _later(module: str, function: str) -> "Callable[..., Figure]":
    """A function in a module of this package, which is imported at the call."""

    def draw(*arguments: object, **options: object) -> "Figure":
        figure: Figure = getattr(import_module(f"ncrun.figures.{module}"), function)(*arguments, **options)
        return figure

    return draw


def _built_in(key: str, place: str, words: str, suffix: str | None = None, on_targets: bool | None = False) -> Drawing:
    """place: module.function in this package."""
    return Drawing(key, _later(*place.split(".")), suffix, words, on_targets)


DRAWINGS = Registry(
    "drawing",
    (
        _built_in(
            "convergence",
            "convergence.convergence",
            "NC1, NC2, NC3 and the gap over training, beside the balanced prediction",
        ),
        _built_in(
            "curves",
            "curves.only_curves",
            "curves.png of one run: loss, error, margins, NC1 and distances over training, beside the prediction",
            on_targets=None,
        ),
        _built_in("grams", "matrices.matrices", "Gram matrices and logits entry by entry, predicted beside measured"),
        _built_in(
            "usual",
            "usual_set.usual_set",
            "the field's usual metrics over training: error, equal norms and angles, duality, NC4, CDNV",
        ),
        _built_in("ranks", "ranks.ranks", "rank and singular values of the class means at every layer, including taps"),
        _built_in(
            "classes", "classes.sizes", "norms, margins and accuracies over the class count, beside the prediction"
        ),
        _built_in(
            "angles",
            "classes.angles",
            "angles of classifier rows and class means over the class count, beside the prediction",
        ),
        _built_in(
            "claim",
            "diagonal.claim",
            "measured over predicted norms, margins and cosines of every class, with a diagonal and named outliers",
        ),
        _built_in(
            "class-nc1",
            "class_spread.class_spread",
            "NC1 of each class over training, and at the end over the class count",
        ),
        _built_in(
            "cosines",
            "cosine_histograms.cosine_histograms",
            "cosines of classifier rows and class means: histograms at the start, at zero training error, at the end",
        ),
        _built_in(
            "nc-accuracy",
            "collapse_accuracy.collapse_accuracy",
            "test accuracy over NC1, NC2 and NC3: the path of training, with epochs marked on it",
        ),
        _built_in(
            "terminal-phase",
            "terminal_phase.terminal_phase",
            "errors, NC1, NC2 and NC3 over epochs on a linear axis, the terminal phase of training shaded",
        ),
        _built_in(
            "aggregates",
            "aggregates.aggregates",
            "settings compared: interquartile means over seeds with intervals, at the end and over training",
        ),
        _built_in(
            "refutation",
            "refutation.refutation",
            "a refuted claim: Gram matrices of the claimed, the lowest known and the trained solution, and their"
            " losses",
        ),
        _built_in(
            "regression",
            "regression.regression",
            "NRC1, NRC2, NRC3 and W W^T of runs on targets, measured beside predicted",
            on_targets=True,
        ),
        _built_in(
            "remedies",
            "remedies.remedies",
            "margins and test accuracies over the class count for class weights, adjustment and smoothing, beside the"
            " prediction",
        ),
        _built_in(
            "with-bias",
            "with_bias.with_bias",
            "features >= 0 with a bias: norms, margins, angles, distances beside the prediction and the bias-free one",
        ),
        _built_in(
            "collapse",
            "minority.collapse",
            "neural collapse over training, and minority collapse: margins over decay, with the predicted threshold",
        ),
        _built_in(
            "imbalanced",
            "dang2023.imbalanced",
            "NC1, NC2, NC3 over training and the classes at the end, in one figure",
        ),
        _built_in("ledger", "ledger.ledger", "the gap to the optimum and its parts; squared loss on a linear head"),
        _built_in(
            "direct-imbalanced",
            "dang2023.direct_imbalanced",
            "free features with and without momentum, imbalanced classes",
        ),
        _built_in(
            "direct-balanced", "dang2023.direct_balanced", "free features with and without momentum, equal classes"
        ),
        Drawing(
            "collapse-seen",
            _later("collapse_seen", "collapse_seen"),
            words="samples, class means and classifier rows on the predicted frame, from the start to the end",
            options=("classes",),
            moving=_later("collapse_moving", "collapse_moving"),
        ),
        _built_in(
            "sample-cosines",
            "sample_cosines.sample_cosines",
            "histograms of cosines of samples of one class and of two, from the start to the end",
        ),
        _built_in(
            "geometry-3d", "frame_3d.geometry_3d", "three classes in space: learned vectors on the predicted frame"
        ),
        _built_in(
            "phase-squared-loss",
            "phase.squared_loss",
            "which classes are kept, over imbalance ratio and decay: squared loss",
        ),
        _built_in(
            "phase-relu-features",
            "phase.relu_features",
            "which classes are kept, over imbalance ratio and decay: cross-entropy, features >= 0",
        ),
        _built_in(
            "phase-relu-head", "phase.relu_head", "which classes are kept, over imbalance ratio and decay: ReLU head"
        ),
        _built_in(
            "sharing-phases",
            "sharing.sharing_phases",
            "which classes are orthogonal, share directions or are lost, over imbalance ratio and decay: a bias",
        ),
        _built_in(
            "bias-decay",
            "bias_decay.bias_decay",
            "from the simplex ETF to the orthogonal frame as the bias' decay grows: squared loss",
        ),
        _built_in("hysteresis", "hysteresis.hysteresis", "decay swept up and down, class by class"),
        _built_in("direct", "dang2024.direct", "norms, margins and angles over the imbalance ratio"),
        _built_in("direct-grams", "dang2024.direct_grams", "Gram matrices of one imbalance ratio", suffix="grams"),
        _built_in(
            "deep-collapse",
            "layers.deep_collapse",
            "loss and DNC1, DNC2, DNC3 of every layer of a ReLU head and of taps",
        ),
        _built_in("width-ablation", "width_ablation.width_ablation", "loss, shares of restarts and DNC over the width"),
    ),
)
# Figures without runs, by name.
FROM_THEORY: "dict[str, Callable[[], Figure]]" = {"theory/etf-map": _later("etf_map", "etf_map")}
THEORY_WORDS = {"theory/etf-map": "where the simplex ETF of deep heads under cross-entropy is optimal, where it is not"}
