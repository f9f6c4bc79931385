"""The field's usual metrics (Papyan, Han and Donoho 2020 and later) over training: error, equal norms and angles,
duality, NC4, CDNV."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ncrun.figures import arrangement, changes, convergence, panels, wording
from ncrun.figures.arrangement import Curve
from ncrun.records.read import Record

Array = NDArray[np.float64]
MEANS: dict[str, Any] = {"linestyle": "-."}
TEST: dict[str, Any] = {"linestyle": ":"}
# Their whole look is set here, because the style may not be loaded yet when this is imported.
DASHES = Line2D([], [], color="0.4", linewidth=1.5, label="class means", **MEANS)
SOLID = Line2D([], [], color="0.4", linewidth=1.5, label="classifier")
TEST_HANDLE = Line2D([], [], color="0.4", linewidth=1.5, label="test split", **TEST)
# The means of two classes, minus their mean, are opposite up to rounding.
CUT_OFF = 1e-9
# Values that are zero up to rounding have no place on a log axis, such as the angle of two class means about their
# mean.
SMALLEST = 1e-6


@dataclass(frozen=True)
class Panel:
    """keys: of the metrics, with the style of each; predicted: the value of each from theory.json. scale: of the
    ordinate, linear for a share that ends at zero."""

    title: str
    keys: dict[str, dict[str, Any]]
    predicted: Callable[[dict[str, Any]], tuple[float, ...]] | None = None
    scale: str = "log"


def predicted_equinorm(theory: dict[str, Any]) -> tuple[float, ...]:
    """Predicted unbiased standard deviation over mean of the norms, for classifier rows and for class means minus their
    unweighted mean."""
    lengths = [np.sqrt(np.clip(np.diag(gram), 0, None)) for gram in _frames(theory)]
    return tuple(float(each.std(ddof=1) / each.mean()) if each.mean() else np.nan for each in lengths)


def predicted_angle(theory: dict[str, Any]) -> tuple[float, ...]:
    """Predicted mean over pairs of |cos + 1/(K-1)|, for the same two."""
    found = []
    for gram in _frames(theory):
        K, lengths = len(gram), np.sqrt(np.diag(gram))
        if not (lengths > SMALLEST * lengths.max()).all():
            found.append(np.nan)
            continue
        cosines = (gram / np.outer(lengths, lengths))[np.triu_indices(K, 1)]
        found.append(float(np.abs(cosines + 1 / (K - 1)).mean()))
    return tuple(found)


def predicted_duality(theory: dict[str, Any]) -> tuple[float, ...]:
    """||W/||W|| - Hbar^T/||Hbar|| ||, whose square is 2 - 2 tr(W Hbar) / (||W|| ||Hbar||)."""
    weights, means, logits = (np.array(theory[name], dtype=float) for name in ("weight_gram", "feature_gram", "logits"))
    size = np.sqrt(weights.trace() * means.trace())
    return (float(np.sqrt(max(0.0, 2 - 2 * logits.trace() / size))) if size else np.nan,)


PANELS = (
    Panel("std / mean of norms", {"equinorm_w": {}, "equinorm_h": MEANS}, predicted_equinorm),
    Panel("mean |cos + 1/(K − 1)|", {"angle_w": {}, "angle_h": MEANS}, predicted_angle),
    Panel("classifier to means (duality)", {"duality": {}}, predicted_duality),
    Panel("NC4: disagreement", {"nc4": {}, "test.nc4": TEST}, scale="linear"),
    Panel("CDNV", {"cdnv": {}}),
)


def usual_set(records: Sequence[Record]) -> Figure:
    """Classification error, equal norms, equal angles, duality, NC4 and CDNV over epochs, dashed: predicted; a row for
    each architecture, data set or bias. Metrics that old records lack, or that are rounding in all of them, are
    skipped."""
    rows = arrangement.arrange(records)
    shown = [panel for panel in PANELS if any(_known(row.curves, panel) for row in rows)]
    figure, axes = panels.grid(len(rows), 1 + len(shown), sharex=True)
    for row, line in zip(rows, axes, strict=True):
        error(line[0], row.curves)
        for ax, panel in zip(line[1:], shown, strict=True):
            _over_epochs(ax, row.curves, panel)
        changes.mark(line, row.records)
    arrangement.label_rows(axes, rows)
    found = [handle for handle in convergence.legend(rows) if handle is not convergence.DOTTED]
    frames = any(len(panel.keys) > 1 for panel in shown)
    styles = [*([SOLID, DASHES] if frames else []), TEST_HANDLE, panels.DASHED]
    panels.legend_above(figure, [*found, *styles])
    cut = any(ax.get_yscale() == "log" and ax.get_ylim()[0] == CUT_OFF for ax in axes.flat)
    panels.caption(figure, convergence.caption(records, f"Cut off at {CUT_OFF:g}." if cut else ""))
    return figure


def error(ax: Axes, curves: Sequence[Curve]) -> None:
    """Classification error in training and (dotted) in the test split, a band for each curve."""
    for curve in curves:
        for split, style in (("train", {}), ("test", TEST)):
            key = f"{split}_accuracy"
            if all(convergence.is_defined(record, key) for record in curve.records):
                panels.band(ax, curve.records, partial(_error, key), "linear", **curve.look | style)
        convergence.mark_times(ax, curve, partial(_error, "train_accuracy"), "linear")
    ax.set_title("classification error")
    ax.set_ylim(-0.02, 1.05 * ax.get_ylim()[1])
    panels.tidy_log(ax.xaxis)


def _error(key: str, frame: Any) -> Any:
    return 1 - frame[key]


def _over_epochs(ax: Axes, curves: Sequence[Curve], panel: Panel) -> None:
    drawn = False
    for curve in curves:
        known = _known([curve], panel)
        for key in known:
            panels.band(ax, curve.records, key, panel.scale, **curve.look | panel.keys[key])
        if known:
            drawn = True
            convergence.mark_times(ax, curve, known[0], panel.scale)
            _predicted(ax, curve, panel)
    ax.set_title(panel.title)
    if not drawn:
        panels.nothing_to_draw(ax)
        return
    low, high = ax.get_ylim()
    panels.tidy_log(ax.xaxis)
    if panel.scale == "linear":
        ax.set_ylim(-0.02 * high, high)
        return
    ax.set_ylim(max(low, CUT_OFF), max(high, 10 * CUT_OFF))
    panels.tidy_log(ax.yaxis)


def _known(curves: Sequence[Curve], panel: Panel) -> list[str]:
    """The keys that all runs of a curve have, and that exceed rounding in at least one."""
    return [key for key in panel.keys if any(_is_measured(curve.records, key, panel.scale) for curve in curves)]


def _is_measured(records: Sequence[Record], key: str, scale: str) -> bool:
    if not all(key in record.metrics for record in records):
        return False
    later = [np.array(r.metrics[key][r.metrics["epoch"] > 0], dtype=float) for r in records]
    if scale == "linear":
        return all(np.isfinite(values).any() for values in later)
    return all((values > 0).any() for values in later) and any((values > SMALLEST).any() for values in later)


def _predicted(ax: Axes, curve: Curve, panel: Panel) -> None:
    theory = curve.records[0].theory
    if panel.predicted is None or any(theory[name] is None for name in ("weight_gram", "feature_gram", "logits")):
        return
    for value in panel.predicted(_about_the_mean(curve.records[0])):
        if value > SMALLEST:
            ax.axhline(value, **panels.PREDICTION | {"color": curve.colour})


def _about_the_mean(record: Record) -> dict[str, Any]:
    """The prediction with class means minus their sample-weighted mean if there is a bias, as duality is measured. Only
    after a ReLU they are not centred already."""
    if wording.centres_means(record) or not record.config["head"]["bias"]:
        return record.theory
    counts = np.array(record.manifest["class_counts"], dtype=float)
    centre = np.eye(len(counts)) - np.outer(counts / counts.sum(), np.ones(len(counts)))
    means, logits = (np.array(record.theory[name], dtype=float) for name in ("feature_gram", "logits"))
    return record.theory | {"feature_gram": centre.T @ means @ centre, "logits": logits @ centre}


def _frames(theory: dict[str, Any]) -> tuple[Array, Array]:
    """Gram matrices of the classifier's rows (not centred) and of the class means minus their unweighted mean."""
    weights, means = (np.array(theory[name], dtype=float) for name in ("weight_gram", "feature_gram"))
    centre = np.eye(len(means)) - 1 / len(means)
    return weights, centre @ means @ centre
