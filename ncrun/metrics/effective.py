"""Which directions of the class means carry their geometry, and which are residues of training."""

from typing import Any

# A direction counts if its singular value is above this share of the largest and comes before a gap, where the next one
# is smaller by this factor.
SMALLEST_SHARE, GAP = 1e-3, 30


def num_effective(singular: Any) -> int:
    """How many of the singular values (the largest first) are above SMALLEST_SHARE of the largest and before the first
    GAP. singular: (n,), a tensor or an array."""
    above = singular > SMALLEST_SHARE * singular[:1]
    above[1:] &= singular[1:] * GAP > singular[:-1]
    kept = above.tolist()
    return kept.index(False) if False in kept else len(kept)
