"""The place of runs in a figure: runs that differ only in their seed are one curve; other differences give colours or
rows of panels."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from ncrun.errors import UserError
from ncrun.figures import looks, panels, wording
from ncrun.records.groups import differing_keys, naming_keys, ranks, settings_of, split, words
from ncrun.records.read import Record

# Colours of the style's palette.
PALETTE = 6
# The papers' data sets, so that each keeps its colour while others are still missing.
DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "emnist_letters")
# Characters that fit beside a panel.
ROW_LABEL = 24
DASHES = ("-", (0, (4, 1.5)), "-.", (0, (1, 1)))
# Rows of panels that fit on a page.
MOST_ROWS = 12
# A caption counts more settings than this instead of naming them.
MOST_NAMED = 3


@dataclass(frozen=True)
class Curve:
    """Runs that differ only in their seed. label: how they differ from the other curves. marker: besides the colour."""

    label: str
    colour: str
    records: tuple[Record, ...]
    marker: str = looks.MARKERS[0]

    @property
    def look(self) -> dict[str, Any]:
        """Of its lines."""
        return {"color": self.colour, "marker": self.marker}


@dataclass(frozen=True)
class Row:
    """Curves that share panels. label: how they differ from the other rows; "" if there is only one row."""

    label: str
    curves: tuple[Curve, ...]

    @property
    def records(self) -> list[Record]:
        return [record for curve in self.curves for record in curve.records]


def class_ratio(record: Record) -> float:
    """Samples of the largest class over those of the smallest."""
    counts = record.manifest["class_counts"]
    return float(max(counts) / min(counts)) if counts else 1.0


def _depth_words(record: Record) -> str:
    return f"{'L' if wording.is_relu_head(record) else 'M'} = {record.config['head']['depth']}"


def _bias_words(record: Record) -> str:
    bias = record.config["head"]["bias"]
    words = "last-layer bias" if bias else "no bias"
    if record.config["loss"] == "mse" and class_ratio(record) == 1 and not wording.is_relu_head(record):
        words += ": simplex ETF" if bias else ": orthogonal frame"
    return words


def _width(record: Record) -> float:
    """Of the network; 0 if a user's own network has no number."""
    width = record.config["model"].get("width")
    return width if isinstance(width, int | float) else 0


# A facet in which runs may differ: a sortable value, its words, and the values with a fixed colour.
Facet = tuple[Callable[[Record], Any], Callable[[Record], str], tuple[Any, ...]]
DEPTH: Facet = (lambda record: record.config["head"]["depth"], _depth_words, panels.DEPTHS)
# The first facet in which runs differ gives the colours.
COLOURING: tuple[Facet, ...] = (
    DEPTH,
    (
        lambda r: r.config["model"]["name"],
        wording.model_name,
        ("mlp", "resnet18", "vgg11", "densenet", "vgg16", "resnet20"),
    ),
    (lambda r: r.manifest["dataset"] or "", wording.dataset_name, DATASETS),
    (class_ratio, lambda r: f"ratio {class_ratio(r):.3g}", ()),
    (_width, lambda r: f"width {_width(r):g}", ()),
)
LOSS: Facet = (wording.loss_words, wording.loss_words, ())
FACETS: tuple[Facet, ...] = (
    *COLOURING,
    LOSS,
    (lambda r: r.config["decay"]["mode"], lambda r: f"decay of {r.config['decay']['mode']}", ()),
    (lambda r: r.config.get("random_labels", 0), lambda r: f"{r.config.get('random_labels', 0):.0%} random labels", ()),
    (lambda r: r.config["head"]["bias"], _bias_words, ()),
)


def arrange(records: Sequence[Record], styled: Sequence[str | Facet] = ()) -> list[Row]:
    """Rows and curves in the order of their facets. Keys that belong to no facet, such as a decay, make a further one,
    except for `styled` keys and facets, which the drawing itself shows.

    Raises UserError for more rows than fit on a page.
    """
    telling, rest = _every_facet(records, styled)
    colour_facet = next((facet for facet in telling if facet in (*COLOURING, *rest)), DEPTH)
    row_facets = [facet for facet in telling if facet is not colour_facet]
    number = len({_key(row_facets, record) for record in records})
    if number > MOST_ROWS:
        raise UserError(f"these runs make {number} rows of panels, but only {MOST_ROWS} fit on a page; give fewer runs")
    found = []
    for key in sorted({_key(row_facets, record) for record in records}):
        here = [record for record in records if _key(row_facets, record) == key]
        label = "\n".join(own_words(here[0]) for _, own_words, _ in row_facets)
        found.append(Row(label, tuple(_curves(here, records, colour_facet))))
    return found


def _every_facet(records: Sequence[Record], styled: Sequence[str | Facet] = ()) -> tuple[list[Facet], list[Facet]]:
    """The facets in which the runs differ; the last one holds the differing keys that belong to no facet."""
    telling = _telling(records, [facet for facet in FACETS if facet not in styled])
    groups = [[r for r in records if _key(telling, r) == key] for key in {_key(telling, r) for r in records}]
    others = tuple(dict.fromkeys(key for group in groups for key in naming_keys(group) if key not in styled))
    rest = [_settings_facet(others)] if others else []
    return telling + rest, rest


def in_words(some: Sequence[Record], records: Sequence[Record]) -> str:
    """For a caption: names some of the records, such as "M = 1 and M = 3"; "" if they are all. Uses the first facet
    that distinguishes them from the others, else all facets; if that is not possible, or needs too many words, they are
    counted."""
    others = [record for record in records if not any(record is one for one in some)]
    if not others:
        return ""
    facets, _ = _every_facet(records)
    for parts in (*([facet] for facet in facets), facets):
        names = {_key(parts, record): ", ".join(say(record) for _, say, _ in parts) for record in some}
        if len(names) <= MOST_NAMED and names.keys().isdisjoint(_key(parts, record) for record in others):
            return " and ".join(names.values()).replace("\n", ", ")
    return f"{len(some)} of {len(records)} runs"


def only_row(records: Sequence[Record], styled: Sequence[str] = ()) -> Row:
    """For a drawing with a single row of panels. Raises UserError for runs that make several."""
    rows = arrange(records, styled)
    if len(rows) > 1:
        labels = "; ".join(" ".join(row.label.split()) for row in rows)
        raise UserError(f"this drawing has one row of panels, but these runs make {len(rows)}: {labels}")
    return rows[0]


def networks(rows: Sequence[Row]) -> list[tuple[str, Curve]]:
    """Every curve alone, with the words that distinguish it; "" if there is only one."""
    several = sum(len(row.curves) for row in rows) > 1
    return [
        ("\n".join(filter(None, (row.label, curve.label if several else ""))), curve)
        for row in rows
        for curve in row.curves
    ]


def _telling(records: Sequence[Record], facets: Sequence[Facet]) -> list[Facet]:
    """The facets that distinguish runs beyond the facets before them: if each architecture has its own width, the
    architecture is enough."""
    telling: list[Facet] = []
    for facet in facets:
        parts = {_key(telling, record) for record in records}
        if len({_key([*telling, facet], record) for record in records}) > len(parts):
            telling.append(facet)
    return telling


def _settings_facet(keys: tuple[str, ...]) -> Facet:
    """A facet from configuration keys, with their own words."""

    def own_words(record: Record) -> str:
        settings = settings_of(record)
        return "\n".join(f"{key}={words(settings.get(key))}" for key in keys)

    return (lambda record: ranks(record, keys), own_words, ())


def _key(facets: Sequence[Facet], record: Record) -> tuple[Any, ...]:
    return tuple(value(record) for value, _, _ in facets)


def _curves(here: Sequence[Record], everything: Sequence[Record], facet: Facet) -> list[Curve]:
    value, own_words, known = facet
    values = sorted({value(record) for record in everything})
    places = _places(values, known)
    found = []
    for each in sorted({value(record) for record in here}):
        look = looks.look(places[each])
        if not known and len(values) > PALETTE:  # an ordered scale, from dark to light
            share = values.index(each) / (len(values) - 1)
            if isinstance(each, int | float):
                share = np.log(each) / np.log(max(values))
            look = looks.look(values.index(each)) | {"color": to_hex(mpl.colormaps[looks.ORDERED](0.9 * share))}
        group = [record for record in here if value(record) == each]
        for seeds in split(group, differing_keys(group)).values():
            ordered = tuple(sorted(seeds, key=lambda record: record.config["seed"]))
            found.append(Curve(own_words(ordered[0]), look["color"], ordered, look["marker"]))
    return found


def _places(values: Sequence[Any], known: Sequence[Any]) -> dict[Any, int]:
    """Each value's colour of the palette: its fixed one if it has one, else an unused one while there are any."""
    taken = {value: known.index(value) % PALETTE for value in values if value in known}
    free = [place for place in range(PALETTE) if place not in taken.values()] or list(range(PALETTE))
    others = [value for value in values if value not in known]
    return taken | {value: free[index % len(free)] for index, value in enumerate(others)}


def handles(rows: Sequence[Row]) -> list[Line2D]:
    """For a legend: the looks of curves; empty if there is only one."""
    found = {curve.label: curve.look for row in rows for curve in row.curves}
    named = {label.replace("\n", ", "): look for label, look in found.items()}
    if len(named) < 2:
        return []
    return [Line2D([], [], markersize=looks.SIZE, label=label, **look) for label, look in named.items()]


def line_styles(rows: Sequence[Row]) -> dict[str, Any]:
    """By label, the dashes of a curve's lines, for drawings whose markers mean something else; they distinguish curves
    in grey."""
    labels = dict.fromkeys(curve.label for row in rows for curve in row.curves)
    return {label: DASHES[place % len(DASHES)] for place, label in enumerate(labels)}


def styled_handles(rows: Sequence[Row]) -> list[Line2D]:
    """For a legend: colours and dashes of curves; empty if there is only one."""
    styles = line_styles(rows)
    colours = {curve.label: curve.colour for row in rows for curve in row.curves}
    return [
        Line2D([], [], color=colours[label], linestyle=style, label=label.replace("\n", ", "))
        for label, style in styles.items()
        if len(styles) > 1
    ]


def label_rows(axes: Any, rows: Sequence[Row]) -> None:
    """Writes the rows' names beside their first panels; stacked rows share abscissa and titles."""
    for row, line in zip(rows, axes, strict=True):
        if row.label:
            panels.label_row(line, broken(row.label))
    for ax in axes[1:].flat:
        ax.set_title("")
    for ax in axes[:-1].flat:
        ax.set_xlabel("")


def broken(label: str) -> str:
    """A row's name, broken into lines that fit beside its panel."""
    parts = label.replace(": ", ":\n").splitlines()
    return "\n".join(textwrap.fill(part, ROW_LABEL) for part in parts)
