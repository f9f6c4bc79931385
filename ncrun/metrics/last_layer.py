"""How far samples can be spread before the last layer of a linear head: docs/proofs.md has the proof."""

import math

import torch
from torch import Tensor


def largest_spread(last: Tensor, below: Tensor, logit_spread: float, lower_spread: float) -> float:
    """What the sum of squared deviations from the class means at z, the input of W_M, cannot exceed.

    last, below: W_M, W_{M-1}. logit_spread, lower_spread: that sum of the logits and of the input of W_{M-1}. With
    s_1 >= s_2 >= .. the singular values of W_M (0 beyond them), and e the largest absolute eigenvalue of
    W_M^T W_M - W_{M-1} W_{M-1}^T:
    min over j >= 0 of logit_spread / s_j^2 + (e + s_{j+1}^2) lower_spread, without the first term for j = 0.
    """
    size = max(float(last.norm()), float(below.norm()))
    if not size > 0:
        return 0.0
    # In units of the larger norm, no square leaves the floats.
    last, below = last / size, below / size
    squares = torch.linalg.svdvals(last).square().tolist()
    unbalanced = float(torch.linalg.eigvalsh(last.T @ last - below @ below.T).abs().max())
    least = math.inf
    for fitted, dropped in zip([math.inf, *squares], [*squares, 0.0], strict=True):
        if fitted > 0:
            least = min(least, logit_spread / fitted / size**2 + (unbalanced + dropped) * lower_spread * size**2)
    return least
