"""Drawings by name: each is drawn from records and theory alone, without torch and without a configuration.

Naming a drawing is instant; only drawing it imports matplotlib.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ncrun.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ncrun.records.read import Record


@dataclass(frozen=True)
class Drawing:
    """What may be drawn of an experiment's finished runs.

    draw: raises UserError for what the records lack; the experiment's other drawings are made all the same.
    suffix: of its file's name where it is not the experiment's first drawing; None: the key.
    """

    key: str
    draw: "Callable[[Sequence[Record]], Figure]"
    suffix: str | None = None

    def file_name(self, stem: str, first: bool) -> str:
        """Without an ending: the stem of the experiment's first drawing, and the suffix after it for the others."""
        return stem if first else f"{stem}-{self.key if self.suffix is None else self.suffix}"


def _later(module: str, function: str) -> "Callable[..., Figure]":
    """A function of a module of this package, which is imported when it is called."""

    def draw(*arguments: object) -> "Figure":
        figure: Figure = getattr(import_module(f"ncrun.figures.{module}"), function)(*arguments)
        return figure

    return draw


DRAWINGS = Registry(
    "drawing",
    (
        Drawing("convergence", _later("convergence", "convergence")),
        Drawing("grams", _later("matrices", "matrices")),
        Drawing("usual", _later("usual_set", "usual_set")),
        Drawing("ranks", _later("usual_set", "ranks")),
        Drawing("classes", _later("classes", "sizes")),
        Drawing("angles", _later("classes", "angles")),
        Drawing("imbalanced", _later("dang2023", "imbalanced")),
        Drawing("ledger", _later("dang2023", "ledger")),
        Drawing("direct-imbalanced", _later("dang2023", "direct_imbalanced")),
        Drawing("direct-balanced", _later("dang2023", "direct_balanced")),
        Drawing("geometry-3d", _later("dang2023", "geometry_3d")),
        Drawing("phase-squared-loss", _later("phase", "squared_loss")),
        Drawing("phase-relu-features", _later("phase", "relu_features")),
        Drawing("phase-relu-head", _later("phase", "relu_head")),
        Drawing("hysteresis", _later("hysteresis", "hysteresis")),
        Drawing("direct", _later("dang2024", "direct")),
        Drawing("direct-grams", _later("dang2024", "direct_grams"), suffix="grams"),
        Drawing("deep-collapse", _later("layers", "deep_collapse")),
        Drawing("width-ablation", _later("layers", "width_ablation")),
    ),
)
# Figures that need no run, by the name that users type.
FROM_THEORY: "dict[str, Callable[[], Figure]]" = {"theory/etf-map": _later("etf_map", "etf_map")}
