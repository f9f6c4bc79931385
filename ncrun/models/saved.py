"""Reads checkpoints without executing anything in them, and computes the digest of a head for its reuse in another
run."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncrun.records.files import DamagedFile, read_sealed


def load_sealed(path: Path) -> Any:
    """The tensors and plain containers of a checkpoint, on the CPU.

    Raises DamagedFile if it was changed or is not a checkpoint, and OSError if it cannot be read.
    """
    content = read_sealed(path)
    try:
        return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # PyTorch raises a dozen kinds of errors for foreign bytes
        raise DamagedFile("not written by this version") from error


def head_digest(weights: Sequence[Tensor], bias: Tensor | None) -> str:
    """SHA-256 over W_1 .. W_M, each (out, in), and the bias (K,) if there is one: for each its shape, written "(3, 4)",
    then its entries, row by row, as little-endian float64."""
    digest = hashlib.sha256()
    for tensor in [*weights, *([] if bias is None else [bias])]:
        values = tensor.detach().cpu().double().numpy()
        digest.update(str(values.shape).encode())
        digest.update(values.astype("<f8").tobytes())
    return digest.hexdigest()
