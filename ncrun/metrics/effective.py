"""Which directions of the class means are a shape, and which are what training left."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# A direction counts if its singular value is above this share of the largest, and comes before a gap: a place where
# the next one is so many times smaller.
SMALLEST_SHARE, GAP = 1e-3, 30


def num_effective(singular: "Tensor") -> int:
    """How many of the singular values (the largest first) are above SMALLEST_SHARE of the largest and before the first
    GAP."""
    above = singular > SMALLEST_SHARE * singular[:1]
    above[1:] &= singular[1:] * GAP > singular[:-1]
    return int(above.long().cumprod(dim=0).sum())
