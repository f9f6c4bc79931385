"""A user's code, whose errors are told as what they are."""

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
    """Raises UserError in one line for an error of the user's code. what: such as "its constructor"."""
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        path = None if where.library else Path(where.file).expanduser().absolute()
        raise UserError(f"{where.said}: {what} ended in {told(error, path)}") from error


def forward_words(images: Tensor, training: bool = False) -> str:
    """What is tried, of (B, C, H, W) images."""
    mode = "training" if training else "evaluation"
    dtype = str(images.dtype).removeprefix("torch.")
    shape = f"{tuple(images.shape)} (dataset.size and dataset.channels make other ones)"
    return f"its forward pass in {mode} mode, on {dtype} images of shape {shape},"


def features_checked(
    where: ModulePath, made: object, images: Tensor, width: int | None = None, training: bool = False
) -> Tensor:
    """What the network put out, if it is features: (B, d), of the images' dtype and finite. width: d, if it is known.
    training: it did so in training mode.

    Raises UserError for anything else.
    """
    B, when = len(images), " in training mode" if training else ""
    if not isinstance(made, Tensor):
        raise UserError(f"{where.said}: must put out one tensor{when}, not a {type(made).__name__}")
    if made.dim() != 2 or len(made) != B:
        raise UserError(
            f"{where.said}: must put out features of shape (N, d), and of {B} images it puts out{when}"
            f" {tuple(made.shape)}"
        )
    if width is not None and made.shape[1] != width:
        raise UserError(f"model.width={width}: {where.name} makes features of {made.shape[1]} numbers")
    if made.dtype != images.dtype:
        dtypes = [str(each.dtype).removeprefix("torch.") for each in (made, images)]
        raise UserError(f"{where.said}: puts out {dtypes[0]} for images of {dtypes[1]}")
    if not bool(made.isfinite().all()):
        raise UserError(f"{where.said}: puts out numbers that are not finite before it is trained")
    return made
