"""Resizing, written as a matrix: the reference for images made larger and smaller."""

import numpy as np


def resampling(length: int, wanted: int) -> np.ndarray:
    """(wanted, length): a triangle about each wanted pixel's centre, as wide as the coarser grid's pixels."""
    centres = (np.arange(wanted) + 0.5) * length / wanted
    away = abs(np.arange(length) + 0.5 - centres[:, None]) / max(1, length / wanted)
    weights = np.maximum(0, 1 - away)
    return weights / weights.sum(axis=1, keepdims=True)
