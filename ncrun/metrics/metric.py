"""What a metric is: its name, its words, and the function that finds it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ncrun.errors import UserError

# None: not determined. Never a made-up number. A list has a number for each class.
Value = float | int | list[float] | list[float | None] | None
Metrics = dict[str, Value]

# Where a metric can be measured, and what its column is then called.
LEVELS = {
    "run": ("KEY", "the head as a whole (of a ReLU head the last layer) and its input, over all training samples"),
    "head": ("head.m.KEY", "the product W_M..W_m of a linear head's layers and its input; `head.1` is the top level"),
    "relu": ("head.l.KEY", "the input of layer l of a ReLU head, after the ReLU; the top level is the last layer"),
    "tap": (
        "tap.NAME.KEY",
        "a tapped layer of the backbone, from the same forward pass; a convolutional one averaged over its positions",
    ),
    "test": ("test.KEY", "the test split, against the prediction from the training counts"),
    "targets": ("KEY", "a run on targets of numbers in place of classes, over all training samples"),
    "test_targets": ("test.KEY", "the test split of such a run"),
}


def always(measured: Any) -> bool:
    """Of a metric whose column is never missing."""
    return True


@dataclass(frozen=True)
class Metric:
    """A column of metrics.jsonl.

    key: its name; the column's, with what its level puts before it. A metric of the level "test" alone is called by
    its key as it stands. words: what it is, in a few words. sign: what the field calls it, such as NC1; "" for no sign.
    axis: its words where they have to fit beside an axis; "" for the same. latex: for the header of a table, in LaTeX's
    text mode.
    definition: what a reader of the number must know, in Markdown; metrics with the same one share a line of the table.
    function: of a Measured (at the levels "relu" and "tap" of a Layer, which has no head above it; at "targets" and
    "test_targets" of an OnTargets, which has no classes). It returns a
    number, a list or vector with one for each class, or None where nothing is determined. A number that is not
    finite, or a FloatingPointError, ends the run as diverged; any other exception is a mistake in the function.
    None: written by the training itself.
    levels: keys of LEVELS. applies: whether the column is there at all. live: its heading in the display of a run in
    training; "" leaves it out.

    Raises UserError for a key that would be taken for another column, and for an unknown level.
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
            raise UserError(f"metric={self.key}: a key has letters, digits and _, and dots between them")
        if self.key.split(".")[0] in ("head", "tap") or (self.key.startswith("test.") and self.levels != ("test",)):
            raise UserError(f"metric={self.key}: {self.key.split('.')[0]}. is put before the keys of its level")
        unknown = [self.levels] if isinstance(self.levels, str) else [at for at in self.levels if at not in LEVELS]
        if unknown:
            raise UserError(f"metric={self.key}: levels={unknown[0]}: not a tuple of {', '.join(LEVELS)}")

    def of(self, measured: Any) -> Value:
        """Its value there: a number, a list with one for each class, or None."""
        assert self.function is not None
        found = self.function(measured)
        # NumPy's and PyTorch's scalars and arrays become numbers and lists, which JSON knows.
        value: Value = found.tolist() if hasattr(found, "tolist") else found
        return value
