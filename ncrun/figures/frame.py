"""The predicted frame as vectors, a run's snapshots rotated onto it, and planes for drawing it.

A theorem fixes Gram matrices, and so the vectors up to a rotation (or reflection) of feature space. One choice is made
here, and every snapshot is rotated onto it by the rotation that brings its class means nearest: orthogonal Procrustes
(Schonemann 1966), separately for each snapshot. This hides a common rotation, which has no meaning, and never changes
lengths and angles: nothing else is scaled or fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncrun.records.read import Record
from ncrun.records.snapshots import Snapshots

# Below this share of the largest singular value a predicted direction counts as zero; float32 training leaves larger
# ones.
SMALLEST_SHARE = 1e-6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """C vectors in C dimensions, one per row. means: (C, C) symmetric, the class means. rows: (C, C), the classifier's
    rows. is_predicted: whether the frame is from theory; else from the run's last class means."""

    means: Array
    rows: Array
    is_predicted: bool


def frame_of(record: Record, snapshots: Snapshots) -> Frame:
    """The predicted frame for the classes of these snapshots, from theory.json; a prediction up to scale gets that of
    the last snapshot. If nothing or zero is predicted, the run's own last frame."""
    theory, classes = record.theory, snapshots.classes
    last_means, last_rows = snapshots.means[-1], snapshots.rows[-1]
    if theory["feature_gram"] is not None and theory["logits"] is not None:
        here = np.ix_(classes, classes)
        means = _root(np.array(theory["feature_gram"], dtype=float)[here])
        if means.any():
            # The optimum's rows are zero outside the span of the means.
            rows = np.array(theory["logits"], dtype=float)[here] @ np.linalg.pinv(means, rcond=SMALLEST_SHARE)
            if theory["scale_free"]:
                means = means * (np.linalg.norm(last_means) / np.linalg.norm(means))
                rows = rows * (np.linalg.norm(last_rows) / np.linalg.norm(rows))
            return Frame(means, rows, True)
    own = _root(last_means @ last_means.T)
    return Frame(own, last_rows @ rotation(last_means, own), False)


def rotation(means: Array, onto: Array) -> Array:
    """(r, C): the rotation R that minimises ||means R - onto|| for (C, r) means and (C, C) ones; zero in directions
    that one of them lacks."""
    left, values, right = np.linalg.svd(means.T @ onto, full_matrices=False)
    kept = values > SMALLEST_SHARE * values[0]
    return np.asarray(left[:, kept] @ right[kept])


def plane_of_three(means: Array, chosen: Sequence[int]) -> Array:
    """(C, 2) orthonormal: the plane through the tips of three of the vectors, the first one up and the second to its
    right. With equal lengths and angles they form an equilateral triangle. If two tips coincide, the plane contains the
    line between them and a direction of these classes' own axes."""
    tips = means[list(chosen)]
    sides = (tips - tips.mean(axis=0)).T
    axes, sizes, _ = np.linalg.svd(sides, full_matrices=False)
    plane = axes[:, :2][:, sizes[:2] > SMALLEST_SHARE * sizes[0]]
    while plane.shape[1] < 2:
        outside = np.eye(len(means))[:, list(chosen)]
        plane = np.column_stack((plane, np.linalg.svd(outside - plane @ (plane.T @ outside))[0][:, 0]))
    seen = sides.T @ plane
    up = seen[0] / (np.linalg.norm(seen[0]) or 1.0)
    right = np.array([up[1], -up[0]])
    turned = np.column_stack((right, up))
    if (seen[1] @ turned)[0] < 0:
        turned[:, 0] *= -1
    return np.asarray(plane @ turned)


def plane_of_all(num_classes: int) -> Array:
    """(C, 2) orthonormal: the plane in which C equal vectors with equal angles are the spokes of a wheel, the first one
    up and the others clockwise. Lengths are shortened by sqrt(2/C)."""
    angles = 2 * np.pi * np.arange(num_classes) / num_classes
    if num_classes == 2:  # they have only one direction
        return np.asarray(np.array([[-1.0, 1.0], [1.0, 1.0]]) / np.sqrt(2))
    return np.asarray(np.column_stack((np.sin(angles), np.cos(angles))) * np.sqrt(2 / num_classes))


def _root(gram: Array) -> Array:
    """The symmetric root of a positive semidefinite matrix."""
    values, axes = np.linalg.eigh(gram)
    values = np.where(values > SMALLEST_SHARE**2 * np.abs(values).max(), values, 0.0)
    return np.asarray((axes * np.sqrt(values)) @ axes.T)
