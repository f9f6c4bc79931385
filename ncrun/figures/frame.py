"""The predicted frame as vectors, a run's snapshots turned onto it, and planes in which it is seen.

A theorem fixes Gram matrices, and so the vectors up to a rotation (or reflection) of feature space as a whole. Of these
one is chosen here, and every snapshot is turned onto it by the rotation that brings its own class means nearest:
orthogonal Procrustes (Schonemann 1966), anew in each. So a drift of the whole arrangement, which means nothing, is not
seen; lengths and angles, which mean everything, are never changed: nothing is scaled or fitted but that rotation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncrun.records.read import Record
from ncrun.records.snapshots import Snapshots

# Below this share of the largest, a direction of the prediction is none; float32 training leaves more than that.
SMALLEST_SHARE = 1e-6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """C vectors in C dimensions, a row each. means: (C, C) symmetric, the class means. rows: (C, C), the classifier's
    rows. is_predicted: by theory; else the frame is that of the run's own last class means."""

    means: Array
    rows: Array
    is_predicted: bool


def frame_of(record: Record, snapshots: Snapshots) -> Frame:
    """The frame that theory predicts of the classes of these snapshots, as it stands in theory.json; of a prediction
    without a scale, with that of the last snapshot. Where it predicts none, or zero, the run's own at last."""
    theory, classes = record.theory, snapshots.classes
    last_means, last_rows = snapshots.means[-1], snapshots.rows[-1]
    if theory["feature_gram"] is not None and theory["logits"] is not None:
        here = np.ix_(classes, classes)
        means = _root(np.array(theory["feature_gram"], dtype=float)[here])
        if means.any():
            # Outside the means' span the optimum's rows have nothing.
            rows = np.array(theory["logits"], dtype=float)[here] @ np.linalg.pinv(means, rcond=SMALLEST_SHARE)
            if theory["scale_free"]:
                means = means * (np.linalg.norm(last_means) / np.linalg.norm(means))
                rows = rows * (np.linalg.norm(last_rows) / np.linalg.norm(rows))
            return Frame(means, rows, True)
    own = _root(last_means @ last_means.T)
    return Frame(own, last_rows @ rotation(last_means, own), False)


def rotation(means: Array, onto: Array) -> Array:
    """(r, C): the rotation R that makes ||means R - onto|| smallest, for (C, r) means and (C, C) ones; of directions
    that either has not, nothing."""
    left, values, right = np.linalg.svd(means.T @ onto, full_matrices=False)
    kept = values > SMALLEST_SHARE * values[0]
    return np.asarray(left[:, kept] @ right[kept])


def plane_of_three(means: Array, chosen: Sequence[int]) -> Array:
    """(C, 2) orthonormal: the plane through the tips of three of the vectors, the first one up and the second to its
    right. Of equal lengths and angles they are an equilateral triangle there. Where two tips are the same, the plane
    holds the line between them and, of what is missing, a direction of these classes' own axes."""
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
    up and the others clockwise. Every length is shortened there by sqrt(2/C)."""
    angles = 2 * np.pi * np.arange(num_classes) / num_classes
    if num_classes == 2:  # which have one direction only
        return np.asarray(np.array([[-1.0, 1.0], [1.0, 1.0]]) / np.sqrt(2))
    return np.asarray(np.column_stack((np.sin(angles), np.cos(angles))) * np.sqrt(2 / num_classes))


def _root(gram: Array) -> Array:
    """The symmetric root of a positive semidefinite matrix."""
    values, axes = np.linalg.eigh(gram)
    values = np.where(values > SMALLEST_SHARE**2 * np.abs(values).max(), values, 0.0)
    return np.asarray((axes * np.sqrt(values)) @ axes.T)
