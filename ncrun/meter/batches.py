"""A user's batch, checked, on its own device."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncrun.arrays import SMALLEST, as_array, shape_of
from ncrun.errors import UserError


@dataclass(frozen=True)
class Seen:
    """The common properties of all batches of a meter, besides their sums. None: no batch yet.

    width: d. precision: of the features. largest: the largest |feature|.
    """

    num_classes: int
    width: int | None = None
    precision: torch.dtype | None = None
    device: torch.device | None = None
    largest: float = 0.0
    has_negative: bool = False

    def with_batch(self, features: Any, labels: Any) -> tuple["Seen", Tensor, Tensor]:
        """(B, d) features and (B,) labels as tensors, and the properties including this batch. Raises UserError."""
        points, y = _tensor("features", features), _tensor("labels", labels)
        if points.ndim != 2 or 0 in points.shape:
            raise UserError(f"features: expected a matrix with rows and columns, found shape {shape_of(points)}")
        if not points.dtype.is_floating_point:
            raise UserError(f"features: expected float16, bfloat16, float32 or float64, found {_name(points.dtype)}")
        points = points if points.dtype is torch.float64 else points.float()
        if self.width not in (None, points.shape[1]):
            raise UserError(f"features: have dimension {points.shape[1]}, but earlier batches had {self.width}")
        if self.precision not in (None, points.dtype):
            raise UserError(f"features: are {_name(points.dtype)}, but earlier batches were {_name(self.precision)}")
        if y.shape != points.shape[:1]:
            raise UserError(f"labels: expected ({len(points)},), one for each row of the features, found {shape_of(y)}")
        if y.dtype.is_floating_point or y.dtype.is_complex or y.dtype is torch.bool:
            raise UserError(f"labels: expected integers, found {_name(y.dtype)}")
        lowest, highest = y.aminmax()
        if lowest < 0 or highest >= self.num_classes:
            raise UserError(f"labels: go from {lowest} to {highest}; expected 0 to {self.num_classes - 1}")
        least, most = (float(end) for end in points.aminmax())
        if not (abs(least) < float("inf") and abs(most) < float("inf")):  # also true if one is NaN
            wrong = int((~torch.isfinite(points)).sum())
            raise UserError(f"features: {wrong} of the batch's values are not finite")
        largest = max(abs(least), abs(most))
        batch = Seen(self.num_classes, points.shape[1], points.dtype, points.device, largest, least < 0)
        seen = self.merged(batch)
        return seen, points.to(seen.device), y.to(seen.device, torch.int64)

    def check_size(self) -> None:
        """Raises UserError if no batch was seen, or if squares of the numbers underflow in float64."""
        if self.width is None:
            raise UserError("meter: has seen no sample yet; call update(features, labels) first")
        if 0 < self.largest < SMALLEST:
            raise UserError(
                f"features: the largest number is {self.largest:.1g}, too small to measure: its square underflows"
            )

    def check_same(self, other: "Seen") -> None:
        """Raises UserError if the two cannot belong to one set of samples."""
        if self.num_classes != other.num_classes:
            raise UserError(f"merge: {self.num_classes} classes here, and {other.num_classes} there")
        for what in ("width", "precision"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if None not in (mine, theirs) and mine != theirs:
                words = "dimension" if what == "width" else "precision"
                raise UserError(f"merge: features of {words} {_name(mine)} here, and {_name(theirs)} there")

    def merged(self, other: "Seen") -> "Seen":
        return Seen(
            self.num_classes,
            self.width or other.width,
            self.precision or other.precision,
            self.device or other.device,
            max(self.largest, other.largest),
            self.has_negative or other.has_negative,
        )


def check_counts(counts: Tensor) -> None:
    """Raises UserError if a class has no sample yet."""
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty:
        raise UserError(f"labels: class {empty[0]} has no sample yet; every class 0 to {len(counts) - 1} needs one")


def _tensor(name: str, values: Any) -> Tensor:
    """The tensor without its graph, on a device that has float64."""
    found = values.detach() if isinstance(values, Tensor) else torch.as_tensor(as_array(name, values))
    return found.cpu() if found.device.type == "mps" else found


def _name(what: object) -> str:
    return str(what).removeprefix("torch.")
