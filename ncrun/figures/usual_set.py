"""The field's usual set (Papyan, Han and Donoho 2020 and after) over training: error, equal norms and angles, duality,
CDNV; and layer by layer the class means' rank and singular values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import arrangement, convergence, drops, panels, wording
from ncrun.figures.arrangement import Curve
from ncrun.figures.layers import layer_colours, layer_names, layer_words
from ncrun.records.read import Record

Array = NDArray[np.float64]
MEANS: dict[str, Any] = {"linestyle": "-."}
TEST: dict[str, Any] = {"linestyle": ":"}
# All of their look is said here, for whether the style is there already depends on who imports this first.
DASHES = Line2D([], [], color="0.4", linewidth=1.5, label="class means", **MEANS)
SOLID = Line2D([], [], color="0.4", linewidth=1.5, label="classifier")
TEST_HANDLE = Line2D([], [], color="0.4", linewidth=1.5, label="test split", **TEST)
SINGULAR_MARK: dict[str, Any] = {"color": "0.25", "marker": "_", "linestyle": "", "markersize": 9}
PREDICTED_SINGULAR = Line2D([], [], label="predicted, at the head's input", **SINGULAR_MARK)
# Singular values below this share of the largest are drawn there.
FLOOR = 1e-9
# Of two classes, the means about their mean are opposite up to rounding.
CUT_OFF = 1e-9
# Predictions of nothing, up to rounding, have no place on a log axis.
SMALLEST = 1e-6
# With more networks than this, of each architecture the deepest head only.
MOST_CURVES = 6


@dataclass(frozen=True)
class Panel:
    """keys: of the metrics, with the style of each; predicted: the value of each that follows from theory.json."""

    title: str
    keys: dict[str, dict[str, Any]]
    predicted: Callable[[dict[str, Any]], tuple[float, ...]] | None = None


def predicted_equinorm(theory: dict[str, Any]) -> tuple[float, ...]:
    """Of classifier rows, and of class means about their unweighted mean: unbiased standard deviation over mean."""
    lengths = [np.sqrt(np.clip(np.diag(gram), 0, None)) for gram in _frames(theory)]
    return tuple(float(each.std(ddof=1) / each.mean()) if each.mean() else np.nan for each in lengths)


def predicted_angle(theory: dict[str, Any]) -> tuple[float, ...]:
    """Mean over pairs of |cos + 1/(K-1)|, of the same two."""
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
    Panel("CDNV", {"cdnv": {}}),
)


def usual_set(records: Sequence[Record]) -> Figure:
    """Classification error, equal norms, equal angles, duality and CDNV over epochs, with what theory predicts for them
    dashed; a row for each architecture, data set or bias. What old records lack is left out."""
    rows = arrangement.arrange(records)
    shown = [panel for panel in PANELS if any(convergence.is_defined(r, key) for r in records for key in panel.keys)]
    figure, axes = panels.grid(len(rows), 1 + len(shown), sharex=True)
    for row, line in zip(rows, axes, strict=True):
        error(line[0], row.curves)
        for ax, panel in zip(line[1:], shown, strict=True):
            _over_epochs(ax, row.curves, panel)
        drops.mark(line, row.records)
    arrangement.label_rows(axes, rows)
    found = [handle for handle in convergence.legend(rows) if handle is not convergence.DOTTED]
    frames = any(len(panel.keys) > 1 for panel in shown)
    styles = [*([SOLID, DASHES] if frames else []), TEST_HANDLE, panels.DASHED]
    panels.legend_above(figure, [*found, *styles])
    cut = any(ax.get_yscale() == "log" and ax.get_ylim()[0] == CUT_OFF for ax in axes.flat)
    panels.caption(figure, convergence.caption(records, f"Cut off at {CUT_OFF:g}." if cut else ""))
    return figure


def error(ax: Axes, curves: Sequence[Curve]) -> None:
    """Share of wrong decisions in training and (dotted) in the test split, a band for each curve."""
    for curve in curves:
        for split, style in (("train", {}), ("test", TEST)):
            key = f"{split}_accuracy"
            if all(convergence.is_defined(record, key) for record in curve.records):
                panels.band(ax, curve.records, partial(_error, key), "linear", color=curve.colour, **style)
        convergence.mark_times(ax, curve, partial(_error, "train_accuracy"), "linear")
    ax.set_title("classification error")
    ax.set_ylim(-0.02, 1.05 * ax.get_ylim()[1])
    panels.tidy_log(ax.xaxis)


def _error(key: str, frame: Any) -> Any:
    return 1 - frame[key]


def _over_epochs(ax: Axes, curves: Sequence[Curve], panel: Panel) -> None:
    drawn = False
    for curve in curves:
        known = [key for key in panel.keys if all(convergence.is_defined(record, key) for record in curve.records)]
        for key in known:
            panels.band(ax, curve.records, key, color=curve.colour, **panel.keys[key])
        if known:
            drawn = True
            convergence.mark_times(ax, curve, known[0])
            _predicted(ax, curve, panel)
    ax.set_title(panel.title)
    if not drawn:
        panels.nothing_to_draw(ax)
        return
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, CUT_OFF), max(high, 10 * CUT_OFF))
    panels.tidy_log(ax.yaxis)
    panels.tidy_log(ax.xaxis)


def _predicted(ax: Axes, curve: Curve, panel: Panel) -> None:
    theory = curve.records[0].theory
    if panel.predicted is None or any(theory[name] is None for name in ("weight_gram", "feature_gram", "logits")):
        return
    for value in panel.predicted(_about_the_mean(curve.records[0])):
        if value > SMALLEST:
            ax.axhline(value, **panels.PREDICTION | {"color": curve.colour})


def _about_the_mean(record: Record) -> dict[str, Any]:
    """Theory with the class means minus their sample-weighted mean in settings with a bias, as duality is measured.
    Only after a ReLU they are not there already."""
    if wording.centres_means(record) or not record.config["head"]["bias"]:
        return record.theory
    counts = np.array(record.manifest["class_counts"], dtype=float)
    centre = np.eye(len(counts)) - np.outer(counts / counts.sum(), np.ones(len(counts)))
    means, logits = (np.array(record.theory[name], dtype=float) for name in ("feature_gram", "logits"))
    return record.theory | {"feature_gram": centre.T @ means @ centre, "logits": logits @ centre}


def _frames(theory: dict[str, Any]) -> tuple[Array, Array]:
    """Gram matrices of the classifier's rows as they are and of the class means about their unweighted mean."""
    weights, means = (np.array(theory[name], dtype=float) for name in ("weight_gram", "feature_gram"))
    centre = np.eye(len(means)) - 1 / len(means)
    return weights, centre @ means @ centre


def ranks(records: Sequence[Record]) -> Figure:
    """Of the class means at every layer: the numerical rank over epochs, and the singular values at the end, each over
    the layer's largest. Two panels for each network (one where records lack the singular values).

    Raises UserError if the records hold no rank.
    """
    shown = _networks(records)
    across = 2 if len(shown) > 3 else 1
    down = -(-len(shown) // across)
    complete = all(_singular(record) for _, curve in shown for record in curve.records)
    figure, axes = panels.grid(down, across * (1 + complete))
    cells = axes.reshape(down * across, 1 + complete)
    for (label, curve), cell in zip(shown, cells, strict=False):
        _rank_over_epochs(cell[0], curve)
        if complete:
            _singular_values(cell[1], curve)
        cell[0].set_ylabel(arrangement.broken(label))
        colours = layer_colours(layer_names(curve.records[0]))
        handles = [Line2D([], [], color=colour, label=layer_words(name)) for name, colour in colours.items()]
        cell[-1].legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1.2)
    for ax in cells[len(shown) :].flat:
        ax.remove()
    every = [record for _, curve in shown for record in curve.records]
    words = "Class means are not centred; their rank counts singular values above 0.001 of the largest."
    if complete:
        words += f" Singular values: every seed at the last epoch; what is below {FLOOR:g} is drawn there."
        if any(_predicted_singular(record) is not None for record in every):
            panels.legend_above(figure, [PREDICTED_SINGULAR])
    panels.caption(figure, convergence.caption(every, words))
    return figure


def _networks(records: Sequence[Record]) -> list[tuple[str, Curve]]:
    rows = arrangement.arrange([record for record in records if _ranked(record)])
    if not rows:
        raise UserError("the records hold no rank of the class means (head.1.rank); they are of an older version")
    found = arrangement.networks(rows)
    if len(found) > MOST_CURVES:
        deepest = max(curve.records[0].config["head"]["depth"] for _, curve in found)
        found = [(label, curve) for label, curve in found if curve.records[0].config["head"]["depth"] == deepest]
    return found


def _ranked(record: Record) -> list[str]:
    """The layers whose rank is recorded."""
    return [name for name in layer_names(record) if f"{name}.rank" in record.metrics]


def _singular(record: Record) -> dict[str, list[float]]:
    """The class means' singular values of each layer, the largest first; nothing in old records."""
    found: dict[str, list[float]] = (record.measured or {}).get("singular_values", {})
    return found


def _predicted_singular(record: Record) -> Array | None:
    """Of the class means at the head's input; None where theory has none, or has them centred."""
    gram = record.theory["feature_gram"]
    if gram is None or wording.centres_means(record) or wording.is_relu_head(record):
        return None
    values: Array = np.sqrt(np.clip(np.linalg.eigvalsh(np.array(gram))[::-1], 0, None))
    return values


def _rank_over_epochs(ax: Axes, curve: Curve) -> None:
    colours = layer_colours(layer_names(curve.records[0]))
    names = _ranked(curve.records[0])
    for place, name in enumerate(names):  # from wide to narrow, for many layers have one rank
        width = 1.0 + 2.5 * (1 - place / max(1, len(names) - 1))
        panels.band(ax, curve.records, f"{name}.rank", "linear", color=colours[name], linewidth=width)
    ax.set_title("rank of the class means")
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_ylim(0, len(curve.records[0].manifest["class_counts"]) * 1.05)
    panels.tidy_log(ax.xaxis)


def _singular_values(ax: Axes, curve: Curve) -> None:
    colours = layer_colours(layer_names(curve.records[0]))
    for record in curve.records:
        for name, values in _singular(record).items():
            ax.plot(*_shares(values), "o-", color=colours[name], linewidth=0.8, markersize=3, alpha=0.8)
    predicted = _predicted_singular(curve.records[0])
    if predicted is not None and predicted[0] > 0:
        ax.plot(*_shares(predicted), **SINGULAR_MARK)
    ax.set(yscale="log", title="singular values / largest", xlabel="number of the singular value")
    ax.set_ylim(top=2)
    panels.tidy_log(ax.yaxis)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _shares(values: Sequence[float] | Array) -> tuple[Array, Array]:
    """Numbers from 1 and singular values over the largest, at least FLOOR."""
    found = np.array(values, dtype=float)
    return np.arange(1.0, len(found) + 1), np.clip(found / (found[0] or 1.0), FLOOR, None)
