"""A bound on the spread of samples before the last layer of a linear head; proof in docs/proofs.md."""

import math

import torch
from torch import Tensor


def largest_spread(last: Tensor, below: Tensor, logit_spread: float, lower_spread: float) -> float:
    """An upper bound on the sum of squared deviations from the class means at z, the input of W_M.

    last, below: W_M, W_{M-1}. logit_spread, lower_spread: the same sum for the logits and for the input of W_{M-1}.
    With the singular values s_1 >= s_2 >= .. of W_M (0 beyond the last) and the largest absolute eigenvalue e of W_M^T
    W_M - W_{M-1} W_{M-1}^T, the bound is min over j >= 0 of logit_spread / s_j^2 + (e + s_{j+1}^2) lower_spread,
    without the first term for j = 0.
    """
    size = max(float(last.norm()), float(below.norm()))
    if not size > 0:
        return 0.0
    # In units of the larger norm, so that no square overflows.
    last, below = last / size, below / size
    squares = torch.linalg.svdvals(last).square().tolist()
    unbalanced = float(torch.linalg.eigvalsh(last.T @ last - below @ below.T).abs().max())
    least = math.inf
    for fitted, dropped in zip([math.inf, *squares], [*squares, 0.0], strict=True):
        if fitted > 0:
            least = min(least, logit_spread / fitted / size**2 + (unbalanced + dropped) * lower_spread * size**2)
    return least
