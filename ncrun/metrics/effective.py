"""Which directions of the class means are a shape, and which are what training left."""

from typing import Any

# A direction counts if its singular value is above this share of the largest, and comes before a gap: a place where
# the next one is so many times smaller.
SMALLEST_SHARE, GAP = 1e-3, 30


def num_effective(singular: Any) -> int:
    """How many of the singular values (the largest first) are above SMALLEST_SHARE of the largest and before the first
    GAP. singular: (n,), a tensor or an array."""
    above = singular > SMALLEST_SHARE * singular[:1]
    above[1:] &= singular[1:] * GAP > singular[:-1]
    kept = above.tolist()
    return kept.index(False) if False in kept else len(kept)
