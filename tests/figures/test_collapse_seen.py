"""The projection onto the predicted frame: exact cases, an independent solution, and what is drawn."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from figure_runs import SMALL, Runs
from PIL import Image
from scipy.optimize import minimize

from ncrun.errors import UserError
from ncrun.figures import DRAWINGS, frame_3d
from ncrun.figures.collapse_seen import view_of
from ncrun.figures.frame import frame_of, plane_of_all, plane_of_three, rotation
from ncrun.figures.sample_cosines import shares
from ncrun.metrics.cosines import BINS
from ncrun.records.snapshots import Snapshots
from ncrun.records.snapshots_read import snapshots_of
from ncrun.theory import Problem, predict
from ncrun.theory.report import as_json

pytestmark = pytest.mark.usefixtures("undrawn")


def collapsed(problem: Problem, d: int, drift: int) -> Snapshots:
    """Features at the predicted optimum exactly, in a random orientation of d dimensions, at two moments."""
    prediction = predict(problem)
    rng = np.random.default_rng(drift)
    values, axes = np.linalg.eigh(prediction.layers[0].feature_gram)
    means = np.zeros((problem.num_classes, d))
    means[:, : len(values)] = axes * np.sqrt(values.clip(0))
    taken = []
    for _ in range(2):
        turned = means @ np.linalg.qr(rng.standard_normal((d, d)))[0]
        left, sizes, _ = np.linalg.svd(turned, full_matrices=False)
        taken.append(left * sizes)
    labels = np.repeat(np.arange(problem.num_classes), 3)
    shape = (2, len(labels), taken[0].shape[1])
    return Snapshots(
        epochs=np.arange(2),
        classes=np.arange(problem.num_classes),
        train_labels=labels,
        test_labels=labels[:0],
        means=np.array(taken),
        rows=np.array(taken),
        units=np.ones(2),
        train=np.zeros(shape, dtype=np.float16),
        test=np.zeros((2, 0, shape[2]), dtype=np.float16),
    )


def problem_of(counts: tuple[float, ...], bias: bool = False) -> Problem:
    return Problem(
        loss="mse",
        counts=counts,
        widths=(12,),
        bias=bias,
        weight_decays=(1e-3,),
        feature_decay=1e-3,
        decay_mode="features",
        feature_sign="free",
        head="linear",
        free_features=True,
    )


@pytest.mark.parametrize("bias", [False, True])
def test_a_collapsed_set_is_at_the_predicted_places(bias: bool, runs: Runs) -> None:
    """Whatever its orientation, and also where the theorem loses a class, all samples are on K points, to 1e-6."""
    for counts in ((9.0, 9.0, 9.0), (40.0, 20.0, 10.0, 6.0), (400.0, 300.0, 200.0, 0.5)):
        problem = problem_of(counts, bias)
        theory = as_json(predict(problem))
        record = replace(runs("M1-0")[0], theory=theory)
        snapshots = collapsed(problem, 9, drift=len(counts))
        frame = frame_of(record, snapshots)
        assert frame.is_predicted
        np.testing.assert_allclose(frame.means @ frame.means.T, theory["feature_gram"], atol=1e-12)
        np.testing.assert_allclose(frame.rows @ frame.means.T, theory["logits"], atol=1e-9)
        for index in (0, 1):
            seen = snapshots.points("train", index) @ rotation(snapshots.means[index], frame.means)
            np.testing.assert_allclose(seen, frame.means[snapshots.train_labels], atol=1e-6)


def test_the_rotation_is_the_best_one() -> None:
    """Against a numerical search over rotations from many starts: its residual is as small, and it changes no angle."""
    rng = np.random.default_rng(1)
    means, onto = rng.standard_normal((3, 3)), rng.standard_normal((3, 3))
    onto = onto @ onto.T
    found = rotation(means, onto)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-12)

    def residual(angles: "np.ndarray", sign: float) -> float:
        turned = np.diag([1.0, 1.0, sign])
        for (i, j), angle in zip(((0, 1), (0, 2), (1, 2)), angles, strict=True):
            step = np.eye(3)
            step[[i, j], [i, j]] = np.cos(angle)
            step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
            turned = turned @ step
        return float(np.square(means @ turned - onto).sum())

    starts = [(rng.uniform(0, 6, 3), sign) for sign in (1.0, -1.0) for _ in range(6)]
    best = min(minimize(residual, start, args=(sign,)).fun for start, sign in starts)
    assert np.square(means @ found - onto).sum() == pytest.approx(best, rel=1e-6)


def test_planes_show_equal_vectors_as_regular() -> None:
    """An orthogonal frame and a simplex ETF: an equilateral triangle, a regular polygon; both are projections."""
    for K in (2, 3, 4, 10):
        for frame in (np.eye(K), np.eye(K) - 1 / K):
            wheel = plane_of_all(K)
            np.testing.assert_allclose(wheel.T @ wheel, np.eye(2), atol=1e-12)
            tips = frame @ wheel
            if K > 2:
                sides = np.linalg.norm(tips - np.roll(tips, 1, axis=0), axis=1)
                np.testing.assert_allclose(sides, sides[0], atol=1e-12)
                plane = plane_of_three(frame, (2, 0, 1))
                np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-12)
                top, right, left = (frame @ plane)[[2, 0, 1]]
                height = np.linalg.norm(frame[0] - frame[1]) * np.sqrt(3) / 2  # that of the triangle in space
                np.testing.assert_allclose(top, [0, height * 2 / 3], atol=1e-9)
                np.testing.assert_allclose(right, [height / np.sqrt(3), -height / 3], atol=1e-9)
                np.testing.assert_allclose(left, right * [-1, 1], atol=1e-9)
    lost = np.diag([2.0, 0.0, 0.0, 1.0])
    plane = plane_of_three(lost, (0, 1, 2))
    np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-9)
    np.testing.assert_allclose((lost @ plane)[0], [0, 2], atol=1e-9)


def test_drawn_of_networks(runs: Runs) -> None:
    (record,) = runs("M1-0")
    figure = DRAWINGS["collapse-seen"].of([record])
    panels = [ax for ax in figure.axes if ax.axison]
    assert len(panels) == 8
    assert {ax.get_xlim() for ax in panels} == {panels[0].get_ylim()}
    assert [ax.get_title().split("\n")[0] for ax in panels[:4]] == [f"epoch {n}" for n in (0, 2, 4, 6)]
    assert view_of(record, "0,3,9").shown == (0, 3, 9)
    for theory, word in (({"feature_gram": None}, "the run's own at the end"), ({"claim": "open"}, "claimed")):
        figure = DRAWINGS["collapse-seen"].of([replace(record, theory=record.theory | theory)])
        assert f"class mean, {word}" in [text.get_text() for text in figure.legends[0].get_texts()]
    own = view_of(replace(record, theory=record.theory | {"feature_gram": None}), None)
    last = own.snapshots.means[-1]
    np.testing.assert_allclose(last @ rotation(last, own.frame.means), own.frame.means, atol=1e-9 * np.abs(last).max())
    for classes in ("0,3", "0,3,3", "0,3,x", "0,3,10"):
        with pytest.raises(UserError, match=r"^classes="):
            view_of(record, classes)


def test_cosines_of_samples(runs: Runs) -> None:
    """Against one pair after the other; at a collapse they are those of the prediction."""
    (record,) = runs("M1-0")
    figure = DRAWINGS["sample-cosines"].of([record])
    snapshots = snapshots_of(record)
    for ax, split, labels in (
        (figure.axes[3], "train", snapshots.train_labels),
        (figure.axes[4], "test", snapshots.test_labels),
    ):
        points = snapshots.points(split, -1 if split == "train" else 0)
        found: tuple[list[float], list[float]] = ([], [])
        for i, j in combinations(range(len(points)), 2):
            lengths = np.linalg.norm(points[i]) * np.linalg.norm(points[j])
            found[int(labels[i] != labels[j])].append(float(points[i] @ points[j] / lengths))
        for patch, cosines in zip(ax.patches, found, strict=True):
            expected = np.histogram(np.clip(cosines, -1, 1), bins=BINS, range=(-1, 1))[0] / len(cosines)
            np.testing.assert_allclose(patch.get_data().values, expected, atol=2 / len(cosines))  # at a bin's edge
    problem = problem_of((9.0, 9.0, 9.0), bias=True)
    within, between = shares(collapsed(problem, 9, 1).points("train", 1), np.repeat(np.arange(3), 3))
    assert (within[-1], between[int(BINS / 4)]) == (1, 1)  # 1, and -1/2


def test_samples_lie_where_their_means_are_drawn(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """In space, of a collapsed set in any orientation."""
    problem = problem_of((40.0, 20.0, 10.0))
    theory = as_json(predict(problem))
    record = replace(runs("M1-0")[0], theory=theory, measured=theory)
    monkeypatch.setattr(frame_3d, "kept_snapshots", lambda _: collapsed(problem, 9, 2))
    (_, points, labels), (_, others, _) = frame_3d.samples(record)
    np.testing.assert_allclose(points, frame_3d.frames(record)[1][1][labels], atol=1e-6)
    assert len(others) == 0
    monkeypatch.setattr(frame_3d, "kept_snapshots", lambda _: None)
    assert frame_3d.samples(record) == []


def test_a_moving_picture(runs: Runs, ncrun: Command, workdir: Path) -> None:
    """A frame for each snapshot, the last one the longest; what has none is told in a line."""
    (record,) = runs("relu-0")
    moving = ncrun("plot", str(record.path), "kind=collapse-seen", "out=x.gif")
    assert (moving.status, moving.out, moving.err) == (0, "x.gif\n", "")
    with Image.open("x.gif") as image:
        durations = []
        for index in range(image.n_frames):
            image.seek(index)
            durations.append(image.info["duration"])
    assert len(durations) == len(view_of(record, None).snapshots) == 6
    assert durations[-1] == max(durations)
    for typed, said in (
        (["kind=usual", "out=x.gif"], "has no animation"),
        (["y=nc1", "out=x.gif"], "only kind=collapse-seen can be animated"),
        (["y=nc1", "classes=0,1,2"], "classes=0,1,2: has no effect"),
        (["kind=usual", "classes=0,1,2"], "classes=0,1,2: has no effect"),
    ):
        result = ncrun("plot", str(record.path), *typed)
        assert (result.status, result.err.count("\n")) == (2, 1)
        assert said in result.err


def test_of_a_record_without_snapshots(ncrun: Command, workdir: Path) -> None:
    assert ncrun("train", *SMALL, "snapshots=false", "run_dir=run").status == 0
    result = ncrun("plot", "run", "kind=collapse-seen")
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert "has no snapshots" in result.err
