"""Checkpoint files read so that nothing in them is executed."""

import io
from pathlib import Path
from typing import Any

import torch

from ncrun.records.files import DamagedFile, read_sealed


def load_sealed(path: Path) -> Any:
    """The tensors and plain containers of a checkpoint, on the CPU.

    Raises DamagedFile if it is not as it was written, or no checkpoint at all, and OSError if it cannot be read.
    """
    content = read_sealed(path)
    try:
        return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # on bytes that are none of its own, PyTorch raises a dozen kinds
        raise DamagedFile("not written by this version") from error
