"""Minimises many small smooth problems of one shape at once: BFGS over a batch, because each has few parameters."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ncrun.theory.prediction import Array

Flags = NDArray[np.bool_]
Objective = Callable[[Array, NDArray[np.intp]], tuple[Array, Array]]

STEPS = 300
HALVINGS = 20
SUFFICIENT = 1e-4  # share of the decrease that the slope predicts (Armijo)
LONGEST = 3.0  # of a step, in any parameter
TOLERANCE = 1e-11  # share of the value: a descent ends when its slope predicts less decrease


def minimise(objective: Objective, start: Array) -> Array:
    """The end of each descent, after at most STEPS steps; never higher than its start.

    objective: points (b, n) and, for each, the number of its problem (b,) -> values (b,), gradients (b, n).
    start: (B, n), one for each problem.
    """
    ends, x, which = start.copy(), start, np.arange(len(start))
    values, gradients = objective(x, which)
    inverse = np.tile(np.eye(x.shape[1]), (len(x), 1, 1))  # of the Hessian
    fresh = np.ones(len(x), dtype=bool)  # whether it is the identity still, without a scale
    stuck = np.zeros(len(x), dtype=bool)
    for _ in range(STEPS):
        directions = -np.einsum("bij,bj->bi", inverse, gradients)
        slopes = np.einsum("bi,bi->b", directions, gradients)
        going = (-slopes > TOLERANCE * np.abs(values)) & ~stuck
        if not going.all():
            ends[which] = x
            x, which, values, gradients = x[going], which[going], values[going], gradients[going]
            inverse, fresh, directions, slopes = inverse[going], fresh[going], directions[going], slopes[going]
        if not len(x):
            break
        largest = np.abs(directions).max(axis=1)
        lengths = np.minimum(1.0, np.where(fresh, 1.0, LONGEST) / np.maximum(largest, 1e-300))
        for _ in range(HALVINGS):
            steps = lengths[:, None] * directions
            new_values, new_gradients = objective(x + steps, which)
            failed = ~(new_values <= values + SUFFICIENT * lengths * slopes)
            if not failed.any():
                break
            lengths = np.where(failed, lengths / 2, lengths)
        steps = np.where(failed[:, None], 0.0, steps)
        new_gradients = np.where(failed[:, None], gradients, new_gradients)
        stuck = failed & fresh
        inverse, fresh = _updated(inverse, fresh, steps, new_gradients - gradients, failed)
        x, values, gradients = x + steps, np.where(failed, values, new_values), new_gradients
    ends[which] = x
    return ends


def _updated(inverse: Array, fresh: Flags, steps: Array, changes: Array, failed: Flags) -> tuple[Array, Flags]:
    """The BFGS update if the curvature along the step is positive; a reset if no step was found."""
    identity = np.eye(steps.shape[1])
    curvature = np.einsum("bi,bi->b", steps, changes)
    size = np.einsum("bi,bi->b", changes, changes)
    good = curvature > 1e-12 * np.sqrt(size * np.einsum("bi,bi->b", steps, steps))
    curvature = np.where(good, curvature, 1.0)
    scale = np.where(good & fresh, curvature / np.maximum(size, 1e-300), 1.0)
    inverse = np.where((fresh | failed)[:, None, None], identity * scale[:, None, None], inverse)
    share = steps / curvature[:, None]
    left = identity - share[:, :, None] * changes[:, None, :]
    updated = left @ inverse @ left.transpose(0, 2, 1) + share[:, :, None] * steps[:, None, :]
    return np.where(good[:, None, None], updated, inverse), (fresh & ~good) | failed
