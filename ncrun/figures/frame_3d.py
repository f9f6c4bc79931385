"""Three classes in space: learned classifier rows and class means on the predicted frame."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from mpl_toolkits.mplot3d.art3d import Poly3DCollection  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ncrun.errors import UserError
from ncrun.figures import looks, panels, wording
from ncrun.figures.collapse_seen import SPLITS
from ncrun.figures.frame import rotation
from ncrun.records.read import Record
from ncrun.records.snapshots_read import kept_snapshots

Array = NDArray[np.float64]
PREDICTED_VECTOR: dict[str, Any] = {"color": "0.8", "linewidth": 4, "solid_capstyle": "butt"}
PREDICTED_TIP: dict[str, Any] = {"marker": "o", "color": "0.5", "fillstyle": "none", "markersize": 7, "linestyle": ""}
PLANE: dict[str, Any] = {"facecolor": "0.6", "edgecolor": "none", "alpha": 0.2}
RIGHT_ANGLE: dict[str, Any] = {"color": "0.35", "linewidth": 0.7}
# Drawn length of the longest class mean (the longest classifier row has 1), so that one does not hide the other.
LONGEST_MEAN = 0.7
# The side of a right angle's square, and the cosine that counts as zero.
SQUARE, ZERO = 0.16, 1e-6
# Frames by balanced counts and bias.
FRAMES = {
    (True, False): "orthogonal frame",
    (True, True): "simplex ETF",
    (False, False): "general orthogonal frame",
    (False, True): "frame in a plane",
}
# Of samples, those of the test split hollow, if the run has kept some.
SAMPLE: dict[str, Any] = {"marker": ".", "linestyle": "", "markersize": 2.2, "alpha": 0.5, "rasterized": True}
HOLLOW: dict[str, Any] = {"markersize": 3.5, "markerfacecolor": "none", "markeredgewidth": 0.4}
CLOUD: dict[str, dict[str, Any]] = {"train": SAMPLE | {"markeredgewidth": 0}, "test": SAMPLE | HOLLOW}
FRAME_LEGEND = (
    Line2D([], [], label="predicted", **PREDICTED_VECTOR),
    Line2D([], [], color="0.3", linewidth=1.5, marker=">", markersize=6, markevery=[1], label="learned classifier row"),
    Line2D([], [], color="0.3", linestyle="", marker="o", markersize=6, label="learned class mean"),
    Line2D([], [], label="predicted class mean", **PREDICTED_TIP),
    Patch(label="plane of the predicted rows", **PLANE),
)
# Below this coordinate all vectors lie in the plane of the other two.
FLAT = 1e-6
# Views with the three directions at equal angles: along the first octant's diagonal, or onto the plane with the first
# direction upwards.
OCTANT: dict[str, float] = {"elev": float(np.degrees(np.arcsin(np.sqrt(1 / 3)))), "azim": 45.0}
ONTO: dict[str, float] = {"elev": 90.0, "azim": 180.0}


def geometry_3d(records: Sequence[Record]) -> Figure:
    """A panel for each run, in a view in which the frame of equal classes is regular.

    Drawn from the measured Gram matrices, which fix the vectors up to a rotation, as the theorem does.
    """
    for record in records:
        if len(record.manifest["class_counts"]) != 3:
            raise UserError(
                f"{record.path}: has {len(record.manifest['class_counts'])} classes; this drawing needs three"
            )
    ordered = sorted(records, key=lambda record: (not _is_balanced(record), record.config["head"]["bias"]))
    figure, axes = panels.grid(1, len(ordered), height=1.75, subplot_kw={"projection": "3d"})
    for ax, record in zip(axes[0], ordered, strict=True):
        _draw_frame(ax, record)
        balanced, bias = _is_balanced(record), record.config["head"]["bias"]
        ax.set_title(f"{FRAMES[balanced, bias]},\n{'with a bias' if bias else 'no bias'}")
    clouds = {split for record in ordered for split, points, _ in samples(record) if len(points)}
    marks = [
        Line2D([], [], color="0.4", label=f"{SPLITS[split]} sample", **style | {"alpha": 1})
        for split, style in CLOUD.items()
        if split in clouds
    ]
    panels.legend_above(figure, [*FRAME_LEGEND, *marks])
    words = (
        "Learned vectors are rotated as a whole onto the prediction, which fixes lengths and angles only. The longest"
        f" predicted classifier row is drawn with length 1, the longest predicted class mean with {LONGEST_MEAN:g};"
        " numbers: samples of the class; squares: right angles. Seen along the diagonal of the three rows, or from"
        " above if they lie in a plane. After a figure in Dang et al. 2023, with other counts and decays."
    )
    panels.caption(figure, f"{wording.setting_words(*ordered)} {words}")
    return figure


def _is_balanced(record: Record) -> bool:
    return len(set(record.manifest["class_counts"])) == 1


def _draw_frame(ax: Any, record: Record) -> None:
    predicted, measured = frames(record)
    ax.add_collection3d(Poly3DCollection([predicted[0]], **PLANE))
    _right_angles(ax, predicted[0])
    for k, count in enumerate(record.manifest["class_counts"]):
        look = looks.look(k)
        for tip in predicted[:, k]:
            ax.plot(*np.transpose([np.zeros(3), tip]), **PREDICTED_VECTOR)
        row, mean = measured[:, k]
        ax.quiver(0, 0, 0, *row, color=look["color"], linewidth=1.5, arrow_length_ratio=0.13)
        ax.plot(*np.transpose([np.zeros(3), mean]), color=look["color"], linewidth=0.8)
        ax.plot(*mean, **look)
        ax.plot(*predicted[1, k], **PREDICTED_TIP)
        farthest = max(row, mean, key=np.linalg.norm)
        label = farthest * (1 + 0.16 / np.linalg.norm(farthest))
        ax.text(*label, str(count), ha="center", va="center")
    for split, points, labels in samples(record):
        for k in np.unique(labels):
            ax.plot(*points[labels == k].T, color=looks.look(int(k))["color"], **CLOUD[split])
    # The same scale in every panel, around the centre of its content.
    points = np.vstack([predicted.reshape(-1, 3), np.zeros(3)])
    flat = np.abs(predicted[..., 2]).max() <= FLAT
    upwards = np.eye(3)[0 if flat else 2]
    middle = (points.min(axis=0) + points.max(axis=0)) / 2 + 0.1 * upwards  # room for the title
    limits = np.stack([middle - 0.78, middle + 0.78], axis=1)
    ax.set(xlim=limits[0], ylim=limits[1], zlim=limits[2])
    ax.set_proj_type("ortho")
    ax.set_box_aspect((1, 1, 1), zoom=1.25)
    ax.view_init(**(ONTO if flat else OCTANT))
    ax.set_axis_off()


def _right_angles(ax: Any, rows: Array) -> None:
    """A square between every two orthogonal rows."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for one, other in combinations(units * SQUARE, 2):
        if abs(one @ other) < ZERO:
            ax.plot(*np.transpose([one, one + other, other]), **RIGHT_ANGLE)


def samples(record: Record) -> list[tuple[str, Array, NDArray[np.int64]]]:
    """Of each split: its name, where its samples lie at the end, (n, 3) as drawn, and their classes (n,). Nothing of a
    run that has kept none; what lies outside of the span of the class means is not among what it keeps."""
    snapshots = kept_snapshots(record)
    if snapshots is None or not snapshots.means[-1].any():
        return []
    kept, drawn = snapshots.means[-1], frames(record)[1][1]  # the same class means, and as they are drawn
    onto = rotation(kept, drawn) * (np.linalg.norm(drawn) / np.linalg.norm(kept))
    return [
        (split, snapshots.points(split, -1) @ onto, snapshots.classes[labels])
        for split, labels in (("train", snapshots.train_labels), ("test", snapshots.test_labels))
    ]


def frames(record: Record) -> tuple[Array, Array]:
    """The predicted and the measured vectors, (2, K, 3) each: classifier rows, then class means, scaled as drawn.

    Only Gram matrices are determined. The prediction is posed with class 0 on the first axis, class 1 in the plane of
    the first two, and so on; the measured vectors are rotated (or reflected) onto it as a whole.
    """
    theory, matrices = record.theory, record.measured
    if matrices is None or any(theory[name] is None for name in ("weight_gram", "logits")):
        raise UserError(f"{record.path}: has no predicted or no measured matrices, which this drawing needs")
    values, axes = np.linalg.eigh(np.array(theory["weight_gram"]))
    _, upper = np.linalg.qr((axes * np.sqrt(np.clip(values, 0, None))).T)
    weights = upper.T * np.where(np.diag(upper) < 0, -1, 1)
    means = (np.linalg.pinv(weights, rcond=1e-6) @ np.array(theory["logits"])).T
    predicted = np.stack([weights, means])[..., :3]
    lengths = np.linalg.norm(predicted, axis=2).max(axis=1) / [1, LONGEST_MEAN]
    predicted /= lengths[:, None, None]

    gram = np.block(
        [
            [np.array(matrices["weight_gram"]), np.array(matrices["logits"])],
            [np.array(matrices["logits"]).T, np.array(matrices["feature_gram"])],
        ]
    ) / np.outer(*[lengths.repeat(len(weights))] * 2)
    values, axes = np.linalg.eigh(gram)
    measured = axes[:, -3:] * np.sqrt(np.clip(values[-3:], 0, None))
    left, _, right = np.linalg.svd(measured.T @ predicted.reshape(-1, 3))
    return predicted, (measured @ left @ right).reshape(predicted.shape)
