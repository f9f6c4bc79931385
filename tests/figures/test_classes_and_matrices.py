"""Class by class and entry by entry: what is drawn is what was recorded, dashes are theory's."""

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import COUNTS, Runs, caption_of, panel, with_measured
from matplotlib import pyplot as plt

from ncrun.errors import UserError
from ncrun.figures import classes, heat_map, matrices
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")


def test_matrices_are_the_recorded_ones(seeds: list[Record]) -> None:
    figure = matrices.matrices(seeds)
    record = seeds[0]
    assert record.measured is not None
    K = len(COUNTS)
    for ax, name in zip(figure.axes, matrices.TITLES, strict=False):
        expected, measured = np.array(record.theory[name]), np.array(record.measured[name])
        shown = ax.images[0].get_array()
        assert shown.shape == (K, K + 1)
        for i in range(K):
            assert list(shown[i, : i + 1]) == list(measured[i, : i + 1])
            assert list(shown[i, i + 1 :]) == list(expected[i, i:])
        share = np.abs(expected - measured).max() / np.abs([expected, measured]).max()
        assert ax.get_xlabel() == f"{100 * share:.2g} % apart"
        assert [label.get_text() for label in ax.get_yticklabels()] == [str(count) for count in COUNTS[::2]]
        assert ax.get_ylabel().endswith("class count")
    assert "Frobenius" not in caption_of(figure)


def test_colours_are_sequential_without_negative_entries() -> None:
    """From light to dark in grey; with negative ones zero is in the middle, and a dash marks each of them."""
    _, ax = plt.subplots()
    for matrix, limits, dashes in ((np.eye(3), (0, 1), 0), (np.eye(3) - 1 / 3, (-2 / 3, 2 / 3), 6)):
        ax.cla()
        image = heat_map.draw(ax, matrix, heat_map.scale_of(matrix), (5, 5, 5))
        assert image.get_clim() == pytest.approx(limits)
        assert sum(len(line.get_xdata()) for line in ax.get_lines()) == dashes
    colours = heat_map.scale_of(np.eye(3))[0](np.linspace(0, 1, 20))[:, :3] @ (0.299, 0.587, 0.114)
    assert (np.diff(colours) < 0).all()
    plt.close("all")


def test_of_many_networks_the_farthest_are_shown(seeds: list[Record]) -> None:
    """Five depths, each so much farther than the last; the caption says how far the others are."""
    found = []
    for depth in range(1, 6):
        record = replace(seeds[0], config=seeds[0].config | {"head": seeds[0].config["head"] | {"depth": depth}})
        larger = {name: (np.array(record.theory[name]) * (1 + depth / 100)).tolist() for name in matrices.TITLES}
        found.append(with_measured(record, **larger))
    figure = matrices.matrices(found)
    assert [ax.get_ylabel().splitlines()[0] for ax in figure.axes[:9:3]] == ["M = 3", "M = 4", "M = 5"]
    assert "3 of 5 networks" in caption_of(figure)
    assert f"more than {0.02 / 1.02:.2g} of the largest" in caption_of(figure)


def test_scale_free_matrices_are_normalised_and_said_to_be(runs: Runs) -> None:
    (record,) = runs("parameters")
    assert record.theory["scale_free"]
    for name in matrices.TITLES:
        for matrix in matrices.both(record, name):
            assert np.linalg.norm(matrix) == pytest.approx(1)
        assert record.measured is not None
        raw = np.array(record.measured[name])
        assert matrices.both(record, name)[1] == pytest.approx(raw / np.linalg.norm(raw))
    assert "divided by its Frobenius norm" in caption_of(matrices.matrices([record]))


def test_without_matrices_there_is_one_clear_line(seeds: list[Record]) -> None:
    bare = [replace(run, measured=None) for run in seeds]
    for drawing in (matrices.matrices, classes.angles):
        with pytest.raises(UserError, match="no run has"):
            drawing(bare)


def test_many_classes_have_no_numbers(seeds: list[Record]) -> None:
    K = 100
    full = {name: np.eye(K).tolist() for name in matrices.TITLES}
    manifest = seeds[0].manifest | {"class_counts": [3] * K}
    record = replace(with_measured(seeds[0], **full), theory=seeds[0].theory | full, manifest=manifest)
    figure = matrices.matrices([record])
    assert len(figure.axes[0].get_xticks()) == 0


def test_dots_of_every_class_in_every_seed(all_imbalanced: list[Record]) -> None:
    figure = classes.sizes(all_imbalanced)
    for key, predicted, title in classes.PER_CLASS:
        lines = panel(figure, title).get_lines()
        for depth, (dashed, dots) in zip((1, 3), (lines[0:2], lines[2:4]), strict=True):
            here = [run for run in all_imbalanced if run.config["head"]["depth"] == depth]
            assert list(dots.get_ydata()) == [value for run in here for value in run.metrics[key].iloc[-1]]
            assert list(dots.get_xdata()) == list(COUNTS) * 3
            assert list(dashed.get_ydata()) == [entry[predicted] for entry in here[0].theory["classes"]]
    train, test = panel(figure, "accuracy").get_lines()[:2]
    first = [run for run in all_imbalanced if run.config["head"]["depth"] == 1]
    for line, split in ((train, "train"), (test, "test")):
        values = [v for run in first for v in run.metrics[f"class.{split}_accuracy"].iloc[-1]]
        assert list(line.get_ydata()) == values
    assert "each class and seed" in caption_of(figure)


def test_scale_free_norms_are_relative_to_their_mean(runs: Runs) -> None:
    (record,) = runs("parameters")
    figure = classes.sizes([record])
    dashed, dots = panel(figure, "squared norm of classifier rows / mean").get_lines()
    measured = np.array(record.metrics["class.weight_norm_sq"].iloc[-1])
    assert dots.get_ydata() == pytest.approx(measured / measured.mean())
    # The limit at vanishing decay: with one layer the squared norms go with the root of the class count.
    roots = np.sqrt(np.array(COUNTS))
    assert dashed.get_ydata() == pytest.approx(roots / roots.mean())
    assert "Relative to the mean" in caption_of(figure)


def test_angles_of_vectors_that_are_known() -> None:
    """Against vectors instead of their Gram matrices; a vector of nothing has no angle."""
    generator = np.random.default_rng(0)
    rows, means = generator.standard_normal((2, 4, 3))
    rows[3] = 0
    gram, features, logits = rows @ rows.T, means @ means.T, rows @ means.T
    found = classes.cosines(gram.tolist())
    unit = rows[:3] / np.linalg.norm(rows[:3], axis=1, keepdims=True)
    assert found[:3, :3] == pytest.approx(unit @ unit.T)
    assert np.isnan(found[3, :3]).all()
    own = classes.alignment({"weight_gram": gram, "feature_gram": features, "logits": logits})
    expected = [rows[k] @ means[k] / np.linalg.norm(rows[k]) / np.linalg.norm(means[k]) for k in range(3)]
    assert own[:3] == pytest.approx(expected)
    assert np.isnan(own[3])


def test_pairs_stand_at_their_larger_class(runs: Runs) -> None:
    (record,) = runs("ce")
    figure = classes.angles([record])
    predicted, dots = panel(figure, "cosine of two classifier rows").get_lines()
    pairs = [(i, j) for i in range(10) for j in range(i)]
    assert sorted(dots.get_xdata()) == sorted(max(COUNTS[i], COUNTS[j]) for i, j in pairs)
    for line, source in ((predicted, record.theory), (dots, record.measured)):
        assert source is not None
        cosine = classes.cosines(source["weight_gram"])
        assert sorted(line.get_ydata()) == sorted(cosine[i, j] for i, j in pairs)
    caption_of(figure)
