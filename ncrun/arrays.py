"""Turns users' NumPy arrays, tensors or lists into checked tensors. Each check raises UserError in one line that names
the array."""

import math
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncrun.errors import UserError

PIECE = 2**22  # numbers
SMALLEST = 1e-140  # its square is still far above the smallest normal float64


def floats(name: str, values: Any, dimensions: int) -> Tensor:
    """A CPU tensor in the values' own precision, at least float32; the precision decides the rank of the class
    means."""
    array = as_array(name, values)
    if array.ndim != dimensions or 0 in array.shape:
        kind = "a matrix with rows and columns" if dimensions == 2 else "a vector"
        raise UserError(f"{name}: expected {kind}, found shape {shape_of(array)}")
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise UserError(f"{name}: expected float16, float32 or float64, found {array.dtype}")
    wrong = sum(part.size - int(np.isfinite(part).sum()) for part in np.array_split(array, _pieces(array)))
    if wrong:
        raise UserError(f"{name}: {wrong} of its values are not finite")
    whole = np.ascontiguousarray(array, dtype=np.float64 if array.dtype.itemsize == 8 else np.float32)
    with warnings.catch_warnings():
        # A memory-mapped file is read-only, and is never written to.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(whole)


def _pieces(values: "NDArray[Any] | Tensor") -> int:
    """The number of parts in which a matrix or vector is checked: a check makes an array of the same size, and a mapped
    file may be larger than memory."""
    return min(len(values), 1 + math.prod(values.shape) // PIECE)


def any_negative(values: Tensor) -> bool:
    return any(bool((part < 0).any()) for part in values.tensor_split(_pieces(values)))


def check_size(name: str, values: Tensor) -> None:
    """Refuses values whose squares underflow in float64, because all metrics are made from squares. All zeros are
    allowed."""
    largest = max(float(part.abs().max()) for part in values.tensor_split(_pieces(values)))
    if 0 < largest < SMALLEST:
        raise UserError(f"{name}: the largest number is {largest:.1g}, too small to measure: its square underflows")


def class_labels(name: str, values: Any, number: int, num_classes: int) -> Tensor:
    array = as_array(name, values)
    if array.shape != (number,):
        raise UserError(f"{name}: expected ({number},), one for each row of the features, found {shape_of(array)}")
    if array.dtype.kind not in "iu":
        raise UserError(f"{name}: expected integers, found {array.dtype}")
    if array.min() < 0 or array.max() >= num_classes:
        raise UserError(
            f"{name}: go from {array.min()} to {array.max()}; expected 0 to {num_classes - 1}, one for each of the"
            f" classifier's {num_classes} rows"
        )
    empty = np.flatnonzero(np.bincount(array.astype(np.int64), minlength=num_classes) == 0)
    if len(empty):
        raise UserError(f"{name}: class {empty[0]} has no sample; every class 0 to {num_classes - 1} needs one")
    return torch.from_numpy(array.astype(np.int64))


def as_array(name: str, values: Any) -> Any:
    if isinstance(values, Tensor):
        kept = values.float() if values.dtype is torch.bfloat16 else values  # numpy has no bfloat16
        return kept.detach().cpu().numpy()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise UserError(f"{name}: is not an array ({error})") from error


def shape_of(array: Any) -> str:
    return str(tuple(array.shape)).replace(" ", "")
