"""Panels that several figures share: axes in, axes out."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from ncrun.records.read import Record
from ncrun.theory.report import LOSS_WORDS

STYLE = Path(__file__).with_name("ncrun.mplstyle")
PREDICTION: dict[str, Any] = {"color": "0.25", "linestyle": "--", "linewidth": 1.0}
BASELINE: dict[str, Any] = {"linestyle": ":", "linewidth": 1.0}
ALONE: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.7}
DASHED = Line2D([], [], color="0.4", linestyle="--", linewidth=1.0, label="predicted")
DOT = Line2D([], [], color="0.4", marker="o", linestyle="", alpha=0.75, label="measured")
# In the order in which they are shown.
LABELS = {
    "nc1": "NC1: within-class spread",
    "nc2_w": "NC2: classifier",
    "nc2_h": "NC2: class means",
    "nc3": "NC3: classifier × means",
    "gap": "loss / optimum − 1",
}
# The depths that the papers train, so that a depth keeps its colour while others are still missing.
DEPTHS = (1, 3, 6, 9, 2, 4)
DATASET_WORDS = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "emnist_letters": "EMNIST Letters",
}
MODEL_WORDS = {
    "mlp": "MLP",
    "deep_linear": "linear network",
    "resnet18": "ResNet18",
    "resnet20": "ResNet20",
    "vgg11": "VGG11",
    "vgg16": "VGG16",
    "densenet": "DenseNet",
    "ufm": "free features",
    "ufm_relu": "free non-negative features",
    "dufm": "free features under a ReLU head",
}
OPTIMIZER_WORDS = {"sgd": "gradient descent", "adam": "Adam"}
BAND_WORDS = "Line: mean over the seeds; band: smallest to largest."
CLAIM_WORDS = {
    "proven": "proven",
    "certified": "certified by a convex program",
    "open": "claimed, neither proven nor refuted",
    "refuted": "claimed, and refuted as an optimum",
    "transferred": "the shape at vanishing decay, transferred from a theorem about another objective",
}

# What each experiment is, and how its setting at scale paper relates to it.
AUTHORS, RECONSTRUCTION = "The setting of", "A reconstruction of"
DANG_2023, DANG_2024, SUKENIK = "Dang et al. 2023", "Dang et al. 2024", "Sukenik et al. 2023, who released no code"
EXPERIMENTS = {
    "dang2023/mlp-balanced": (f"{DANG_2023}, balanced MLP", AUTHORS),
    "dang2023/mlp-imbalanced": (f"{DANG_2023}, imbalanced MLP", AUTHORS),
    "dang2023/mlp-imbalanced-emnist": (f"{DANG_2023}, imbalanced MLP on EMNIST Letters", AUTHORS),
    "dang2023/convolutional-balanced": (f"{DANG_2023}, balanced convolutional networks", AUTHORS),
    "dang2023/convolutional-balanced-emnist": (
        f"{DANG_2023}, balanced convolutional networks on EMNIST Letters",
        AUTHORS,
    ),
    "dang2023/cross-entropy-balanced": (f"{DANG_2023}, balanced classes under cross-entropy", RECONSTRUCTION),
    "dang2023/direct-balanced": (f"{DANG_2023}, direct optimisation, balanced", AUTHORS),
    "dang2023/direct-imbalanced": (f"{DANG_2023}, direct optimisation, imbalanced", AUTHORS),
    "dang2024/direct": (f"{DANG_2024} itself", "The problem of"),
    "dang2024/mlp": (f"{DANG_2024}, MLP", AUTHORS),
    "dang2024/mlp-cifar10": (f"{DANG_2024}, MLP on CIFAR-10", AUTHORS),
    "dang2024/mlp-cifar100": (f"{DANG_2024}, MLP on CIFAR-100", AUTHORS),
    "dang2024/convolutional": (f"{DANG_2024}, convolutional networks", AUTHORS),
    "dang2024/convolutional-cifar10": (f"{DANG_2024}, convolutional networks on CIFAR-10", AUTHORS),
    "dang2024/convolutional-cifar100": (f"{DANG_2024}, convolutional networks on CIFAR-100", AUTHORS),
    "sukenik2023/dufm": (f"the deep unconstrained features of {SUKENIK}", RECONSTRUCTION),
    "sukenik2023/dufm-width": (f"the width ablation of {SUKENIK}", RECONSTRUCTION),
    "sukenik2023/end-to-end": (f"the networks trained end to end of {SUKENIK}", RECONSTRUCTION),
    "sukenik2023/frozen-head": (f"the networks under a frozen head of {SUKENIK}", RECONSTRUCTION),
}

# Of a caption's type, so that a long one is broken where the figure ends.
CHARACTERS_PER_INCH = 16.8
# What a line and the gaps beside a legend's entry take, in letters.
HANDLE_LETTERS = 7
# In inches: a caption below a single panel would be a column of words.
NARROWEST_FIGURE = 5.8
# Of a log axis, from end to end.
NARROWEST = 4.0

Array = NDArray[np.float64]


def use_style() -> None:
    """Draw without a screen, in the project's style."""
    mpl.use("Agg")
    plt.style.use(STYLE)


def colour_of(record: Record) -> str:
    """One colour per head depth, the same in every panel and figure."""
    depth = record.config["head"]["depth"]
    return f"C{DEPTHS.index(depth) if depth in DEPTHS else depth % len(DEPTHS)}"


def line(ax: Axes, epochs: object, values: object, **style: object) -> None:
    """A line through the values that a log axis can show."""
    y = np.array(values, dtype=float)  # None becomes nan
    ax.plot(np.asarray(epochs), np.where(y > 0, y, np.nan), **style)  # type: ignore[arg-type]


def band(
    ax: Axes, records: Sequence[Record], key: str | Callable[[Any], Any], scale: str = "log", **style: object
) -> Axes:
    """A metric of runs that differ in their seed over epochs, on a log axis: the mean as a line, from the smallest to
    the largest as a band, at the epochs at which every run has a value that the scale can show. A run that has one
    where another has none, or goes on when another has ended, is drawn on by itself, thinly.

    key: of the metrics, or a function of their data frame. scale: of the ordinate, log or linear.
    """
    epochs, values, single = seed_values(records, key, scale)
    (mean,) = ax.plot(epochs, values.mean(axis=0), **style)  # type: ignore[arg-type]
    colour = mean.get_color()
    if len(records) > 1:
        ax.fill_between(
            epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.25, linewidth=0, zorder=1.5
        )
    for own_epochs, own_values in single:
        ax.plot(own_epochs, own_values, color=colour, **ALONE)
    ax.set(xscale="log", yscale=scale, xlabel=time_word(records))
    ax.set_xlim(left=1)
    return ax


def seed_values(
    records: Sequence[Record], key: str | Callable[[Any], Any], scale: str = "log"
) -> tuple[Array, Array, list[tuple[Array, Array]]]:
    """Epochs (n,) after the start that every run has measured and values (runs, n) there, nan unless all can be shown
    (on a log axis: are positive); and, of each run, the epochs and values that this leaves out, nan where there are
    none to draw."""
    series = []
    for record in records:
        frame = record.metrics[record.metrics["epoch"] > 0]
        found = np.array(key(frame) if callable(key) else frame[key], dtype=float)  # None becomes nan
        series.append(
            (frame["epoch"].to_numpy(dtype=float), np.where(found > 0, found, np.nan) if scale == "log" else found)
        )
    epochs = reduce(np.intersect1d, (own for own, _ in series))
    values = np.array([found[np.isin(own, epochs)] for own, found in series])
    whole = np.isfinite(values).all(axis=0)
    single = []
    for own, found in series:
        # The last epoch that is shared, too, so that a line goes on where the mean ends.
        shared = np.isin(own, epochs[whole][:-1])
        inside = np.isin(own, epochs) | (own > max(epochs, default=0))
        rest = np.where(~shared & inside, found, np.nan)
        if np.isfinite(rest[~np.isin(own, epochs[whole])]).any():
            single.append((own, rest))
    return epochs, np.where(whole, values, np.nan), single


def widen(ax: Axes, least: float) -> None:
    """The ordinate to a span of at least so much around its middle, so that rounding does not look like a result."""
    low, high = ax.get_ylim()
    if high - low < least:
        ax.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def tidy_log(axis: Axis) -> None:
    """Ticks of a log axis: powers of ten, or where the range holds fewer than two of them 1, 2 and 5 as well. A range
    too narrow for these is widened."""
    low, high = sorted(axis.get_view_interval())
    if high / low < NARROWEST:
        widen = np.sqrt(NARROWEST * low / high)
        low, high = low / widen, high * widen
        axis.set_view_interval(low, high, ignore=True)
    if high / low >= 100:
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_major_formatter(LogFormatterSciNotation())
    else:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def grid(rows: int, columns: int, width: float = 1.95, height: float = 1.75, **options: Any) -> tuple[Figure, Any]:
    """Panels of a size at which the type stays readable in a paper, with room for legend and caption."""
    size = (max(width * columns, NARROWEST_FIGURE) + 0.3, height * rows + 1.1)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)


def legend_above(figure: Figure, handles: Sequence[Any]) -> None:
    """One legend for all panels, above them, in as many lines as it needs."""
    if not handles:
        return
    letters = [len(str(handle.get_label())) + HANDLE_LETTERS for handle in handles]
    limit = CHARACTERS_PER_INCH * figure.get_figwidth()
    columns = len(handles)
    # Matplotlib fills column by column.
    while columns > 1 and sum(int(column.max()) for column in np.array_split(letters, columns)) > limit:
        columns -= 1
    figure.legend(handles=list(handles), loc="outside upper center", ncols=columns, columnspacing=1.4)


def nothing_to_draw(ax: Axes) -> None:
    """Where a row of panels has nothing for this one: say so."""
    ax.text(0.5, 0.5, "not defined", transform=ax.transAxes, ha="center", va="center", color="0.4")
    ax.set(xticks=[], yticks=[])
    ax.minorticks_off()
    ax.grid(False)


def caption(figure: Figure, text: str) -> None:
    """The words below a figure that say scale, data and epochs, so that nobody mistakes one scale for another."""
    limit = int(CHARACTERS_PER_INCH * figure.get_figwidth())
    lines = len(_wrapped(text, limit))
    # The narrowest with as many lines: none of a single word.
    width = next(w for w in range(limit // 2, limit + 1) if len(_wrapped(text, w)) == lines)
    figure.supxlabel("\n".join(_wrapped(text, width)), fontsize=8, color="0.3", x=0.01, ha="left")


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)


def time_word(records: Sequence[Record]) -> str:
    """What an epoch is called: with free features it is one iteration."""
    return "iteration" if records[0].config["dataset"] is None else "epoch"


def source_words(record: Record) -> str:
    """How a figure relates to a paper's experiment: its setting, a smaller one, or one on real images; "" for runs that
    belong to none."""
    experiment = record.manifest["experiment"]
    if experiment not in EXPERIMENTS:
        return ""
    words, kind = EXPERIMENTS[experiment]
    scale = record.manifest["scale"]
    if scale == "paper":
        return f"{kind} {words}; our run."
    version = "A small version of" if scale == "cpu" else "On real images, with changes that keep it affordable:"
    return f"{version} {kind[0].lower()}{kind[1:]} {words}."


def prediction_words(records: Sequence[Record]) -> str:
    """How far the prediction is to be trusted."""
    claims = dict.fromkeys(record.theory["claim"] for record in records)
    found = [CLAIM_WORDS[claim] for claim in claims if claim in CLAIM_WORDS]
    return f"Prediction: {' or '.join(found)}." if found else ""


def band_words(records: Sequence[Record]) -> str:
    """What a band means, if there can be one."""
    return BAND_WORDS if len({record.config["seed"] for record in records}) > 1 else ""


def setting_words(*records: Record) -> str:
    """Scale, data, network and epochs in one phrase; of records that differ in them, each."""
    seed_words = _seed_words([record.config["seed"] for record in records])
    if records[0].config["dataset"] is None:
        return _free_feature_words(records, seed_words)
    scales = dict.fromkeys(record.manifest["scale"] for record in records if record.manifest["scale"])
    scale = f"Scale {' or '.join(scales)}: " if scales else ""
    sizes = _each(records, lambda r: f"{r.manifest['num_samples']} samples, {_class_sizes(r)}")
    data = f"{_each(records, dataset_words)}, {sizes}"
    if " or " in sizes:  # each data set has its own
        data = _each(records, lambda r: f"{dataset_words(r)}, {r.manifest['num_samples']} samples, {_class_sizes(r)}")
    parts = [
        _head_words(records),
        _each(records, lambda r: LOSS_WORDS[r.config["loss"]]),
        _each(records, _decay_words),
        _each(records, _batch_words),
        f"{_each(records, lambda r: format(r.config['epochs'], 'd'))} epochs",
        seed_words,
    ]
    return f"{scale}{data}; {_each(records, _network_words)}, {', '.join(filter(None, parts))}."


def _each(records: Sequence[Record], words: Callable[[Record], str]) -> str:
    """The words of every record that has its own."""
    return _any_of(dict.fromkeys(map(words, records)))


def _any_of(things: Iterable[object]) -> str:
    """a, b or c"""
    *first, last = map(str, things)
    return f"{', '.join(first)} or {last}" if first else last


def _seed_words(seeds: Iterable[int]) -> str:
    found = sorted(set(seeds))
    if len(found) == 1:
        return f"seed {found[0]}"
    if found[-1] - found[0] == len(found) - 1:
        return f"seeds {found[0]} to {found[-1]}" if len(found) > 2 else f"seeds {found[0]} and {found[1]}"
    return f"seeds {', '.join(map(str, found))}"


def _free_feature_words(records: Sequence[Record], seed_words: str) -> str:
    config = records[0].config
    optimizer = config["optimizer"]
    descent = "L-BFGS until the gradient is gone"
    if optimizer["name"] != "lbfgs":
        momentum = _each(records, lambda record: f"{record.config['optimizer'].get('momentum', 0):g}")
        name = OPTIMIZER_WORDS[optimizer["name"]] + (f", momentum {momentum}" if "momentum" in optimizer else "")
        descent = f"{config['epochs']:,} iterations of {name}, learning rate {optimizer['lr']:g}"
    words = MODEL_WORDS[config["model"]["name"]]
    width = _any_of(sorted({record.config["model"]["width"] for record in records}))
    return (
        f"{words[0].upper()}{words[1:]}, dimension {width}, {_each(records, _class_sizes)};"
        f" {LOSS_WORDS[config['loss']]}, {_decay_words(records[0])}, {descent}, {seed_words}."
    )


def dataset_words(record: Record) -> str:
    """The data set with what is made of it."""
    name, dataset = record.manifest["dataset"], record.config["dataset"]
    words = DATASET_WORDS.get(name, name)
    if dataset.get("size"):
        words += f" at {dataset['size']} x {dataset['size']}"
    if record.config.get("classes"):
        words = f"classes {' and '.join(map(str, record.config['classes']))} of {words}"
    share = record.config.get("random_labels", 0)
    return f"{words} with {share:.0%} random labels" if share else words


def _network_words(record: Record) -> str:
    model = record.config["model"]
    words = MODEL_WORDS.get(model["name"], model["name"])
    if "depth" in model:
        words += f" of {model['depth']} layers of width {model['width']}"
    elif model["width"] != 1:
        words += f" of {model['width']:g} times its width"
    ending = []
    if model.get("batch_norm"):
        ending.append("BatchNorm")
    if model.get("features") == "relu" or model.get("feature_norm") is False:
        ending.append("non-negative features")
    return f"{words} with {' and '.join(ending)}" if ending else words


def _head_words(records: Sequence[Record]) -> str:
    """The heads: what kind, how deep, with a bias or without."""
    heads = [record.config["head"] for record in records]
    kinds = "ReLU head" if is_relu_head(records[0]) else "linear head"
    words = f"{kinds} of depth {_any_of(sorted({head['depth'] for head in heads}))}"
    biases = {head["bias"] for head in heads}
    words += {(True,): " with bias", (False, True): " with and without bias"}.get(tuple(sorted(biases)), "")
    return words + (", frozen" if heads[0].get("frozen") else "")


def is_relu_head(record: Record) -> bool:
    """Whether there is a ReLU between the layers of the head. (Old records have no key for it.)"""
    return bool(record.config["head"].get("relu", record.config["model"]["name"] == "dufm"))


def _batch_words(record: Record) -> str:
    size = record.config["batch_size"]
    return "full batch" if size == "full" else f"batch {size}"


def _class_sizes(record: Record) -> str:
    counts = record.manifest["class_counts"]
    if record.config["dataset"] is None:
        few = ", ".join(map(str, counts)) if len(counts) <= 6 else f"{min(counts)} to {max(counts)}"
        return f"{len(counts)} classes of {counts[0] if min(counts) == max(counts) else few} samples"
    return f"{min(counts)} per class" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)} per class"


def _decay_words(record: Record) -> str:
    decays = record.manifest["effective_decays"]
    weights = sorted(set(decays["weight"]))
    if record.config["decay"]["mode"] == "parameters":
        return f"decay {weights[0]:g} on all parameters"
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
