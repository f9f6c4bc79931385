"""Panels that several figures share: axes in, axes out."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from ncrun.records.read import Record
from ncrun.theory.report import LOSS_WORDS

STYLE = Path(__file__).with_name("ncrun.mplstyle")
PREDICTION: dict[str, Any] = {"color": "0.25", "linestyle": "--", "linewidth": 1.0}
BASELINE: dict[str, Any] = {"linestyle": ":", "linewidth": 1.0}
LABELS = {
    "nc1": "NC1: within-class spread",
    "nc2_w": "NC2: classifier",
    "nc2_h": "NC2: class means",
    "nc3": "NC3: classifier times means",
    "gap": "loss / proven optimum − 1",
}
# The depths that the papers train, so that a depth keeps its colour while others are still missing.
DEPTHS = (1, 3, 6, 9, 2, 4)
MODEL_WORDS = {
    "mlp": "MLP",
    "deep_linear": "linear network",
    "resnet18": "ResNet18",
    "ufm": "free features",
    "ufm_relu": "free non-negative features",
    "dufm": "free features under a ReLU head",
}
OPTIMIZER_WORDS = {"sgd": "gradient descent", "adam": "Adam"}

# Of a caption's type, so that a long one is broken where the figure ends.
CHARACTERS_PER_INCH = 16.8


def use_style() -> None:
    """Draw without a screen, in the project's style."""
    mpl.use("Agg")
    plt.style.use(STYLE)


def colour_of(record: Record) -> str:
    """One colour per head depth, the same in every panel and figure."""
    depth = record.config["head"]["depth"]
    return f"C{DEPTHS.index(depth) if depth in DEPTHS else depth % len(DEPTHS)}"


def curves(ax: Axes, records: Sequence[Record], key: str, baseline: bool = False, **style: object) -> Axes:
    """A metric over epochs on log axes, one line per record; dotted, the same metric against the balanced
    prediction."""
    for record in records:
        frame = record.metrics[record.metrics["epoch"] > 0]
        colour = colour_of(record)
        line(ax, frame["epoch"], frame[key], color=colour, **style)
        if baseline:
            line(ax, frame["epoch"], frame[f"balanced.{key}"], color=colour, **BASELINE)
    ax.set(xscale="log", yscale="log", xlabel=time_word(records), title=LABELS[key])
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(left=1)
    return ax


def line(ax: Axes, epochs: object, values: object, **style: object) -> None:
    """A line through the values that a log axis can show."""
    y = np.array(values, dtype=float)  # None becomes nan
    ax.plot(np.asarray(epochs), np.where(y > 0, y, np.nan), **style)  # type: ignore[arg-type]


def band(ax: Axes, records: Sequence[Record], key: str | Callable[[Any], Any], **style: object) -> Axes:
    """A metric of runs that differ in their seed over epochs, on log axes: the mean as a line, from the smallest to the
    largest as a band. Nothing is drawn where a run has no positive value.

    key: of the metrics, or a function of their data frame.
    """
    frames = [record.metrics[record.metrics["epoch"] > 0] for record in records]
    values = np.array([key(frame) if callable(key) else frame[key] for frame in frames], dtype=float)
    values = np.where((values > 0).all(axis=0), values, np.nan)
    epochs = np.asarray(frames[0]["epoch"])
    (mean,) = ax.plot(epochs, values.mean(axis=0), **style)  # type: ignore[arg-type]
    ax.fill_between(
        epochs, values.min(axis=0), values.max(axis=0), color=mean.get_color(), alpha=0.25, linewidth=0, zorder=1.5
    )
    ax.set(xscale="log", yscale="log", xlabel=time_word(records))
    ax.set_xlim(left=1)
    return ax


def against_class_size(ax: Axes, records: Sequence[Record], measured: str, predicted: str, title: str) -> Axes:
    """A per-class quantity over class size: dots measured at the last epoch, dashed lines predicted."""
    for record in records:
        classes = record.theory["classes"]
        counts = np.array([entry["count"] for entry in classes], dtype=float)
        expected = np.array([entry[predicted] for entry in classes], dtype=float)
        order = np.argsort(counts, kind="stable")
        colour = colour_of(record)
        ax.plot(counts[order], expected[order], color=colour, linestyle="--", linewidth=1.0)
        ax.plot(counts, record.metrics[measured].iloc[-1], "o", color=colour, alpha=0.75)
    ax.set(xlabel="samples in the class", title=title)
    ax.set_ylim(bottom=0)
    return ax


def depth_legend(ax: Axes, records: Sequence[Record]) -> None:
    """Which colour is which depth."""
    colours = {record.config["head"]["depth"]: colour_of(record) for record in records}
    handles = [Line2D([], [], color=colours[d], label=f"M = {d}") for d in sorted(colours)]
    ax.legend(handles=handles, loc="lower left")


def caption(figure: Figure, text: str) -> None:
    """The words below a figure that say scale, data and epochs, so that nobody mistakes one scale for another."""
    limit = int(CHARACTERS_PER_INCH * figure.get_figwidth())
    lines = len(textwrap.wrap(text, limit))
    # The narrowest with as many lines: none of a single word.
    width = next(w for w in range(limit // 2, limit + 1) if len(textwrap.wrap(text, w)) == lines)
    figure.supxlabel(textwrap.fill(text, width), fontsize=8, color="0.3", x=0.01, ha="left")


def time_word(records: Sequence[Record]) -> str:
    """What an epoch is called: with free features it is one iteration."""
    return "iteration" if records[0].config["dataset"] is None else "epoch"


def source_words(record: Record, experiment: str) -> str:
    """How a figure relates to a paper's: the paper's own setting, or a small version of it."""
    if record.manifest["scale"] == "paper":
        return f"The setting of {experiment}; our run."
    return f"A small version of {experiment}."


def setting_words(*records: Record) -> str:
    """Scale, data, network and epochs in one phrase; of records that differ in class sizes, momentum or seed, each."""

    def each(words: Callable[[Record], str]) -> str:
        return " or ".join(dict.fromkeys(map(words, records)))

    config, manifest = records[0].config, records[0].manifest
    model, length = config["model"], f"{config['epochs']:,} iterations"
    seeds = sorted({record.config["seed"] for record in records})
    seed_words = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    if config["dataset"] is None:
        optimizer = config["optimizer"]
        descent = "L-BFGS until the gradient is gone"
        if optimizer["name"] != "lbfgs":
            momentum = each(lambda record: f"{record.config['optimizer'].get('momentum', 0):g}")
            name = OPTIMIZER_WORDS[optimizer["name"]] + (f", momentum {momentum}" if "momentum" in optimizer else "")
            descent = f"{length} of {name}, learning rate {optimizer['lr']:g}"
        words = MODEL_WORDS[model["name"]]
        return (
            f"{words[0].upper()}{words[1:]}, dimension {model['width']}, {each(_class_sizes)};"
            f" {LOSS_WORDS[config['loss']]}, {_decay_words(records[0])}, {descent}, {seed_words}."
        )
    network = f"{MODEL_WORDS[model['name']]} of width {model['width']}"
    if "depth" in model:
        network = f"{MODEL_WORDS[model['name']]} of {model['depth']} layers of width {model['width']}"
    batch = "full batch" if config["batch_size"] == "full" else f"batch {config['batch_size']}"
    scale = f"Scale {manifest['scale']}: " if manifest["scale"] else ""
    return (
        f"{scale}{manifest['dataset']}, {manifest['num_samples']} samples, {each(_class_sizes)}; {network},"
        f" {LOSS_WORDS[config['loss']]}, {batch}, {config['epochs']} epochs, {seed_words}."
    )


def _class_sizes(record: Record) -> str:
    counts = record.manifest["class_counts"]
    if record.config["dataset"] is None:
        few = ", ".join(map(str, counts)) if len(counts) <= 6 else f"{min(counts)} to {max(counts)}"
        return f"{len(counts)} classes of {counts[0] if min(counts) == max(counts) else few} samples"
    return f"{min(counts)} per class" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)} per class"


def _decay_words(record: Record) -> str:
    decays = record.manifest["effective_decays"]
    weights = sorted(set(decays["weight"]))
    if weights == [decays["feature"]]:
        return f"all decays {weights[0]:g}"
    return f"decay {', '.join(f'{w:g}' for w in weights)} on weights and {decays['feature']:g} on features"


def save(figure: Figure, path: Path) -> list[Path]:
    """PNG and PDF beside each other; path without a suffix. Returns what was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path.with_name(path.name + suffix) for suffix in (".png", ".pdf")]
    for file in written:
        # Without a date, redrawing the same records gives the same bytes.
        figure.savefig(file, metadata={"CreationDate": None} if file.suffix == ".pdf" else None)
    plt.close(figure)
    return written
