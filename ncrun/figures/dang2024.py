"""Figures in the settings of Dang et al. 2024: cross-entropy, non-negative features, imbalanced classes."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncrun.figures import panels
from ncrun.records.read import Record
from ncrun.theory.geometry import Array

DOT = Line2D([], [], color="0.4", marker="o", linestyle="", alpha=0.75, label="trained")
DASHED = Line2D([], [], color="0.4", linestyle="--", linewidth=1.0, label="formula")
# The ratio whose Gram matrices are shown entry by entry.
SHOWN_RATIO = 10


def direct(records: Sequence[Record]) -> Figure:
    """Norms and margins class by class at every imbalance ratio, angles over the ratio, all beside the formula."""
    ordered = sorted(records, key=_ratio)
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.2), layout="constrained")
    per_class = (
        ("class.feature_norm_sq", "feature_norm_sq", "squared norm of class means"),
        ("class.weight_norm_sq", "weight_norm_sq", "squared norm of classifier rows"),
        ("class.margin", "margin", "margin"),
    )
    for ax, (measured, predicted, title) in zip(axes[0], per_class, strict=True):
        for record in ordered:
            _against_size(ax, record, measured, predicted)
        ax.set(title=title, xlabel="samples in the class", xscale="log", ylim=(0, None))
        ax.xaxis.set_major_formatter("{x:g}")
    handles = [Line2D([], [], color=_colour(r), label=f"ratio {_ratio(r):.3g}") for r in ordered]
    figure.legend(handles=[*handles, DOT, DASHED], loc="outside upper center", ncols=len(handles) + 2)

    pairs = (("two largest classes", 0, 1), ("largest and smallest", 0, -1), ("two smallest classes", -2, -1))
    _over_ratio(
        axes[1, 0], ordered, {name: (_weight_cosine, i, j) for name, i, j in pairs}, "cosine of classifier rows"
    )
    own = (("largest class", 0, 0), ("smallest class", -1, -1))
    _over_ratio(
        axes[1, 1], ordered, {name: (_own_cosine, i, j) for name, i, j in own}, "cosine of a row and its class mean"
    )
    for key, label in (("nc2_w", "classifier"), ("nc2_h", "class means"), ("nc3", "logits")):
        values = [record.metrics[key].iloc[-1] for record in ordered]
        axes[1, 2].plot([_ratio(r) for r in ordered], values, "o-", label=label)
    axes[1, 2].set(title="distance to the formula", xlabel="imbalance ratio", xscale="log", yscale="log")
    axes[1, 2].xaxis.set_major_formatter("{x:g}")
    axes[1, 2].legend()
    panels.caption(figure, _words(ordered))
    return figure


def direct_grams(records: Sequence[Record]) -> Figure:
    """Gram matrices and logits, entry by entry: the formula above, what was trained below."""
    record = min(records, key=lambda r: abs(_ratio(r) - SHOWN_RATIO))
    figure, axes = plt.subplots(2, 3, figsize=(9.5, 6.4), layout="constrained")
    titles = {"weight_gram": "$W W^T$", "feature_gram": "$\\bar{H}^T \\bar{H}$", "logits": "$W \\bar{H}$"}
    assert record.geometry is not None
    for column, (name, title) in enumerate(titles.items()):
        expected, measured = np.array(record.theory[name]), np.array(record.geometry[name])
        extent = float(np.abs(expected).max())
        for ax, matrix in zip(axes[:, column], (expected, measured), strict=True):
            drawn = ax.imshow(matrix, cmap="PuOr_r", vmin=-extent, vmax=extent)
            ax.set(xticks=range(len(matrix)), yticks=range(len(matrix)))
            ax.grid(False)
        axes[0, column].set_title(title)
        axes[1, column].set_xlabel(f"largest difference {np.abs(expected - measured).max():.1g}")
        figure.colorbar(drawn, ax=axes[:, column], shrink=0.7)
    axes[0, 0].set_ylabel("formula\nclass")
    axes[1, 0].set_ylabel("trained\nclass")
    counts = record.manifest["class_counts"]
    panels.caption(figure, f"{_words([record])} Class sizes {', '.join(map(str, counts))}.")
    return figure


def _ratio(record: Record) -> float:
    counts = record.manifest["class_counts"]
    return float(max(counts) / min(counts))


def _colour(record: Record) -> str:
    """From dark (balanced) to light, over ratios up to 100."""
    return to_hex(mpl.colormaps["viridis"](0.9 * np.log(_ratio(record)) / np.log(100)))


def _against_size(ax: Axes, record: Record, measured: str, predicted: str) -> None:
    classes = record.theory["classes"]
    counts = [entry["count"] for entry in classes]
    ax.plot(counts, [entry[predicted] for entry in classes], "--", color=_colour(record), linewidth=1.0)
    ax.plot(counts, record.metrics[measured].iloc[-1], "o", color=_colour(record), alpha=0.75)


def _over_ratio(ax: Axes, records: Sequence[Record], curves: dict[str, tuple[object, int, int]], title: str) -> None:
    ratios = [_ratio(record) for record in records]
    for index, (name, (cosine, i, j)) in enumerate(curves.items()):
        expected = [cosine(record.theory, i, j) for record in records]  # type: ignore[operator]
        measured = [cosine(record.geometry, i, j) for record in records]  # type: ignore[operator]
        ax.plot(ratios, expected, "--", color=f"C{index}", linewidth=1.0)
        ax.plot(ratios, measured, "o", color=f"C{index}", alpha=0.75, label=name)
    ax.set(title=title, xlabel="imbalance ratio", xscale="log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend()


def _weight_cosine(matrices: dict[str, object], i: int, j: int) -> float:
    gram = np.array(matrices["weight_gram"], dtype=float)
    return float(gram[i, j] / np.sqrt(gram[i, i] * gram[j, j]))


def _own_cosine(matrices: dict[str, object], i: int, j: int) -> float:
    """Between w_i and h_j; nan where the class has collapsed."""
    weights, features, logits = (
        np.array(matrices[name], dtype=float) for name in ("weight_gram", "feature_gram", "logits")
    )
    size: Array = weights[i, i] * features[j, j]
    return float(logits[i, j] / np.sqrt(size)) if size > SMALLEST_SQUARE else np.nan


# A class mean shorter than this has collapsed, and its angles are rounding.
SMALLEST_SQUARE = 1e-12


def _words(records: Sequence[Record]) -> str:
    record = records[0]
    decays = record.manifest["effective_decays"]
    return (
        "The problem of Dang et al. 2024 itself: free non-negative features of dimension"
        f" {record.config['model']['width']}, cross-entropy, one linear layer, decays {decays['weight'][0]:g} and"
        f" {decays['feature']:g}; L-BFGS, seed {record.config['seed']}."
    )
