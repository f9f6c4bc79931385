"""A metric: its name, its words, and the function that computes it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ncrun.errors import UserError

# None means not determined; a number is never invented. A list has a number for each class.
Value = float | int | list[float] | list[float | None] | None
Metrics = dict[str, Value]

# The levels at which a metric can be measured, and the name of its column there.
LEVELS = {
    "run": ("KEY", "the whole head (in a ReLU head the last layer) and its input, over all training samples"),
    "head": ("head.m.KEY", "the product W_M..W_m of a linear head's layers and its input; `head.1` is the top level"),
    "relu": ("head.l.KEY", "the input of layer l of a ReLU head, after the ReLU; the top level is the last layer"),
    "tap": (
        "tap.NAME.KEY",
        "a tapped layer of the backbone, from the same forward pass; a convolutional one averaged over its positions",
    ),
    "test": ("test.KEY", "the test split, against the prediction from the training counts"),
    "targets": ("KEY", "a run on targets, over all training samples"),
    "test_targets": ("test.KEY", "the test split of such a run"),
}


def always(measured: Any) -> bool:
    """For a metric whose column is never missing."""
    return True


@dataclass(frozen=True)
class Metric:
    """A column of metrics.jsonl.

    key: its name; the column's name adds a prefix for the level. A metric of the level "test" alone has no prefix.
    words: a few words for it. sign: the field's symbol, such as NC1; "" for none.
    axis: shorter words for an axis label; "" for the same. latex: for the header of a table, in LaTeX's text mode.
    definition: in Markdown, for the reader of the number; metrics with the same definition share a line of the table.
    function: takes a Measured (at the levels "relu" and "tap" a Layer, which has no head above it; at "targets" and
    "test_targets" an OnTargets, which has no classes). It returns a number, a list or vector with one number for each
    class, or None if it is not determined. A number that is not finite, or a FloatingPointError, ends the run as
    diverged; any other exception is a bug in the function. None: the training itself writes the column.
    levels: keys of LEVELS. applies: whether the column exists. live: its heading in the live display; "" if it is not
    shown there.

    Raises UserError for a key that could be confused with another column, and for an unknown level.
    """

    key: str
    words: str
    latex: str
    definition: str
    function: Callable[[Any], Any] | None = None
    levels: Sequence[str] = ("run",)
    applies: Callable[[Any], bool] = always
    live: str = ""
    sign: str = ""
    axis: str = ""

    @property
    def name(self) -> str:
        """Sign and words."""
        return f"{self.sign}: {self.words}" if self.sign else self.words

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]\w*(\.\w+)*", self.key):
            raise UserError(f"metric={self.key}: a key consists of letters, digits and _, with dots between them")
        if self.key.split(".")[0] in ("head", "tap") or (self.key.startswith("test.") and self.levels != ("test",)):
            raise UserError(f"metric={self.key}: {self.key.split('.')[0]}. is the prefix of another level")
        unknown = [self.levels] if isinstance(self.levels, str) else [at for at in self.levels if at not in LEVELS]
        if unknown:
            raise UserError(f"metric={self.key}: levels={unknown[0]}: not a tuple of {', '.join(LEVELS)}")

    def of(self, measured: Any) -> Value:
        """Its value: a number, a list with one number for each class, or None."""
        assert self.function is not None
        found = self.function(measured)
        # Scalars and arrays of NumPy and PyTorch become numbers and lists for JSON.
        value: Value = found.tolist() if hasattr(found, "tolist") else found
        return value
