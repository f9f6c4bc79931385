"""Calls a user's code, and reports its errors as such."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ncrun.errors import UserError
from ncrun.models.own.path import ModulePath
from ncrun.own_file import told


@contextmanager
def calling(where: ModulePath, what: str) -> Iterator[None]:
    """Raises UserError in one line for an error in the user's code. what: such as "its constructor"."""
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        path = None if where.library else Path(where.file).expanduser().absolute()
        raise UserError(f"{where.said}: {what} raised {told(error, path)}") from error


def forward_words(images: Tensor, training: bool = False) -> str:
    """Words for the trial call on (B, C, H, W) images."""
    mode = "training" if training else "evaluation"
    dtype = str(images.dtype).removeprefix("torch.")
    shape = f"{tuple(images.shape)} (dataset.size and dataset.channels change it)"
    return f"its forward pass in {mode} mode, on {dtype} images of shape {shape},"


def features_checked(
    where: ModulePath, made: object, images: Tensor, width: int | None = None, training: bool = False
) -> Tensor:
    """Returns the network's output if it is features: (B, d), finite, of the images' dtype. width: d, if it is known.
    training: whether it was in training mode.

    Raises UserError for anything else.
    """
    B, when = len(images), " in training mode" if training else ""
    if not isinstance(made, Tensor):
        raise UserError(f"{where.said}: must return one tensor{when}, not a {type(made).__name__}")
    if made.dim() != 2 or len(made) != B:
        raise UserError(
            f"{where.said}: must return features of shape (N, d), but for {B} images it returns{when}"
            f" {tuple(made.shape)}"
        )
    if width is not None and made.shape[1] != width:
        raise UserError(f"model.width={width}: {where.name} returns features of dimension {made.shape[1]}")
    if made.dtype != images.dtype:
        dtypes = [str(each.dtype).removeprefix("torch.") for each in (made, images)]
        raise UserError(f"{where.said}: returns {dtypes[0]} for images of {dtypes[1]}")
    if not bool(made.isfinite().all()):
        raise UserError(f"{where.said}: returns numbers that are not finite before training")
    return made
