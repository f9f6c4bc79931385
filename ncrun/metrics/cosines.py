"""The angles between classes, as a histogram of the cosines of all pairs. It is small enough to be stored at every
measured epoch."""

from typing import TYPE_CHECKING

from ncrun.metrics.metric import Metric
from ncrun.metrics.tiles import parts

if TYPE_CHECKING:
    from torch import Tensor

# An odd number, so that cosine 0 (orthogonal frame) is in the middle of a bin. A prime, so that -1/(K-1) (simplex) is
# on the edge of two bins for K = 42 only.
BINS = 41
# Below this share of the largest squared norm a vector counts as zero: its angles are rounding.
SMALLEST_SHARE = 1e-9
DEFINITION = (
    f"number of pairs of classes whose cosine is in each of {BINS} equal bins from -1 to 1, for classifier rows"
    " (`cosines.w`) and class means (`cosines.h`, centred as in `nc2_h`). A pair does not count if the squared norm"
    f" of one vector is below {SMALLEST_SHARE:g} of the largest; null if no pair counts"
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
