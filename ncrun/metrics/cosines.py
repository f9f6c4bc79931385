"""Which angles there are between classes: a histogram of the cosines of all pairs, small enough to be kept at every
measured epoch."""

from typing import TYPE_CHECKING

from ncrun.metrics.metric import Metric
from ncrun.metrics.tiles import parts

if TYPE_CHECKING:
    from torch import Tensor

# An odd number: cosine 0, of an orthogonal frame, is in the middle of a bin. A prime: -1/(K-1), of a simplex, is on the
# edge of two bins for K = 42 alone.
BINS = 41
# A vector shorter than this share of the longest (squared) is nothing: its angles are rounding.
SMALLEST_SHARE = 1e-9
DEFINITION = (
    f"how many pairs of classes have a cosine in each of {BINS} equal bins from -1 to 1: of classifier rows"
    " (`cosines.w`) and of class means (`cosines.h`, centred as in `nc2_h`). Pairs with a vector whose squared norm is"
    f" below {SMALLEST_SHARE:g} of the largest are not counted; null where there is no other pair"
)


def histogram(vectors: "Tensor") -> list[int] | None:
    """(K, d) -> (BINS,) counts that add up to the pairs of rows that are not zero; None if there is no such pair."""
    norms = vectors.norm(dim=1)
    kept = norms.square() > SMALLEST_SHARE * norms.square().max()
    K = int(kept.sum())
    if K < 2:
        return None
    directions = vectors[kept] / norms[kept, None]
    counts = directions.new_zeros(BINS)
    for part in parts(K, K):
        cosines = directions[part] @ directions[part.start :].T
        places = ((cosines + 1) * (BINS / 2)).long().clamp_(0, BINS - 1)
        later = places.new_ones(places.shape).triu_(1).bool()
        counts += places[later].bincount(minlength=BINS)
    return [int(count) for count in counts.tolist()]


COSINES = (
    Metric(
        "cosines.w",
        "cosines between classifier rows",
        r"cosines of $W$",
        DEFINITION,
        lambda measured: histogram(measured.weight),
    ),
    Metric(
        "cosines.h",
        "cosines between class means",
        r"cosines of $\bar H$",
        DEFINITION,
        lambda measured: histogram(measured.gram_input) if measured.alive else None,
    ),
)
